import { describe, expect, test } from "vitest";
import { expectStatus, leases, makeHttpGroup } from "../support/http-group.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

describe("GET …/pending", () => {
  test("walks by cursor over what was handed out once and what was handed out again, as many as `pending` says", async () => {
    const g = await makeHttpGroup(worker, {}, 6);
    const [a = "", b = ""] = leases((await g.consume({ batchSize: 4 })).messages);
    const retries = [a, b].map((lease) => ({ lease, delayMs: 0 }));
    await g.settle({ retries });
    const again = (await g.consume({ consumer: "again" })).messages;
    const found: { id: string; consumer: string; deliveries: number; idleMs: number }[] = [];
    for (let cursor = ""; ; ) {
      const { json } = await expectStatus(worker.call("GET", `${g.group}/pending?limit=1${cursor}`), 200);
      found.push(...json.pending);
      if (json.next === null) break;
      cursor = `&cursor=${encodeURIComponent(json.next)}`;
    }
    expect(found).toHaveLength((await g.info()).pending);
    expect(new Set(found.map(({ id }) => id)).size).toBe(found.length);
    const handedAgain = found.filter(({ deliveries }) => deliveries === 2);
    expect(handedAgain.map(({ id, consumer }) => [id, consumer])).toEqual(
      again
        .filter(({ deliveries }: { deliveries: number }) => deliveries === 2)
        .map(({ id }: { id: string }) => [id, "again"]),
    );
    expect(handedAgain).toHaveLength(2);
    for (const { idleMs } of found) expect(idleMs).toBeLessThan(30_000);
  });

  test.each([
    "1",
    "abc",
    "",
    "again:x",
    "again:1",
    "again:1.a/b",
    "again:1.123456789",
    "again:1234567890123456.a",
    "Again:1.a",
    "again:1.a\n",
    "1-1.a",
  ])("refuses the cursor %j, and says what was expected", async (cursor) => {
    const g = await makeHttpGroup(worker, {}, 0);
    const { json } = await expectStatus(
      worker.call("GET", `${g.group}/pending?cursor=${encodeURIComponent(cursor)}`),
      400,
    );
    expect(json).toMatchObject({ code: "invalid-request", errors: [{ path: "cursor" }] });
    expect(json.errors[0].message).toContain("expected `next` of the page before, such as");
  });

  test.each(["0-0", "again:", "again:1-1~1.~1~c", "again:1790000000000-1~000000000012.1b9d6bcd~3~mailer-1"])(
    "takes the cursor %s",
    async (cursor) => {
      const g = await makeHttpGroup(worker, {}, 0);
      const { json } = await expectStatus(worker.call("GET", `${g.group}/pending?cursor=${cursor}`), 200);
      expect(json).toEqual({ pending: [], next: null });
    },
  );
});
