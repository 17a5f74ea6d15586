import { describe, expect, test } from "vitest";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { failure } from "../support/failure.ts";
import { type OwnRedis, ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, type TransportName } from "../support/redis.ts";
import { leasesOf, poll, produceNumbers, settleSome, type TestStream } from "../support/streams.ts";

/** What a request settled is settled, and told, also where the rest of the request fails. */

const NOTHING = { acked: 0, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };

interface Polled extends TestStream {
  readonly own: OwnRedis;
  readonly leases: readonly string[];
  /** Knows the group, so that a poll with a state is a fast one. */
  readonly cache: SettingsCache;
  readonly pollState: string;
}

/** Ten messages, three of them in the hands of the consumer "c". */
async function polled(transport: TransportName, count = 10): Promise<Polled> {
  const own = await ownRedis();
  const stream = { ...openStream(own.open(transport), "weir:", "s"), prefix: "weir:" };
  await configureStream(stream, { maxMessageBytes: 1_024 }, 0);
  await configureGroup(stream, "g", { kind: "first" }, {});
  await produceNumbers(stream, count);
  const cache = new SettingsCache();
  const { messages, pollState } = await poll(stream, "g", { batchSize: 3 }, cache);
  return { ...stream, own, leases: leasesOf(messages), cache, pollState };
}

/** The same stream, as a user of Redis who may not do all. */
async function asUser(polled: Polled, transport: TransportName, rights: readonly string[]): Promise<Polled> {
  await polled.own.native.call("ACL", "SETUSER", "weir", "on", ">pw", "~*", "+@all", ...rights);
  return { ...polled, redis: await polled.own.openAs(transport, "weir:pw") };
}

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  test("a fast poll that may not read", async () => {
    const { leases, pollState, cache, ...stream } = await asUser(await polled(transport), transport, ["-xreadgroup"]);
    const error = await failure(poll(stream, "g", { acks: leases, pollState }, cache));
    expect(error).toMatchObject({ code: "redis-unavailable", options: { settled: { ...NOTHING, acked: 3 } } });
    expect(error.message).toContain("`settled` says what was settled all the same");
    expect((await stream.own.native.xpending(stream.keys.stream, "g"))[0]).toBe(0);
  });

  test("a reclaim poll that may not claim: what became of it is unknown, of the acknowledgements not", async () => {
    const { leases, cache, ...stream } = await asUser(await polled(transport), transport, ["-hmget"]);
    const error = await failure(poll(stream, "g", { acks: leases, recover: true }, cache));
    expect(error).toMatchObject({ code: "outcome-unknown", options: { settled: { ...NOTHING, acked: 3 } } });
    expect((await stream.own.native.xpending(stream.keys.stream, "g"))[0]).toBe(0);
  });

  test("a settle whose retries and extensions are refused in the middle", async () => {
    const { leases, ...stream } = await asUser(await polled(transport), transport, ["-xclaim"]);
    const [acked = "", extended = ""] = leases;
    const error = await failure(settleSome(stream, "g", { acks: [acked], extends: [extended] }));
    expect(error).toMatchObject({ code: "outcome-unknown", options: { settled: { ...NOTHING, acked: 1 } } });
    expect((await stream.own.native.xpending(stream.keys.stream, "g"))[0]).toBe(2);
  });

  test("a poll whose rejects conflict says what it acknowledged, and hands out nothing beside", async () => {
    const { leases, pollState, cache, ...stream } = await polled(transport);
    await stream.own.native.set(stream.keys.dead("g"), "text");
    const [acked = "", rejected = ""] = leases;
    const request = { acks: [acked], rejects: [{ lease: rejected }], pollState };
    const error = await failure(poll(stream, "g", request, cache));
    expect(error).toMatchObject({ code: "conflict", options: { settled: { ...NOTHING, acked: 1 } } });
    // Of the three that it had: what was rejected, and the other one.
    expect((await stream.own.native.xpending(stream.keys.stream, "g"))[0]).toBe(2);
  });

  test("a poll that a full Redis refuses", async () => {
    const { leases, cache, ...stream } = await polled(transport);
    // Without the clock and without TIME a poll has to write before it can look.
    await stream.own.native.del(stream.keys.clock);
    const limited = await asUser({ ...stream, leases, cache }, transport, ["-time"]);
    await stream.own.native.config("SET", "maxmemory", "1");
    const error = await failure(poll(limited, "g", { acks: leases, recover: true }, cache));
    expect(error).toMatchObject({ code: "redis-full", options: { settled: { ...NOTHING, acked: 3 } } });
    expect(error.message).not.toContain("nothing was written");
  });
});

describe("where a consumer may hold 1,000", () => {
  test.each(["fast", "reclaim"])("a %s poll beyond it says what it settled", async (kind) => {
    const { leases, pollState, cache, ...stream } = await polled("rest", 1_000);
    await produceNumbers(stream, 1_000);
    await stream.own.native.xreadgroup("GROUP", "g", "c", "COUNT", 997, "STREAMS", stream.keys.stream, ">");
    const [acked = ""] = leases;
    const request = { acks: [acked], batchSize: 100, ...(kind === "fast" ? { pollState } : {}) };
    const error = await failure(poll(stream, "g", request, kind === "fast" ? cache : new SettingsCache()));
    expect(error).toMatchObject({
      code: "too-many-pending",
      options: { retryAfterS: 1, settled: { ...NOTHING, acked: 1 } },
    });
    expect((await stream.own.native.xpending(stream.keys.stream, "g"))[0]).toBe(999);
  });
});
