import { describe, expect, test } from "vitest";
import { parseStartSettings } from "../../local/start-settings.ts";
import { SETTINGS } from "../../shared/config.ts";

/** A valid value for each of Weir's own settings. */
const VALUES: Record<string, string> = {
  ROOT_TOKEN: "let-me-in",
  TOKEN_SECRET: "a secret of the tests, long enough",
  TOKEN_SECRET_PREVIOUS: "a secret of the tests, which was before",
  REDIS_URL: "redis://127.0.0.1:6379",
  KEY_PREFIX: "own:",
  ALERT_WEBHOOK_URL: "https://example.com/hook",
  CORS_ORIGINS: "https://app.example.com",
  RATE_LIMIT_POLICY: "100;w=60",
  ALERT_WEBHOOK_SECRET: `whsec_${"A".repeat(32)}`,
  PUBLIC_URL: "https://events.example.com",
};

function parsed(env: NodeJS.ProcessEnv) {
  const settings = parseStartSettings(env);
  if ("faults" in settings) throw new Error(settings.faults.join("\n"));
  return settings;
}

describe("the settings of npm start", () => {
  test("have defaults", () => {
    expect(parsed({ PORT: "" })).toMatchObject({
      port: 8787,
      rootToken: "weir-local",
      reaperIntervalMs: 60_000,
      transport: "rest",
      vars: {},
      ignored: [],
    });
  });

  test("hand every setting of the table to the Worker that is set, but where Redis is", () => {
    const hosted = ["UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"];
    const env = Object.fromEntries(
      Object.entries(SETTINGS).map(([name, { default: fallback }]) => [name, VALUES[name] ?? fallback]),
    );
    const { vars, redisUrl, rootToken, ignored } = parsed({ ...env, PATH: "/bin" });
    const own = Object.keys(SETTINGS).filter((name) => ![...hosted, "REDIS_URL", "ROOT_TOKEN"].includes(name));
    expect(Object.keys(vars).sort()).toEqual(own.sort());
    expect([redisUrl, rootToken]).toEqual([VALUES.REDIS_URL, VALUES.ROOT_TOKEN]);
    expect(ignored).toEqual(hosted);
  });

  test("hand the secrets of webhook sources to the Worker", () => {
    const secrets = { WEBHOOK_SECRET_GITHUB: "a", WEBHOOK_SECRET_GITHUB_PREVIOUS: "b", WEBHOOK_VERIFY_TOKEN_META: "c" };
    expect(parsed({ ...secrets, WEBHOOK_SECRET: "d", WEBHOOK_SECRET_EMPTY: "" }).vars).toEqual(secrets);
  });

  test("are refused all at once, and no secret is shown", () => {
    const env = { PORT: "99999", WEIR_TRANSPORT: "pigeon", REDIS_URL: "hunter2", TOKEN_SECRET: "short" };
    const settings = parseStartSettings(env);
    const text = "faults" in settings ? settings.faults.join("\n") : "";
    for (const name of Object.keys(env)) expect(text).toContain(name);
    expect(text).not.toMatch(/hunter2|short/);
  });
});
