import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import type { Reply } from "../../shared/redis/connection.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis, uniquePrefix } from "../support/redis.ts";

const TEXTS = {
  "an integer beyond 2^53": "9007199254740993",
  "an integer of 30 digits": "123456789012345678901234567890",
  OK: "OK",
  null: "null",
  true: "true",
  "1.0": "1.0",
  "-0": "-0",
  "1e400": "1e400",
  "JSON text": '{"b":1.0,"a":[null,"x\\u0041"], "big":9007199254740993}',
  "a JSON string": '"OK"',
  "nothing at all": "",
  "base64 of OK": "T0s=",
  "text in the alphabet of base64": "abcd",
  "an error reply": "-ERR no",
  "a status reply": "+OK\r\n",
  emoji: "👩‍👩‍👧 🙂",
  "U+2028 and U+2029": "\u2028\u2029",
  "a byte order mark": "\uFEFFtext",
  NUL: "a\0b\0",
  "CR LF": "\r\n$5\r\n",
  "the replacement character": "\uFFFD",
  "one megabyte": "é€🙂x".repeat(104_858),
};

const BYTES = {
  "a stray continuation byte": [0x80],
  "Latin-1": [0x63, 0x61, 0x66, 0xe9],
  "a surrogate in UTF-8": [0xed, 0xa0, 0x80],
  "an overlong NUL": [0xc0, 0x80],
  "a cut-off emoji": [0xf0, 0x9f, 0x99],
  "every byte": Array.from({ length: 256 }, (_, i) => i),
};

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  describe.each(Object.entries(TEXTS))("%s comes back as it was sent", (_, text) => {
    test("by SET and GET, as value and as key", async () => {
      const redis = openRedis(transport);
      const key = `${uniquePrefix()}${text.slice(0, 1000)}`;
      expect(await redis.send(["SET", key, text])).toBe("OK");
      expect(await redis.send(["GET", key])).toBe(text);
      expect(await nativeClient().getBuffer(key)).toEqual(Buffer.from(text));
    });

    test("by XADD and XRANGE, as field and as value", async () => {
      const redis = openRedis(transport);
      const key = uniquePrefix();
      const id = await redis.send(["XADD", key, "*", text, text, "after", "1"]);
      expect(await redis.send(["XRANGE", key, "-", "+"])).toEqual([[id, [text, text, "after", "1"]]]);
    });

    test("by HSET and HGETALL", async () => {
      const redis = openRedis(transport);
      const key = uniquePrefix();
      expect(await redis.send(["HSET", key, text, text])).toBe(1);
      expect(await redis.send(["HGETALL", key])).toEqual([text, text]);
    });

    test("through a script", async () => {
      const script = "return { ARGV[1], { KEYS[1] }, #ARGV[1] }";
      const answer = await openRedis(transport).send(["EVAL", script, 1, text, text]);
      expect(answer).toEqual([text, [text], Buffer.byteLength(text)]);
    });
  });

  test.each(Object.entries(BYTES))("%s is no UTF-8 and comes back as bytes", async (_, bytes) => {
    const redis = openRedis(transport);
    const native = nativeClient();
    const key = uniquePrefix();
    const value = Buffer.from(bytes);
    await native.set(key, value);
    await native.xadd(`${key}s`, "1-1", value, value);
    const expected = Uint8Array.from(bytes);
    expect(await redis.send(["GET", key])).toStrictEqual(expected);
    expect(await redis.send(["XRANGE", `${key}s`, "-", "+"])).toStrictEqual([["1-1", [expected, expected]]]);
    expect(await redis.send(["EVAL", "return redis.call('GET', KEYS[1])", 1, key])).toStrictEqual(expected);
  });

  test("bytes beside text stay bytes, and the text stays text", async () => {
    const native = nativeClient();
    const key = uniquePrefix();
    await native.xadd(key, "1-1", "text", "é", "bytes", Buffer.from([0xff]), "after", "🙂");
    const reply = await openRedis(transport).send(["XRANGE", key, "-", "+"]);
    expect(reply).toStrictEqual([["1-1", ["text", "é", "bytes", Uint8Array.of(0xff), "after", "🙂"]]]);
  });

  test("an entry of 1,000 fields keeps their names and order", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    const fields = Array.from({ length: 1000 }, (_, i) => [`name ${i} é`, String(i)]).flat();
    const id = await redis.send(["XADD", key, "*", ...fields]);
    expect(await redis.send(["XRANGE", key, "-", "+"])).toEqual([[id, fields]]);
  });

  test("a megabyte of other lengths is not cut or padded", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    for (const length of [1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1]) {
      await redis.send(["SET", key, "x".repeat(length)]);
      expect(await redis.send(["STRLEN", key])).toBe(length);
      expect(await redis.send(["GET", key])).toBe("x".repeat(length));
    }
  });

  test("numbers are numbers, and digits in text are text", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    expect(await redis.send(["XLEN", key])).toBe(0);
    await redis.send(["XADD", key, "1-1", "a", 1]);
    expect(await redis.send(["XLEN", key])).toBe(1);
    expect(await redis.send(["EVAL", "return { 1, -1, 1795176000000123, '1', 1.9 }", 0])).toEqual([
      1,
      -1,
      1795176000000123,
      "1",
      1,
    ]);
  });

  test("nil is null, alone, inside arrays and in place of an array", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    await redis.send(["HSET", key, "b", ""]);
    expect(await redis.send(["GET", `${key}none`])).toBeNull();
    expect(await redis.send(["HMGET", key, "a", "b", "c"])).toEqual([null, "", null]);
    expect(await redis.send(["EVAL", "return { false, { false }, 'x' }", 0])).toEqual([null, [null], "x"]);
    await redis.send(["XGROUP", "CREATE", `${key}s`, "g", "0", "MKSTREAM"]);
    expect(await redis.send(["XREADGROUP", "GROUP", "g", "c", "STREAMS", `${key}s`, ">"])).toBeNull();
  });

  test("an empty array is an empty array", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    expect(await redis.send(["XRANGE", key, "-", "+"])).toEqual([]);
    expect(await redis.send(["HGETALL", key])).toEqual([]);
    expect(await redis.send(["EVAL", "return { {}, { {} } }", 0])).toEqual([[], [[]]]);
  });

  test("the replies of the stream commands keep their nesting", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    await redis.send(["XADD", key, "1-1", "a", "OK"]);
    await redis.send(["XADD", key, "1-2", "b", "2"]);
    expect(await redis.send(["XGROUP", "CREATE", key, "g", "0"])).toBe("OK");
    expect(await redis.send(["XREADGROUP", "GROUP", "g", "OK", "COUNT", 2, "STREAMS", key, ">"])).toEqual([
      [
        key,
        [
          ["1-1", ["a", "OK"]],
          ["1-2", ["b", "2"]],
        ],
      ],
    ]);
    expect(await redis.send(["XPENDING", key, "g"])).toEqual([2, "1-1", "1-2", [["OK", "2"]]]);
    expect(await redis.send(["XPENDING", key, "g", "-", "+", 10])).toEqual([
      ["1-1", "OK", expect.any(Number), 1],
      ["1-2", "OK", expect.any(Number), 1],
    ]);
    await redis.send(["XDEL", key, "1-1"]);
    expect(await redis.send(["XREADGROUP", "GROUP", "g", "OK", "STREAMS", key, "0"])).toEqual([
      [
        key,
        [
          ["1-1", null],
          ["1-2", ["b", "2"]],
        ],
      ],
    ]);
    expect(await redis.send(["XAUTOCLAIM", key, "g", "d", 0, "0-0", "JUSTID"])).toEqual(["0-0", ["1-2"], ["1-1"]]);
  });

  test("XINFO STREAM FULL has entries, groups, consumers and pending entries in their places", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    await redis.send(["XADD", key, "1-1", "a", "OK"]);
    await redis.send(["XGROUP", "CREATE", key, "g", "0"]);
    await redis.send(["XREADGROUP", "GROUP", "g", "c", "STREAMS", key, ">"]);
    const info = asRecord(await redis.send(["XINFO", "STREAM", key, "FULL"]));
    expect(info).toMatchObject({ length: 1, "last-generated-id": "1-1", entries: [["1-1", ["a", "OK"]]] });
    const [group] = asArray(info.groups);
    expect(asRecord(group)).toMatchObject({
      name: "g",
      "pel-count": 1,
      pending: [["1-1", "c", expect.any(Number), 1]],
    });
    const [consumer] = asArray(asRecord(group).consumers);
    expect(asRecord(consumer)).toMatchObject({ name: "c", pending: [["1-1", expect.any(Number), 1]] });
  });

  test("status replies are text, whether or not the endpoint encodes them", async () => {
    const redis = openRedis(transport);
    const key = uniquePrefix();
    await redis.send(["XADD", key, "1-1", "a", "1"]);
    expect(await redis.send(["PING"])).toBe("PONG");
    expect(await redis.send(["TYPE", key])).toBe("stream");
    expect(await redis.send(["TYPE", `${key}none`])).toBe("none");
    expect(await redis.send(["EVAL", "return redis.status_reply('FINE')", 0])).toBe("FINE");
    const mixed = "return { redis.status_reply('OK'), 'OK', redis.status_reply('abcd'), { redis.status_reply('OK') } }";
    expect(await redis.send(["EVAL", mixed, 0])).toEqual(["OK", "OK", "abcd", ["OK"]]);
  });
});

function asArray(reply: Reply | undefined): readonly Reply[] {
  if (Array.isArray(reply)) return reply;
  throw new Error("not an array");
}

function asRecord(reply: Reply | undefined): Record<string, Reply> {
  const flat = asArray(reply);
  return Object.fromEntries(flat.flatMap((name, i) => (i % 2 === 0 ? [[String(name), flat[i + 1] ?? null]] : [])));
}
