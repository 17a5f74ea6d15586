import { describe, expect, test } from "vitest";
import { expectProblem } from "../support/answers.ts";
import { nativeClient } from "../support/redis.ts";
import { startWorker } from "../support/worker.ts";

/** Stands where a key holds another type. */
const SECRET = "p4yl0ad";

describe("a request that conflicts with what is in Redis", () => {
  const worker = startWorker();
  const key = (stream: string, rest = "") => `${worker.prefix}{${stream}}${rest}`;

  test("is refused where the stream's key holds another type, and that stays as it is", async () => {
    const redis = nativeClient();
    await redis.set(key("taken"), SECRET);
    const requests: [string, string, unknown?][] = [
      ["PUT", "/v1/streams/taken"],
      ["PUT", "/v1/streams/taken", { maxMessageBytes: 2048 }],
      ["GET", "/v1/streams/taken"],
      ["DELETE", "/v1/streams/taken"],
      ["POST", "/v1/streams/taken/messages", { messages: [{ data: 1 }] }],
      ["GET", "/v1/streams/taken/messages"],
      ["GET", "/v1/streams/taken/messages/1-0"],
      ["DELETE", "/v1/streams/taken/messages/1-0"],
      ["PUT", "/v1/streams/taken/groups/mail"],
      ["GET", "/v1/streams/taken/groups"],
      ["GET", "/v1/streams/taken/groups/mail"],
      ["DELETE", "/v1/streams/taken/groups/mail"],
      ["POST", "/v1/streams/taken/groups/mail/consume", { consumer: "a" }],
      ["POST", "/v1/streams/taken/groups/mail/settle", {}],
      ["GET", "/v1/streams/taken/groups/mail/pending"],
      ["GET", "/v1/streams/taken/groups/mail/consumers"],
      ["GET", "/v1/streams/taken/groups/mail/dead-letters"],
    ];
    for (const [method, path, body] of requests) {
      const answer = await worker.call(method, path, body);
      expect(`${method} ${path} ${answer.json?.code}`).toBe(`${method} ${path} conflict`);
      expectProblem(answer, "conflict");
    }
    expect(await redis.get(key("taken"))).toBe(SECRET);
    expect(await redis.exists(key("taken", ":config"))).toBe(0);
    expect((await worker.call("GET", "/v1/streams")).json.streams).toEqual([]);
  });

  test("is refused where the settings' key of a stream holds another type, and nothing is lost", async () => {
    const redis = nativeClient();
    await worker.call("PUT", "/v1/streams/a");
    await worker.call("PUT", "/v1/streams/a/groups/mail", { start: "earliest" });
    const { ids } = (await worker.call("POST", "/v1/streams/a/messages", { messages: [{ data: 1 }] })).json;
    await redis.del(key("a", ":config"));
    await redis.set(key("a", ":config"), SECRET);
    expectProblem(await worker.call("PUT", "/v1/streams/a", { maxMessageBytes: 2048 }), "conflict");
    expectProblem(await worker.call("GET", "/v1/streams/a"), "conflict");
    expectProblem(
      await worker.call("POST", "/v1/streams/a/messages", { messages: [{}] }, { "idempotency-key": "k" }),
      "conflict",
    );
    expectProblem(await worker.call("POST", "/v1/streams/a/groups/mail/consume", { consumer: "c" }), "conflict");
    expect(await redis.get(key("a", ":config"))).toBe(SECRET);
    await redis.del(key("a", ":config"));
    const handed = (await worker.call("POST", "/v1/streams/a/groups/mail/consume", { consumer: "c" })).json.messages;
    expect(handed.map(({ id, deliveries }: { id: string; deliveries: number }) => [id, deliveries])).toEqual([
      [ids[0], 1],
    ]);
  });

  test("is refused where the dead letters' key holds another type, and the poisonous message stays pending", async () => {
    const redis = nativeClient();
    await worker.call("PUT", "/v1/streams/b");
    await worker.call("PUT", "/v1/streams/b/groups/mail", { start: "earliest", maxDeliveries: 1 });
    const { ids } = (await worker.call("POST", "/v1/streams/b/messages", { messages: [{ data: 1 }] })).json;
    await worker.call("POST", "/v1/streams/b/groups/mail/consume", { consumer: "c" });
    await redis.call("XCLAIM", key("b"), "mail", "c", 0, ids[0], "IDLE", 60_000, "RETRYCOUNT", 1, "JUSTID");
    await redis.set(key("b", ":dead:mail"), SECRET);
    expectProblem(await worker.call("POST", "/v1/streams/b/groups/mail/consume", { consumer: "c" }), "conflict");
    expectProblem(await worker.call("GET", "/v1/streams/b/groups/mail/dead-letters"), "conflict");
    expect(await redis.get(key("b", ":dead:mail"))).toBe(SECRET);
    expect(await redis.call("XPENDING", key("b"), "mail")).toEqual([1, ids[0], ids[0], [["c", "1"]]]);
    await redis.del(key("b", ":dead:mail"));
    await worker.call("POST", "/v1/streams/b/groups/mail/consume", { consumer: "c" });
    const { deadLetters } = (await worker.call("GET", "/v1/streams/b/groups/mail/dead-letters")).json;
    expect(deadLetters).toMatchObject([{ message: { id: ids[0], data: 1 }, reason: "max-deliveries" }]);
  });

  test("is refused where an idempotency key's key holds another type, and nothing is appended", async () => {
    const redis = nativeClient();
    await worker.call("PUT", "/v1/streams/c");
    await redis.rpush(key("c", ":once:k"), SECRET);
    expectProblem(
      await worker.call("POST", "/v1/streams/c/messages", { messages: [{}] }, { "idempotency-key": "k" }),
      "conflict",
    );
    expect(await redis.lrange(key("c", ":once:k"), 0, -1)).toEqual([SECRET]);
    expect(await redis.xlen(key("c"))).toBe(0);
  });

  test("is refused where a group is there with another start; the same start again is none", async () => {
    await worker.call("PUT", "/v1/streams/d");
    const group = "/v1/streams/d/groups/mail";
    expect((await worker.call("PUT", group, { start: "2024-01-01" })).status).toBe(201);
    expectProblem(await worker.call("PUT", group, { start: "latest" }), "conflict");
    expectProblem(await worker.call("PUT", group, { start: "5-0", maxDeliveries: 9 }), "conflict");
    expect((await worker.call("PUT", group, { start: "2024-01-01T00:00:00Z" })).status).toBe(200);
    expect((await worker.call("PUT", group, { start: Date.UTC(2024, 0, 1) })).status).toBe(200);
    expect((await worker.call("PUT", group, {})).json.config.maxDeliveries).toBe(5);
  });
});

describe("a registry of another type", () => {
  const worker = startWorker();

  test("is a conflict, and stays as it is", async () => {
    const redis = nativeClient();
    await redis.set(`${worker.prefix}streams`, SECRET);
    expectProblem(await worker.call("GET", "/v1/streams"), "conflict");
    expectProblem(await worker.call("PUT", "/v1/streams/a"), "conflict");
    expect(await redis.get(`${worker.prefix}streams`)).toBe(SECRET);
  });
});
