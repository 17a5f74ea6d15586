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
      alerts: { reaperLateMs: 600_000 },
      webhookSecrets: new Map(),
      corsOrigins: [],
      requestLog: true,
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
      TOKEN_SECRET_PREVIOUS: "short too",
      ALERT_WEBHOOK_URL: "hook.invalid",
      ALERT_WEBHOOK_SECRET: "secret",
      REAPER_LATE_MS: "59999",
      PUBLIC_URL: "events.example.com",
      CORS_ORIGINS: "app.invalid",
      RATE_LIMIT_POLICY: "many",
      REQUEST_LOG: "maybe",
    });
    for (const name of Object.keys(SETTINGS).filter((name) => name !== "REDIS_URL")) expect(message).toContain(name);
  });

  test("hold the secrets of webhook sources, and nothing else that is called so by chance or empty", () => {
    const env = {
      ...GOOD,
      WEBHOOK_SECRET_GITHUB: "a",
      WEBHOOK_SECRET_GITHUB_PREVIOUS: "b",
      WEBHOOK_VERIFY_TOKEN_META: "c",
      WEBHOOK_SECRET_EMPTY: "",
      WEBHOOK_SECRET_: "d",
      MY_WEBHOOK_SECRET_X: "e",
    };
    expect([...parseConfig(env).webhookSecrets]).toEqual([
      ["WEBHOOK_SECRET_GITHUB", "a"],
      ["WEBHOOK_SECRET_GITHUB_PREVIOUS", "b"],
      ["WEBHOOK_VERIFY_TOKEN_META", "c"],
    ]);
  });

  test.each(["https://events.example.com", "https://events.example.com/", "http://127.0.0.1:8787/weir/"])(
    "take %s as the public URL, without a slash at its end",
    (PUBLIC_URL) => expect(parseConfig({ ...GOOD, PUBLIC_URL }).publicUrl).toBe(PUBLIC_URL.replace(/\/$/, "")),
  );

  test.each(["events.example.com", "ftp://a", "https://u:p@a", "https://a/?b", "https://a/#b", "https://"])(
    "refuse %j as the public URL",
    (PUBLIC_URL) => expect(refusal({ ...GOOD, PUBLIC_URL })).toContain("PUBLIC_URL"),
  );

  test("that are missing altogether say what to set", () => {
    expect(refusal({})).toMatch(/UPSTASH_REDIS_REST_URL.*REDIS_URL.*ROOT_TOKEN/);
  });

  test("never have a value in a message", () => {
    const secrets = ["s3cr3t-1", "s3cr3t-2", "s3cr3t-3", "s3cr3t-4", "s3cr3t-5", "s3cr3t-6", "s3cr3t-7"] as const;
    const messages = [
      refusal({
        ROOT_TOKEN: `${secrets[0]} with spaces`,
        UPSTASH_REDIS_REST_URL: secrets[1],
        UPSTASH_REDIS_REST_TOKEN: secrets[2],
        KEY_PREFIX: `{${secrets[3]}`,
        REDIS_TIMEOUT_MS: secrets[4],
        CONSUMER_IDLE_MS: secrets[5],
        ALERT_WEBHOOK_URL: secrets[6],
        ALERT_WEBHOOK_SECRET: secrets[6],
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

  const secretOf = (bytes: number) => `whsec_${Buffer.alloc(bytes, 7).toString("base64")}`;
  const url = "https://hook.invalid/alerts?key=1";

  test.each(["https://hunter2:p4ss@hook.invalid/", "https://hunter2@hook.invalid", "http://:p4ss@hook.invalid"])(
    "refuse credentials in a URL that fetch is to be given, as in %s, without quoting them",
    (withCredentials) => {
      const alerts = { ALERT_WEBHOOK_URL: withCredentials, ALERT_WEBHOOK_SECRET: secretOf(32) };
      const message = refusal({ ...GOOD, UPSTASH_REDIS_REST_URL: withCredentials, ...alerts });
      expect(message).toContain("ALERT_WEBHOOK_URL must hold no user and no password");
      expect(message).toContain("UPSTASH_REDIS_REST_URL must hold no user and no password");
      expect(message).not.toMatch(/hunter2|p4ss/);
    },
  );

  test.each([24, 25, 26, 32, 64])("take a webhook with a secret of %i bytes", (bytes) => {
    const env = { ...GOOD, ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: secretOf(bytes) };
    expect(parseConfig(env).alerts.webhook).toEqual({ url, secret: secretOf(bytes) });
  });

  test.each([
    secretOf(23),
    secretOf(65),
    secretOf(32).slice(6),
    "whsec_",
    "whsec_%%%",
    `${secretOf(32)}\n`,
    secretOf(32).slice(0, -1),
  ])("refuse %j as a webhook's secret", (ALERT_WEBHOOK_SECRET) => {
    const message = refusal({ ...GOOD, ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET });
    expect(message).toContain("ALERT_WEBHOOK_SECRET must be");
  });

  const TOKEN_SECRET = "a secret of the tests, long enough";

  test("take a token secret of before only beside one of now", () => {
    const both = parseConfig({ ...GOOD, TOKEN_SECRET, TOKEN_SECRET_PREVIOUS: `${TOKEN_SECRET}, before` });
    expect(both).toMatchObject({ tokenSecret: TOKEN_SECRET, previousTokenSecret: `${TOKEN_SECRET}, before` });
    const alone = refusal({ ...GOOD, TOKEN_SECRET_PREVIOUS: TOKEN_SECRET });
    expect(alone).toBe("TOKEN_SECRET is not set, though TOKEN_SECRET_PREVIOUS is");
    expect(parseConfig({ ...GOOD, TOKEN_SECRET, TOKEN_SECRET_PREVIOUS: "" }).previousTokenSecret).toBeUndefined();
  });

  test.each([
    ["*", ["*"]],
    ["https://app.example.com", ["https://app.example.com"]],
    ["https://a.example, http://localhost:3000", ["https://a.example", "http://localhost:3000"]],
    ["", []],
  ])("take %j as the origins of pages", (CORS_ORIGINS, expected) => {
    expect(parseConfig({ ...GOOD, CORS_ORIGINS }).corsOrigins).toEqual(expected);
  });

  test.each([
    "app.example.com",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://App.example.com",
    "https://app.example.com:443",
    "https://*.example.com",
    "https://a:b@app.example.com",
    "*,https://a.example",
    "https://a.example,",
    "null",
    "ftp://a.example",
  ])("refuse %j as the origins of pages", (CORS_ORIGINS) => {
    expect(refusal({ ...GOOD, CORS_ORIGINS })).toContain("CORS_ORIGINS");
  });

  test("take a rate limit's numbers, and refuse what is none", () => {
    expect(parseConfig({ ...GOOD, RATE_LIMIT_POLICY: "100;w=60" }).rateLimit).toEqual({ quota: 100, windowS: 60 });
    for (const RATE_LIMIT_POLICY of ["100", "0;w=60", "100;w=0", "100; w=60", "1e3;w=60", "100;w=60\n", "-1;w=1"]) {
      expect(refusal({ ...GOOD, RATE_LIMIT_POLICY })).toContain("RATE_LIMIT_POLICY");
    }
  });

  test("log requests unless they say off", () => {
    expect(["on", "off", ""].map((REQUEST_LOG) => parseConfig({ ...GOOD, REQUEST_LOG }).requestLog)).toEqual([
      true,
      false,
      true,
    ]);
    expect(refusal({ ...GOOD, REQUEST_LOG: "ON" })).toContain("REQUEST_LOG");
  });

  test("refuse a webhook without a secret, which nobody could verify", () => {
    expect(refusal({ ...GOOD, ALERT_WEBHOOK_URL: url })).toContain("ALERT_WEBHOOK_SECRET is not set");
    expect(parseConfig({ ...GOOD, ALERT_WEBHOOK_SECRET: secretOf(32) }).alerts).toEqual({ reaperLateMs: 600_000 });
  });
});
