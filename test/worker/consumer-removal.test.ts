import { expect, test } from "vitest";
import { removeConsumer } from "../../shared/stream/consumers.ts";
import { idsOf, makeHttpGroup } from "../support/http-group.ts";
import { leasesOf, makeStream, poll, produceNumbers, settleSome } from "../support/streams.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

test("removing one of Weir's own holders loses nothing", async () => {
  const g = await makeHttpGroup(worker, {}, 10);
  await g.consume({ consumer: "gone" });
  await worker.call("DELETE", `${g.group}/consumers/gone`);
  await worker.call("DELETE", `${g.group}/consumers/@held:0`);
  expect(idsOf((await g.consume()).messages)).toEqual(g.ids);
});

test("what was handed over but never handed out still belongs to the last delivery that was made", async () => {
  const stream = await makeStream(["g"]);
  await produceNumbers(stream, 1);
  const [old = ""] = leasesOf((await poll(stream, "g", { consumer: "old" })).messages);
  await removeConsumer(stream, "g", "old", "heir");
  expect((await settleSome(stream, "g", { extends: [old] })).stale).toMatchObject([{ outcome: "superseded" }]);
  await removeConsumer(stream, "g", "heir");
  expect(await settleSome(stream, "g", { rejects: [{ lease: old }] })).toMatchObject({ rejected: 1 });
});
