import { expect, test } from "vitest";
import { clientOf, network } from "../support/client.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

test("an answer that got lost appends nothing twice: the repeat has the same Idempotency-Key", async () => {
  const { fetch, sent } = network(({ number, method }) =>
    method === "POST" && number === 2 ? "lost-answer" : undefined,
  );
  const stream = clientOf(worker, { fetch }).stream("lost-answer");
  await stream.put();
  const ids = await stream.produce([{ data: 1 }, { data: 2 }]);
  expect(ids).toHaveLength(2);
  expect(await stream.get()).toMatchObject({ length: 2 });
  const keys = sent.filter(({ method }) => method === "POST").map(({ headers }) => headers["idempotency-key"]);
  expect(keys).toEqual([keys[0], keys[0]]);
});
