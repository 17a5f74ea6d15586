import { describe, expect, test } from "vitest";
import { revokedTokensKey } from "../../shared/keys.ts";
import { Revocations } from "../../shared/revocations.ts";
import { failure } from "../support/failure.ts";
import { openAt, ownRedis } from "../support/own-redis.ts";
import { BOTH_TRANSPORTS, nativeClient, openRedis, type TransportName, uniquePrefix } from "../support/redis.ts";

const DAY_MS = 24 * 3_600_000;
const NOW = 1_800_000_000_000;
const LATER = NOW + 365 * DAY_MS;

/** A deployment's list of revoked tokens, on a clock that the test sets. */
function open(transport: TransportName = "tcp") {
  const clock = { nowMs: NOW };
  const prefix = uniquePrefix();
  const isolate = () => {
    const redis = openRedis(transport);
    const revocations = new Revocations(() => clock.nowMs);
    return {
      redis,
      has: (id: string) => revocations.has(redis, prefix, id),
      revoke: (id: string, endsAtMs = LATER) => revocations.revoke(redis, prefix, { id, endsAtMs }),
    };
  };
  return { clock, key: revokedTokensKey(prefix), isolate, native: nativeClient() };
}

describe.each(BOTH_TRANSPORTS)("a revoked token, over %s", (transport) => {
  test("is known at once where it was revoked, and within 10 seconds everywhere else", async () => {
    const { clock, isolate } = open(transport);
    const [here, there] = [isolate(), isolate()];
    expect([await here.has("a"), await there.has("a")]).toEqual([false, false]);
    await here.revoke("a");
    expect([await here.has("a"), await here.has("b"), await there.has("a")]).toEqual([true, false, false]);
    clock.nowMs += 9_999;
    expect(await there.has("a")).toBe(false);
    clock.nowMs += 1;
    expect([await there.has("a"), await there.has("b")]).toEqual([true, false]);
  });

  test("costs one command in 10 seconds, whoever is asked about", async () => {
    const { clock, isolate } = open(transport);
    const { redis, has } = isolate();
    for (let i = 0; i < 100; i++) await has(`token ${i}`);
    expect(redis.usage).toMatchObject({ commands: 1, roundTrips: 1 });
    clock.nowMs += 10_000;
    for (let i = 0; i < 100; i++) await has(`token ${i}`);
    expect(redis.usage).toMatchObject({ commands: 2, roundTrips: 2 });
  });
});

describe("the list", () => {
  test("keeps a token for a day longer than it lives, and forgets it with the next that is revoked", async () => {
    const { clock, isolate, key, native } = open();
    const { has, revoke } = isolate();
    await revoke("short", NOW + 1_000);
    clock.nowMs = NOW + 1_000 + DAY_MS - 1;
    await revoke("other");
    expect(await has("short")).toBe(true);
    clock.nowMs += 1;
    await revoke("third");
    expect(await native.zrange(key, "0", "-1")).toEqual(["other", "third"]);
    expect(await has("short")).toBe(false);
  });

  test("goes away by itself a day after the last token in it", async () => {
    const { isolate, key, native } = open();
    await isolate().revoke("a", NOW + 60_000);
    expect(await native.pttl(key)).toBeGreaterThan(DAY_MS + 30_000);
    expect(await native.pttl(key)).toBeLessThanOrEqual(DAY_MS + 60_000);
    await isolate().revoke("b", NOW + 5_000);
    expect(await native.pttl(key)).toBeGreaterThan(DAY_MS + 30_000);
    await isolate().revoke("over", NOW - 2 * DAY_MS);
    expect(await native.zrange(key, "0", "-1")).toEqual(["b", "a"]);
  });

  test("is not left behind by a token that is over already", async () => {
    const { isolate, key, native } = open();
    await isolate().revoke("over", 0);
    expect(await native.exists(key)).toBe(0);
  });

  test("keeps the latest end that anybody named: revoking again is safe", async () => {
    const { isolate, key, native } = open();
    await isolate().revoke("a", LATER);
    await isolate().revoke("a", NOW);
    expect(await native.zscore(key, "a")).toBe(String(LATER));
    await isolate().revoke("a", LATER + 1);
    expect(await native.zscore(key, "a")).toBe(String(LATER + 1));
  });

  test("takes 10,000, refuses more, and still takes those that it has, and new ones once some are over", async () => {
    const { clock, isolate, key, native } = open();
    const { has, revoke } = isolate();
    const members = Array.from({ length: 10_000 }, (_, i) => [i < 5_000 ? NOW + 1 : LATER, `token ${i}`]);
    await native.zadd(key, ...members.flat());
    const refused = await failure(revoke("one more"));
    expect(refused).toMatchObject({ code: "conflict", message: expect.stringContaining("TOKEN_SECRET") });
    await revoke("token 9999", LATER + 1);
    expect([await has("token 0"), await has("token 9999"), await has("one more")]).toEqual([true, true, false]);
    clock.nowMs += 2 * DAY_MS;
    await revoke("one more");
    expect([await has("token 0"), await has("token 9999"), await has("one more")]).toEqual([false, true, true]);
    // What is over goes a thousand at a time.
    expect(await native.zcard(key)).toBe(9_001);
  });

  test("does not mind what scores another client has written", async () => {
    const { isolate, key, native } = open();
    await native.zadd(key, "+inf", "for ever", "-inf", "never", "1.5", "long ago");
    const { has, revoke } = isolate();
    await revoke("a");
    expect([await has("for ever"), await has("a"), await has("never")]).toEqual([true, true, false]);
    await revoke("for ever");
    expect(await has("for ever")).toBe(true);
    expect(await native.pttl(key)).toBeGreaterThan(0);
  });
});

describe("nobody is let in, and nobody told a thing, while the list", () => {
  test("is another type of key; revoking says so, and changes nothing", async () => {
    const { isolate, key, native } = open();
    await native.set(key, "x");
    const { has, revoke } = isolate();
    const { code, message, options } = await failure(has("a"));
    expect([code, message]).toEqual(["redis-unavailable", expect.stringContaining("revoked tokens")]);
    expect(options.retryAfterS).toBe(60);
    expect((await failure(revoke("a"))).code).toBe("conflict");
    expect(await native.get(key)).toBe("x");
    await native.del(key);
    expect(await has("a")).toBe(false);
  });

  test.each(BOTH_TRANSPORTS)("cannot be reached over %s, also where it was read before", async (transport) => {
    const own = await ownRedis();
    const clock = { nowMs: NOW };
    const redis = own.open(transport, 500);
    const revocations = new Revocations(() => clock.nowMs);
    expect(await revocations.has(redis, "weir:", "a")).toBe(false);
    await own.redis.stop();
    await own.upstash.close();
    expect(await revocations.has(redis, "weir:", "a")).toBe(false);
    clock.nowMs += 10_000;
    expect((await failure(revocations.has(redis, "weir:", "a"))).code).toBe("redis-unavailable");
  });
});

test("a full Redis takes no revocation and says so, and answers which there are", async () => {
  const own = await ownRedis();
  const redis = own.open("tcp");
  const revocations = new Revocations(() => NOW);
  await revocations.revoke(redis, "weir:", { id: "over soon", endsAtMs: NOW - 2 * DAY_MS + 1 });
  await revocations.revoke(redis, "weir:", { id: "a", endsAtMs: LATER });
  await own.native.config("SET", "maxmemory", "1");
  const { code } = await failure(revocations.revoke(redis, "weir:", { id: "b", endsAtMs: LATER }));
  expect(code).toBe("redis-full");
  expect(await revocations.has(redis, "weir:", "a")).toBe(true);
});

test("revoking works where scripts are not cached, and says when its outcome is in doubt", async () => {
  const { isolate, native } = open();
  await native.script("FLUSH");
  const { has, revoke } = isolate();
  await revoke("a");
  expect(await has("a")).toBe(true);
  const gone = openAt("rest", 1);
  const outcome = await failure(new Revocations(() => NOW).revoke(gone, "weir:", { id: "a", endsAtMs: LATER }));
  expect(["redis-unavailable", "outcome-unknown"]).toContain(outcome.code);
});
