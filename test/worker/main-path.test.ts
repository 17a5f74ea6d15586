import { describe, expect, test } from "vitest";
import { BOTH_TRANSPORTS } from "../support/redis.ts";
import { startWorker } from "../support/worker.ts";

describe.each(BOTH_TRANSPORTS)("the Worker over %s", (transport) => {
  const worker = startWorker({ transport });

  test("produces, hands out, takes acknowledgements, and says what it cost", async () => {
    const created = await worker.call("PUT", "/v1/streams/orders");
    expect(created).toMatchObject({ status: 201, json: { name: "orders", length: 0, groups: 0 } });
    expect((await worker.call("PUT", "/v1/streams/orders")).status).toBe(200);
    expect(await worker.call("PUT", "/v1/streams/orders/groups/mail", { start: "earliest" })).toMatchObject({
      status: 201,
      json: { name: "mail", lag: 0, lagIs: "exact", pending: 0 },
    });

    const produced = await worker.call("POST", "/v1/streams/orders/messages", {
      messages: [{ type: "order.paid", data: { total: 1 } }, { data: "two" }],
    });
    expect(produced.status).toBe(201);
    expect(produced.json.ids).toHaveLength(2);

    const consume = "/v1/streams/orders/groups/mail/consume";
    const first = await worker.call("POST", consume, { consumer: "a" });
    expect(first.json.messages.map((m: { id: string }) => m.id)).toEqual(produced.json.ids);
    // The first of all asks for Redis' time too, and may have to bring the script.
    expect(first.headers.get("server-timing")).toMatch(/^redis;dur=\d+\.\d;desc="\d+ commands?, [1-3] round trips?"$/);

    const acks = first.json.messages.map((m: { lease: string }) => m.lease);
    const second = await worker.call("POST", consume, { consumer: "a", acks, pollState: first.json.pollState });
    expect(second.json).toMatchObject({ messages: [], settled: { acked: 2, stale: [] } });
    expect(second.headers.get("server-timing")).toContain('"2 commands, 1 round trip"');
    expect((await worker.call("GET", "/v1/streams/orders/groups/mail")).json).toMatchObject({ pending: 0, lag: 0 });
  });

  test("the cron trigger runs the reaper, whose report can be read", async () => {
    expect(await worker.fireCron()).toBe("ok");
    const { json } = await worker.call("GET", "/v1/reaper");
    expect(json.runs[0]).toMatchObject({ complete: true, errors: [] });
  });
});
