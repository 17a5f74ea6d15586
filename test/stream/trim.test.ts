import { expect, test } from "vitest";
import { configureGroup, type configureStream } from "../../shared/stream/manage.ts";
import { decodeTrimmed, trimCall, trimNow } from "../../shared/stream/retention.ts";
import { nativeClient } from "../support/redis.ts";
import { leasesOf, makeStream, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

const HOUR_MS = 3_600_000;

async function makeTrimmed(settings: Parameters<typeof configureStream>[1], groups: readonly string[]) {
  return makeStream(groups, { settings });
}

async function trimAt(stream: TestStream, nowMs: number) {
  const { trimmed, more } = decodeTrimmed(await stream.redis.send(trimCall(stream, ["g"], nowMs)));
  return { trimmed, more };
}

async function idsIn(stream: TestStream): Promise<string[]> {
  return (await nativeClient().xrange(stream.keys.stream, "-", "+")).map(([id]) => id);
}

/** Hands out `count` messages and acknowledges the first `acked` of them. */
async function work(stream: TestStream, group: string, count: number, acked: number): Promise<void> {
  const { messages } = await poll(stream, group, { batchSize: count });
  await settleSome(stream, group, { acks: leasesOf(messages.slice(0, acked)) });
}

test("a stream without limits is never trimmed", async () => {
  const stream = await makeTrimmed({}, []);
  await produceNumbers(stream, 10);
  expect(await trimAt(stream, Date.now() + 1000 * HOUR_MS)).toEqual({ trimmed: 0, more: false });
});

test("what is old and done with goes, to the very message", async () => {
  const stream = await makeTrimmed({ maxAgeMs: HOUR_MS }, ["g"]);
  await produceNumbers(stream, 250);
  await work(stream, "g", 250, 250);
  expect(await trimAt(stream, Date.now() + HOUR_MS - 60_000)).toEqual({ trimmed: 0, more: false });
  expect(await trimAt(stream, Date.now() + 2 * HOUR_MS)).toEqual({ trimmed: 250, more: false });
  expect(await idsIn(stream)).toEqual([]);
});

test("what a group has not been handed stays, however old", async () => {
  const stream = await makeTrimmed({ maxAgeMs: HOUR_MS, maxLength: 1 }, ["done", "behind"]);
  const ids = await produceNumbers(stream, 100);
  await work(stream, "done", 100, 100);
  await work(stream, "behind", 30, 30);
  expect(await trimAt(stream, Date.now() + 2 * HOUR_MS)).toEqual({ trimmed: 30, more: false });
  expect(await idsIn(stream)).toEqual(ids.slice(30));
});

test("what a group has pending stays, and all that comes after it", async () => {
  const stream = await makeTrimmed({ maxAgeMs: HOUR_MS, maxLength: 1 }, ["g"]);
  const ids = await produceNumbers(stream, 100);
  await work(stream, "g", 100, 40);
  expect(await trimAt(stream, Date.now() + 2 * HOUR_MS)).toEqual({ trimmed: 40, more: false });
  expect(await idsIn(stream)).toEqual(ids.slice(40));
});

test.each(["keep", "dead-letter", "drop"] as const)(
  "a coarse trim (%s) of a stream that nobody reads is no fault",
  async (unfinished) => {
    const stream = await makeTrimmed({ unfinished }, []);
    await produceNumbers(stream, 8);
    // Less than one of Redis' nodes: nothing of it need go.
    const { trimmed, keptFor } = await trimNow(stream, { maxLength: 5, exact: false }, Date.now());
    expect(trimmed).toBeLessThanOrEqual(3);
    expect(keptFor).toEqual([]);
    expect(await trimNow(stream, { maxLength: 5, exact: true }, Date.now())).toMatchObject({ trimmed: 3 - trimmed });
  },
);

test("a length limit keeps exactly that many of the newest", async () => {
  const stream = await makeTrimmed({ maxLength: 33 }, []);
  const ids = await produceNumbers(stream, 300);
  expect(await trimAt(stream, Date.now())).toEqual({ trimmed: 267, more: false });
  expect(await idsIn(stream)).toEqual(ids.slice(-33));
  expect(await trimAt(stream, Date.now())).toEqual({ trimmed: 0, more: false });
});

test("ids beyond 2^53 and an id at the end of its millisecond are compared exactly", async () => {
  const stream = await makeTrimmed({ maxLength: 1 }, []);
  const native = nativeClient();
  const ids = [
    "9007199254740992-0",
    "9007199254740993-0",
    "9007199254740993-18446744073709551615",
    "18446744073709551615-1",
  ];
  for (const id of ids) await native.xadd(stream.keys.stream, id, "data", "1");
  await configureGroup(stream, "g", { kind: "first" }, {});
  await native.call("XREADGROUP", "GROUP", "g", "c", "COUNT", 3, "STREAMS", stream.keys.stream, ">");
  await native.xack(stream.keys.stream, "g", ...ids.slice(0, 1));
  expect(await trimAt(stream, Date.now())).toEqual({ trimmed: 1, more: false });
  await native.xack(stream.keys.stream, "g", ...ids.slice(1, 3));
  await trimAt(stream, Date.now());
  expect(await idsIn(stream)).toContain(ids[3]);
});

test("200,000 entries are trimmed in bounded slices", async () => {
  const stream = await makeTrimmed({ maxLength: 100 }, []);
  const native = nativeClient();
  const fill = `for i = 1, 50000 do redis.call('XADD', KEYS[1], '*', 'data', i) end`;
  for (let i = 0; i < 4; i++) await native.eval(fill, 1, stream.keys.stream);
  const first = await trimAt(stream, Date.now());
  expect(first.more).toBe(true);
  expect(first.trimmed).toBeLessThanOrEqual(10_100);
  for (let i = 0; i < 30 && (await trimAt(stream, Date.now())).more; i++);
  expect(await native.xlen(stream.keys.stream)).toBe(100);
});
