import { describe, expect, test } from "vitest";
import { WeirError } from "../../shared/errors.ts";
import type { Redis } from "../../shared/redis/redis.ts";
import { produce } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { BOTH_TRANSPORTS, nativeClient } from "../support/redis.ts";
import { age, makeStream, poll, type TestStream } from "../support/streams.ts";

// A fast poll takes the answer as plain text, in which U+FFFD stands for bytes that are not UTF-8.

/** Polls once for the settings, so that the next poll with what this returns is a fast one. */
async function readyForFastPoll(stream: TestStream) {
  const cache = new SettingsCache();
  const { pollState } = await poll(stream, "g", {}, cache);
  return (batchSize = 100) => poll(stream, "g", { pollState, batchSize }, cache);
}

async function usageOf<Result>(redis: Redis, step: () => Promise<Result>) {
  const { commands, roundTrips } = redis.usage;
  const result = await step();
  return { result, commands: redis.usage.commands - commands, roundTrips: redis.usage.roundTrips - roundTrips };
}

describe.each(BOTH_TRANSPORTS)("a fast poll over %s", (transport) => {
  test("hands on bytes that are not UTF-8 as they are, between messages that are", async () => {
    const stream = await makeStream(["g"], { transport });
    const fastPoll = await readyForFastPoll(stream);
    const native = nativeClient();
    const { stream: key } = stream.keys;
    await produce(stream, [{ data: '"é"' }]);
    await native.xadd(key, "*", "data", Buffer.from([0xff, 0x00, 0xfe]));
    await produce(stream, [{ data: '"between"' }]);
    await native.xadd(key, "*", "type", Buffer.from([0xc0]), "data", "1", "a", Buffer.from([0x80]));
    await produce(stream, [{ data: '"last"' }]);

    const { result, ...used } = await usageOf(stream.redis, fastPoll);
    expect(result.messages).toMatchObject([
      { data: "é" },
      { dataBase64: "/wD+" },
      { data: "between" },
      { data: 1, type: null, attributesBase64: { type: "wA==", a: "gA==" } },
      { data: "last" },
    ]);
    expect(result.messages.map(({ deliveries }) => deliveries)).toEqual([1, 1, 1, 1, 1]);
    // Exact bytes cost a look of their own over REST only.
    expect(used).toEqual(transport === "rest" ? { commands: 2, roundTrips: 2 } : { commands: 1, roundTrips: 1 });
  });

  test("leaves a message alone that holds U+FFFD itself", async () => {
    const stream = await makeStream(["g"], { transport });
    const fastPoll = await readyForFastPoll(stream);
    const data = JSON.stringify("mangled \ufffd long ago");
    await produce(stream, [{ data, type: "\ufffd", attributes: { "\ufffd": "x" } }]);
    const { messages } = await fastPoll();
    expect(messages).toMatchObject([
      { data: "mangled \ufffd long ago", type: "\ufffd", attributes: { "\ufffd": "x" } },
    ]);
    expect(messages[0]).not.toHaveProperty("attributesBase64");
  });

  test("is one command and one round trip for all other text", async () => {
    const stream = await makeStream(["g"], { transport });
    const fastPoll = await readyForFastPoll(stream);
    const texts = ["OK", "null", "1.0", "12345678901234567890", "-0", "\u2028", "😀", '"', "\\", "\u0000", ""];
    await produce(
      stream,
      texts.map((data) => ({ data, datacontenttype: "text/plain", attributes: { a: data } })),
    );
    const { result, ...used } = await usageOf(stream.redis, fastPoll);
    expect(result.messages.map(({ data }) => data)).toEqual(texts);
    expect(used).toEqual({ commands: 1, roundTrips: 1 });
  });
});

test("a message that is deleted before its bytes were looked at again comes as it was read", async () => {
  const stream = await makeStream(["g"], { transport: "rest" });
  const fastPoll = await readyForFastPoll(stream);
  const native = nativeClient();
  await native.xadd(stream.keys.stream, "1-1", "data", Buffer.from([0xff]));
  const redis = stream.redis;
  const send = redis.send.bind(redis);
  redis.send = async (call) => {
    if (Array.isArray(call) && call[0] === "XRANGE") await native.xdel(stream.keys.stream, "1-1");
    return send(call);
  };
  expect((await fastPoll()).messages).toMatchObject([{ id: "1-1", data: "\ufffd", deliveries: 1 }]);
});

test("a second look that fails fails the poll, and the batch comes again, whole, when its lease has ended", async () => {
  const stream = await makeStream(["g"], { transport: "rest" });
  const fastPoll = await readyForFastPoll(stream);
  const native = nativeClient();
  await native.xadd(stream.keys.stream, "1-1", "data", Buffer.from([0xff]));
  await produce(stream, [{ data: "2" }]);
  const redis = stream.redis;
  const send = redis.send.bind(redis);
  redis.send = async (call) => {
    if (Array.isArray(call) && call[0] === "XRANGE") throw new WeirError("redis-unavailable", "gone");
    return send(call);
  };
  await expect(fastPoll()).rejects.toMatchObject({ code: "redis-unavailable" });
  redis.send = send;
  await age(native, stream, "g");
  const { messages } = await poll(stream, "g");
  expect(messages).toMatchObject([
    { id: "1-1", dataBase64: "/w==", deliveries: 2 },
    { data: 2, deliveries: 2 },
  ]);
});
