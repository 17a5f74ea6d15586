import { beforeAll, describe, expect, test } from "vitest";
import { openStream } from "../../shared/stream/stream.ts";
import { parseMetrics, sample } from "../support/metrics.ts";
import { nativeClient, openRedis } from "../support/redis.ts";
import { passTimeOfScheduled } from "../support/streams.ts";
import { startWorker } from "../support/worker.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const worker = startWorker();
const STREAM = "/v1/streams/reminders";
const GROUP = `${STREAM}/groups/mail`;

const produce = (messages: unknown, headers: Record<string, string> = {}) =>
  worker.call("POST", `${STREAM}/messages`, { messages }, headers);

/** Lets all that is scheduled be due. */
const pass = (ms: number) =>
  passTimeOfScheduled(nativeClient(), openStream(openRedis(), worker.prefix, "reminders"), ms);

const consumed = async () => {
  const { json } = await worker.call("POST", `${GROUP}/consume`, { consumer: "a", batchSize: 100 });
  const acks = json.messages.map(({ lease }: { lease: string }) => lease);
  if (acks.length > 0) await worker.call("POST", `${GROUP}/settle`, { acks });
  return json.messages;
};

beforeAll(async () => {
  await worker.call("PUT", STREAM, {});
  await worker.call("PUT", GROUP, { start: "earliest" });
});

test("a message is listed until it is due, then consumed as any other", async () => {
  const at = Date.now() + 2 * HOUR_MS;
  const message = { type: "t", key: "k", data: { b: 1, a: [1.0] }, attributes: { x: "y" } };
  const { status, json } = await produce([
    { ...message, delayMs: HOUR_MS },
    { data: 2, deliverAt: at },
    { dataBase64: "AP8=", deliverAt: new Date(at + 1).toISOString() },
  ]);
  expect(status).toBe(201);
  const [first, second, third] = json.ids;
  const listed = await worker.call("GET", `${STREAM}/scheduled`);
  expect(listed.json).toEqual({
    scheduled: [
      { id: first, deliverAt: expect.any(Number), message },
      { id: second, deliverAt: at, message: { type: null, key: null, data: 2, attributes: {} } },
      { id: third, deliverAt: at + 1, message: { type: null, key: null, dataBase64: "AP8=", attributes: {} } },
    ],
    next: null,
  });
  expect((await worker.call("GET", `${STREAM}/scheduled/${second}`)).json).toEqual(listed.json.scheduled[1]);
  const page = await worker.call("GET", `${STREAM}/scheduled?limit=2`);
  const rest = await worker.call("GET", `${STREAM}/scheduled?cursor=${encodeURIComponent(page.json.next)}`);
  expect([...page.json.scheduled, ...rest.json.scheduled]).toEqual(listed.json.scheduled);

  expect((await worker.call("GET", STREAM)).json).toMatchObject({ length: 0, scheduled: 3 });
  expect((await worker.call("GET", "/v1/streams")).json.streams).toEqual([
    { name: "reminders", length: 0, scheduled: 3 },
  ]);
  expect((await worker.call("GET", `${STREAM}/retention`)).json).toMatchObject({ scheduled: 3, overdueSince: null });
  const metrics = parseMetrics((await worker.call("GET", "/metrics")).text);
  const labels = { stream: "reminders" };
  expect(sample(metrics, "weir_stream_scheduled_messages", labels)).toBe(3);
  expect(sample(metrics, "weir_stream_scheduled_late_seconds", labels)).toBe(0);
  expect(await consumed()).toEqual([]);

  expect((await worker.call("DELETE", `${STREAM}/scheduled/${second}`)).status).toBe(204);
  expect((await worker.call("DELETE", `${STREAM}/scheduled/${second}`)).json).toMatchObject({
    status: 404,
    code: "unknown-message",
  });
  await pass(3 * HOUR_MS);
  const late = parseMetrics((await worker.call("GET", "/metrics")).text);
  expect(sample(late, "weir_stream_scheduled_late_seconds", labels)).toBeGreaterThan(HOUR_MS / 1_000);
  const { json: report } = await worker.call("POST", "/v1/reaper/run");
  expect(report.streams).toMatchObject([{ stream: "reminders", promoted: 2 }]);
  const messages = await consumed();
  expect(messages).toMatchObject([message, { dataBase64: "AP8=" }]);
  expect(messages[0].producedAt).toBeGreaterThan(at - 3 * HOUR_MS);
  for (const id of [first, third]) {
    expect((await worker.call("GET", `${STREAM}/scheduled/${id}`)).json.code).toBe("unknown-message");
    expect((await worker.call("DELETE", `${STREAM}/scheduled/${id}`)).json.code).toBe("unknown-message");
  }
});

test("NDJSON takes it too, and a repeat with an Idempotency-Key answers the same ids", async () => {
  const headers = { "content-type": "application/x-ndjson", "idempotency-key": "once" };
  const body = `{"data":1.0,"delayMs":${HOUR_MS}}\n{"data":2}`;
  const first = await worker.call("POST", `${STREAM}/messages`, body, headers);
  expect(first.json.ids).toEqual([expect.stringMatching(/^later~/), expect.stringMatching(/^\d+-\d+$/)]);
  const again = await worker.call("POST", `${STREAM}/messages`, body, headers);
  expect([again.status, again.json, again.headers.get("idempotency-replayed")]).toEqual([201, first.json, "true"]);
  const other = await worker.call("POST", `${STREAM}/messages`, body.replace("{", `{"type":"x",`), headers);
  expect(other.json.code).toBe("idempotency-mismatch");
  await pass(HOUR_MS);
  // What passes by appends it.
  expect((await consumed()).map(({ data }: { data: unknown }) => data)).toEqual([2]);
  expect((await consumed()).map(({ data }: { data: unknown }) => data)).toEqual([1]);
});

describe("what is refused names its member:", () => {
  test.each([
    ["both", { delayMs: 1, deliverAt: 1 }, "messages[1].deliverAt", "expected either delayMs or deliverAt"],
    ["more than 30 days", { delayMs: 30 * DAY_MS + 1 }, "messages[1].delayMs", ""],
    ["less than none", { delayMs: -1 }, "messages[1].delayMs", ""],
    ["a part of a millisecond", { delayMs: 0.5 }, "messages[1].delayMs", ""],
    ["a text", { delayMs: "1" }, "messages[1].delayMs", ""],
    ["a time that is none", { deliverAt: "tomorrow" }, "messages[1].deliverAt", "ISO 8601"],
    ["a day that is none", { deliverAt: "2026-02-30" }, "messages[1].deliverAt", "ISO 8601"],
    ["an entry id", { deliverAt: "1-1" }, "messages[1].deliverAt", "ISO 8601"],
    ["a time far ahead", { deliverAt: "2199-01-01" }, "messages[1].deliverAt", "within 30 days"],
  ])("%s", async (_, wrong, path, words) => {
    const { status, json } = await produce([{ data: 1 }, { data: 2, ...wrong }]);
    expect([status, json.code]).toEqual([400, "invalid-request"]);
    expect(json.errors).toContainEqual({ path, message: expect.stringContaining(words) });
  });

  test("an id or a cursor that is none", async () => {
    for (const path of ["scheduled/1-0", "scheduled/later~x", "scheduled?cursor=1-0", "scheduled?limit=0"]) {
      expect((await worker.call("GET", `${STREAM}/${path}`)).json).toMatchObject({
        status: 400,
        code: "invalid-request",
      });
    }
    expect((await worker.call("DELETE", `${STREAM}/scheduled/1-0`)).status).toBe(400);
    expect((await worker.call("GET", "/v1/streams/none/scheduled")).json.code).toBe("unknown-stream");
  });
});
