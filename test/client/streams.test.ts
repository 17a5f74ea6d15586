import { beforeAll, describe, expect, test } from "vitest";
import type { WeirClient } from "../../client/client.ts";
import {
  ConflictError,
  FullError,
  InvalidRequestError,
  NotFoundError,
  PayloadTooLargeError,
} from "../../client/errors.ts";
import { steps } from "../../client/pages.ts";
import type { StreamClient } from "../../client/stream.ts";
import type { CloudEvent } from "../../client/wire.ts";
import { clientOf, errorOf } from "../support/client.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();
let weir: WeirClient;
let made = 0;

beforeAll(() => {
  weir = clientOf(worker);
});

async function newStream(count = 0): Promise<{ stream: StreamClient; ids: readonly string[] }> {
  const stream = weir.stream(`s${made++}`);
  await stream.put();
  const messages = Array.from({ length: count }, (_, i) => ({ type: "n", key: `k${i}`, data: i }));
  return { stream, ids: count === 0 ? [] : await stream.produce(messages) };
}

const unknown = () => weir.stream("nobody-made-it");

describe("a stream", () => {
  test("is made, changed by what is given alone, listed and deleted", async () => {
    const stream = weir.stream("made");
    expect(await stream.put({ dedupeWindowMs: 2_000 })).toMatchObject({ name: "made", length: 0, lastId: null });
    expect((await stream.put({ maxMessageBytes: 2_048 })).config).toMatchObject({
      dedupeWindowMs: 2_000,
      maxMessageBytes: 2_048,
    });
    expect((await stream.put({ dedupeWindowMs: null })).config.dedupeWindowMs).toBe(300_000);
    expect((await weir.streams().toArray()).map(({ name }) => name)).toContain("made");
    expect(await stream.delete()).toBeUndefined();
    expect(await errorOf(stream.get())).toMatchObject({ code: "unknown-stream", status: 404 });
    expect(await errorOf(stream.delete())).toBeInstanceOf(NotFoundError);
  });

  test("with settings that are not valid is refused with every member that is not", async () => {
    const error = await errorOf(weir.stream("refused").put({ dedupeWindowMs: 1, maxMessageBytes: 1 }));
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect(error.errors.map(({ path }) => path).sort()).toEqual(["dedupeWindowMs", "maxMessageBytes"]);
    expect(error.message).toMatch(/^PUT \/v1\/streams\/refused: invalid-request: /);
  });

  test("is trimmed, step by step, and tells before what that takes and from whom", async () => {
    const { stream, ids } = await newStream(3);
    await stream.group("g").put({ start: "earliest" });
    expect(await stream.retention()).toMatchObject({ unfinished: "keep", scheduled: 0, overdueSince: null });
    const { keptFor, trimmed } = await stream.trim({ maxLength: 0, exact: true });
    expect({ keptFor, trimmed }).toEqual({ trimmed: 0, keptFor: [{ group: "g", fromId: ids[0] }] });
    await stream.group("g").delete();
    let all = 0;
    for await (const step of steps((cursor) => stream.trim({ maxLength: 1, exact: true, cursor }))) all += step.trimmed;
    expect(all).toBe(2);
    expect(await errorOf(stream.trim({}))).toBeInstanceOf(InvalidRequestError);
    expect(await errorOf(unknown().trim({ maxLength: 0 }))).toMatchObject({ code: "unknown-stream" });
    expect(await errorOf(unknown().retention())).toMatchObject({ code: "unknown-stream" });
  });
});

describe("messages", () => {
  test("come back as they were produced, one, many, and page by page", async () => {
    const { stream, ids } = await newStream(5);
    const [id = ""] = await stream.produce({ type: "t", key: "k", data: { n: 1 }, attributes: { a: "b" } });
    expect(await stream.message(id)).toMatchObject({ id, type: "t", key: "k", data: { n: 1 }, attributes: { a: "b" } });
    const seen: string[] = [];
    for await (const message of stream.messages({ limit: 2 })) seen.push(message.id);
    expect(seen).toEqual([...ids, id]);
    const sizes: number[] = [];
    for await (const { messages } of stream.messages({ limit: 4 }).byPage()) sizes.push(messages.length);
    expect(sizes).toEqual([4, 2]);
    const { messages, next } = await stream.messages({ limit: 2, order: "desc" }).first();
    expect(messages.map((message) => message.id)).toEqual([id, ids[4]]);
    const rest = await stream.messages({ order: "desc", ...(next === null ? {} : { cursor: next }) }).toArray();
    expect(rest.map((message) => message.id)).toEqual(ids.slice(0, 4).reverse());
  });

  test("are asked for no further than they are read", async () => {
    const { stream } = await newStream(4);
    let requests = 0;
    const counted = clientOf(worker, { onAttempt: () => requests++ }).stream(stream.name);
    for await (const _ of counted.messages({ limit: 1 })) break;
    expect(requests).toBe(1);
  });

  test("that are not there, or whose stream is not, are not found", async () => {
    const { stream } = await newStream(1);
    expect(await errorOf(stream.message("1-1"))).toMatchObject({ code: "unknown-message", status: 404 });
    expect(await errorOf(stream.states("1-1"))).toMatchObject({ code: "unknown-message" });
    expect(await errorOf(stream.deleteMessage("1-1"))).toMatchObject({ code: "unknown-message" });
    expect(await errorOf(stream.event("1-1"))).toMatchObject({ code: "unknown-message" });
    expect(await errorOf(stream.message("no id"))).toMatchObject({ code: "invalid-request" });
    expect(await errorOf(unknown().messages().toArray())).toMatchObject({ code: "unknown-stream" });
    expect(await errorOf(unknown().events().toArray())).toMatchObject({ code: "unknown-stream" });
    expect(await errorOf(unknown().produce({ data: 1 }))).toBeInstanceOf(NotFoundError);
  });

  test("tell where each group is with them, until they are deleted", async () => {
    const { stream, ids } = await newStream(1);
    await stream.group("g").put({ start: "earliest" });
    const [id = ""] = ids;
    expect(await stream.states(id)).toMatchObject([{ group: "g", state: "waiting", consumer: null }]);
    expect(await stream.deleteMessage(id)).toBeUndefined();
    expect(await errorOf(stream.message(id))).toMatchObject({ code: "unknown-message" });
  });

  test("of any media type are one message with those bytes", async () => {
    const { stream } = await newStream();
    const [id = ""] = await stream.produceBody(new Uint8Array([0, 255]), {
      contentType: "application/pdf",
      type: "invoice",
      key: "k",
    });
    expect(await stream.message(id)).toMatchObject({ type: "invoice", key: "k", dataBase64: "AP8=" });
    const lines = await stream.produceBody('{"data":1}\n{"data":2}\n', { contentType: "application/x-ndjson" });
    expect(lines).toHaveLength(2);
    const headers = { "ce-specversion": "1.0", "ce-id": "A1", "ce-source": "/s", "ce-type": "t" };
    const [binary = ""] = await stream.produceBody("{}", { contentType: "application/json", headers });
    expect(await stream.event(binary)).toMatchObject({ id: "A1", source: "/s", type: "t", data: {} });
    expect(await errorOf(stream.produceBody("{", { contentType: "application/json" }))).toBeInstanceOf(
      InvalidRequestError,
    );
  });

  test("are refused before they are sent: none, more than 1,000, and above 8 MiB", async () => {
    let requests = 0;
    const stream = clientOf(worker, { onAttempt: () => requests++ }).stream("s0");
    const one = { data: 1 };
    expect(await errorOf(stream.produce([]))).toBeInstanceOf(InvalidRequestError);
    expect(await errorOf(stream.produce(Array.from({ length: 1_001 }, () => one)))).toBeInstanceOf(InvalidRequestError);
    expect(await errorOf(stream.produceEvents([]))).toBeInstanceOf(InvalidRequestError);
    const large = new Uint8Array(8 * 1024 * 1024 + 1);
    const error = await errorOf(stream.produceBody(large, { contentType: "application/pdf" }));
    expect(error).toBeInstanceOf(PayloadTooLargeError);
    // Fewer characters than bytes.
    const wide = "é".repeat(4 * 1024 * 1024 + 1);
    expect(await errorOf(stream.produceBody(wide, { contentType: "text/plain" }))).toBeInstanceOf(PayloadTooLargeError);
    expect(requests).toBe(0);
  });

  test("above the stream's own limit are named", async () => {
    const { stream } = await newStream();
    await stream.put({ maxMessageBytes: 1_024 });
    const error = await errorOf(stream.produce([{ data: 1 }, { data: "p4yl0ad".repeat(200) }]));
    expect(error).toBeInstanceOf(PayloadTooLargeError);
    expect(error).toMatchObject({ status: 413, errors: [{ path: "messages[1]" }] });
    expect(JSON.stringify([error.message, error.errors])).not.toContain("p4yl0ad");
  });

  test("that a full stream has no room for are not stored, and the error is no reason to repeat", async () => {
    const { stream } = await newStream(1);
    await stream.group("g").put({ start: "earliest" });
    await stream.put({ retention: { maxLength: 1 } });
    let requests = 0;
    const error = await errorOf(
      clientOf(worker, { onAttempt: () => requests++ })
        .stream(stream.name)
        .produce({ data: 1 }),
    );
    expect(error).toBeInstanceOf(FullError);
    expect(error).toMatchObject({ code: "stream-full", status: 507 });
    expect(requests).toBe(1);
  });

  test("under an idempotencyKey that other messages had are refused; the same get the same ids", async () => {
    const { stream } = await newStream();
    const options = { idempotencyKey: "batch-7" };
    const ids = await stream.produce({ data: 1 }, options);
    expect(await stream.produce({ data: 1 }, options)).toEqual(ids);
    const error = await errorOf(stream.produce({ data: 2 }, options));
    expect(error).toBeInstanceOf(InvalidRequestError);
    expect(error).toMatchObject({ code: "idempotency-mismatch", status: 422 });
  });

  test("carry the trace context that is handed in, unless they have one of their own", async () => {
    const { stream } = await newStream();
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await stream.produce([{ data: 1, attributes: { a: "b" } }, { attributes: { traceparent: "own" } }, {}], {
      traceparent,
    });
    expect((await stream.messages().toArray()).map(({ attributes }) => attributes)).toEqual([
      { a: "b", traceparent },
      { traceparent: "own" },
      { traceparent },
    ]);
  });

  test("with numbers beyond 2^53 are kept to the digit, and rounded by JSON.parse alone", async () => {
    const { stream } = await newStream();
    const [id = ""] = await stream.produceBody('{"data":12345678901234567890}', {
      contentType: "application/x-ndjson",
    });
    const path = `/v1/streams/${stream.name}/messages/${id}`;
    expect((await worker.call("GET", path)).text).toContain('"data":12345678901234567890');
    expect((await stream.message(id)).data).toBe(Number("12345678901234567890"));
  });
});

describe("CloudEvents", () => {
  const event = (n: number): CloudEvent => ({
    specversion: "1.0",
    id: `A${n}`,
    source: "/shop",
    type: "order.paid",
    partitionkey: "o-17",
    datacontenttype: "application/json",
    data: { n },
    retried: true,
  });

  test("come back with all their attributes, one, as a list, and page by page", async () => {
    const { stream } = await newStream();
    const [first = ""] = await stream.produceEvents(event(0));
    const ids = [first, ...(await stream.produceEvents([event(1), event(2)], { idempotencyKey: "events" }))];
    expect(await stream.event(first)).toEqual({ ...event(0), weirid: first });
    expect(await stream.message(first)).toMatchObject({ type: "order.paid", key: "o-17", data: { n: 0 } });
    const all = await stream.events({ limit: 1 }).toArray();
    expect(all).toEqual(ids.map((weirid, n) => ({ ...event(n), weirid })));
    const { events, next } = await stream.events({ limit: 2, order: "desc" }).first();
    expect(events.map(({ weirid }) => weirid)).toEqual([ids[2], ids[1]]);
    expect(next).not.toBeNull();
    expect((await stream.events({ limit: 3 }).first()).next).toBeNull();
  });

  test("that are not valid are named by their place", async () => {
    const { stream } = await newStream();
    const error = await errorOf(stream.produceEvents([event(0), { ...event(1), time: "noon" }]));
    expect(error).toMatchObject({ code: "invalid-request", errors: [{ path: "messages[1].time" }] });
    expect(await stream.get()).toMatchObject({ length: 0 });
  });
});

describe("scheduled messages", () => {
  test("are listed until they are cancelled, which goes once", async () => {
    const { stream } = await newStream();
    const ids = await stream.produce([
      { data: 1, delayMs: 60_000 },
      { data: 2, deliverAt: new Date(Date.now() + 90_000).toISOString() },
    ]);
    expect(ids[0]).toMatch(/^later~/);
    expect((await stream.scheduled({ limit: 1 }).toArray()).map(({ id }) => id)).toEqual(ids);
    const [id = ""] = ids;
    expect(await stream.scheduledMessage(id)).toMatchObject({ id, message: { data: 1 } });
    expect(await stream.cancelScheduled(id)).toBeUndefined();
    expect(await errorOf(stream.cancelScheduled(id))).toBeInstanceOf(NotFoundError);
    expect(await errorOf(stream.scheduledMessage(id))).toMatchObject({ code: "unknown-message" });
    expect(await errorOf(unknown().scheduled().toArray())).toMatchObject({ code: "unknown-stream" });
  });
});

describe("groups", () => {
  test("are made, changed, listed, moved and deleted; another start is a conflict", async () => {
    const { stream, ids } = await newStream(2);
    const group = stream.group("mail");
    expect(await group.put({ start: "earliest", ackWaitMs: 5_000 })).toMatchObject({ name: "mail", lag: 2 });
    const error = await errorOf(group.put({ start: "latest" }));
    expect(error).toBeInstanceOf(ConflictError);
    expect(error).toMatchObject({ code: "conflict", status: 409 });
    expect((await stream.groups().toArray()).map(({ name }) => name)).toEqual(["mail"]);
    expect((await group.get()).config.ackWaitMs).toBe(5_000);
    expect(await group.seek({ to: "latest" })).toEqual({ lastDeliveredId: ids[1] });
    expect(await group.delete()).toBeUndefined();
    expect(await errorOf(group.get())).toMatchObject({ code: "unknown-group", status: 404 });
    expect(await errorOf(group.delete())).toBeInstanceOf(NotFoundError);
    expect(await errorOf(group.seek({ to: "latest" }))).toMatchObject({ code: "unknown-group" });
    expect(await errorOf(unknown().groups().toArray())).toMatchObject({ code: "unknown-stream" });
    expect(await errorOf(unknown().group("g").put())).toMatchObject({ code: "unknown-stream" });
  });
});
