import { describe, expect, test } from "vitest";
import { parseConfig, SETTINGS, type Settings } from "../../shared/config.ts";
import { WeirError } from "../../shared/errors.ts";

const GOOD = {
  ROOT_TOKEN: "root-secret",
  UPSTASH_REDIS_REST_URL: "https://redis.invalid",
  UPSTASH_REDIS_REST_TOKEN: "rest-secret",
} as const;

/** The words of the refusal; fails when there is none. */
function refusal(env: Settings): string {
  try {
    parseConfig(env);
  } catch (error) {
    if (error instanceof WeirError && error.code === "misconfigured") return error.message;
    throw error;
  }
  throw new Error("the configuration was accepted");
}

describe("a deployment's settings", () => {
  test("have defaults for all but the secrets and the Redis", () => {
    expect(parseConfig(GOOD)).toEqual({
      redis: { kind: "upstash", url: GOOD.UPSTASH_REDIS_REST_URL, token: GOOD.UPSTASH_REDIS_REST_TOKEN },
      rootToken: "root-secret",
      keyPrefix: "weir:",
      redisTimeoutMs: 10_000,
      consumerIdleMs: 86_400_000,
    });
  });

  test("prefer REST over TCP", () => {
    expect(parseConfig({ ...GOOD, REDIS_URL: "redis://127.0.0.1" }).redis.kind).toBe("upstash");
    const { ROOT_TOKEN } = GOOD;
    expect(parseConfig({ ROOT_TOKEN, REDIS_URL: "rediss://a:b@127.0.0.1:1" }).redis).toEqual({
      kind: "tcp",
      url: "rediss://a:b@127.0.0.1:1",
    });
    expect(parseConfig({ ROOT_TOKEN, UPSTASH_REDIS_REST_URL: "", REDIS_URL: "redis://127.0.0.1" }).redis.kind).toBe(
      "tcp",
    );
  });

  test("name every fault at once", () => {
    const message = refusal({
      UPSTASH_REDIS_REST_URL: "redis.invalid",
      KEY_PREFIX: "{x}",
      REDIS_TIMEOUT_MS: "soon",
      CONSUMER_IDLE_MS: "0",
      TOKEN_SECRET: "short",
    });
    for (const name of Object.keys(SETTINGS).filter((name) => name !== "REDIS_URL")) expect(message).toContain(name);
  });

  test("that are missing altogether say what to set", () => {
    expect(refusal({})).toMatch(/UPSTASH_REDIS_REST_URL.*REDIS_URL.*ROOT_TOKEN/);
  });

  test("never have a value in a message", () => {
    const secrets = ["s3cr3t-1", "s3cr3t-2", "s3cr3t-3", "s3cr3t-4", "s3cr3t-5", "s3cr3t-6"] as const;
    const messages = [
      refusal({
        ROOT_TOKEN: `${secrets[0]} with spaces`,
        UPSTASH_REDIS_REST_URL: secrets[1],
        UPSTASH_REDIS_REST_TOKEN: secrets[2],
        KEY_PREFIX: `{${secrets[3]}`,
        REDIS_TIMEOUT_MS: secrets[4],
        CONSUMER_IDLE_MS: secrets[5],
      }),
      refusal({ ROOT_TOKEN: secrets[0], REDIS_URL: `http://user:${secrets[1]}@127.0.0.1` }),
    ].join();
    for (const secret of secrets) expect(messages).not.toContain(secret);
  });

  test.each([
    "",
    "99",
    "60001",
    "1e3",
    "0x10",
    "-1",
    "1.5",
    " 1000",
    "1000 ",
    "Infinity",
    "NaN",
    "9".repeat(16),
    "10s",
  ])("refuse %j as the time a round trip may take", (REDIS_TIMEOUT_MS) =>
    expect(refusal({ ...GOOD, REDIS_TIMEOUT_MS })).toContain("REDIS_TIMEOUT_MS"),
  );

  test.each(["100", "60000"])("take %s, at the bound", (REDIS_TIMEOUT_MS) => {
    expect(parseConfig({ ...GOOD, REDIS_TIMEOUT_MS }).redisTimeoutMs).toBe(Number(REDIS_TIMEOUT_MS));
  });

  test.each(["{", "a b", "é", "a\n", "a".repeat(65), "*"])("refuse %j as the keys' prefix", (KEY_PREFIX) => {
    expect(refusal({ ...GOOD, KEY_PREFIX })).toContain("KEY_PREFIX");
  });

  test("take no prefix at all", () => {
    expect(parseConfig({ ...GOOD, KEY_PREFIX: "" }).keyPrefix).toBe("");
  });

  test.each(["root secret", "secret\n", " secret", "sécret", "\u0000", "\t"])(
    "refuse %j as root token: no Authorization header could carry it, so nobody would ever get in",
    (ROOT_TOKEN) => expect(refusal({ ...GOOD, ROOT_TOKEN })).toContain("ROOT_TOKEN"),
  );

  test.each(["http:/redis.invalid", "ftp://redis.invalid", "https://", "https://a b", "redis://127.0.0.1"])(
    "refuse %j as REST URL",
    (UPSTASH_REDIS_REST_URL) =>
      expect(refusal({ ...GOOD, UPSTASH_REDIS_REST_URL })).toContain("UPSTASH_REDIS_REST_URL"),
  );
});
