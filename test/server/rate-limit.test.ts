// What a rate limit is asked, and that one which cannot be asked limits nobody. test/worker/rate-limit.test.ts has real ones.
import { Hono } from "hono";
import { sign } from "hono/jwt";
import { beforeEach, describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { createApp } from "../../functions/app.ts";
import type { AppEnv } from "../../functions/context.ts";
import { problemResponse } from "../../functions/http/problem.ts";
import { limitWebhooks } from "../../functions/http/rate-limit.ts";
import { startServer } from "../../functions/server/server.ts";
import { parseConfig } from "../../shared/config.ts";
import { TRANSPORTS, uniquePrefix } from "../support/redis.ts";
import { ROOT_TOKEN } from "../support/worker.ts";

const SETTINGS = {
  ROOT_TOKEN,
  TOKEN_SECRET: "a-secret-of-the-tests-with-32-characters",
  REDIS_URL: "redis://unused",
  REQUEST_LOG: "off",
};

/** A binding that keeps what it is asked, and answers so. */
function binding(answer: () => Promise<{ success: boolean }>) {
  const keys: string[] = [];
  return {
    keys,
    limit({ key }: { readonly key: string }) {
      keys.push(key);
      return answer();
    },
  };
}

const full = () => Promise.resolve({ success: false });
const room = () => Promise.resolve({ success: true });

let logged: string[] = [];

beforeEach(() => {
  logged = [];
  const spy = vi.spyOn(console, "error").mockImplementation((line: unknown) => void logged.push(String(line)));
  onTestFinished(() => spy.mockRestore());
});

function start(settings: Record<string, string> = {}) {
  const connection = TRANSPORTS.tcp();
  onTestFinished(() => connection.close());
  const config = parseConfig({ ...SETTINGS, KEY_PREFIX: uniquePrefix(), ...settings });
  const app = createApp({
    begin: () => ({ config, connection, end: async () => undefined }),
    runReaper: () => Promise.reject(new Error("no reaper is needed for this")),
  });
  return (env: object, path = "/v1/token", token = ROOT_TOKEN) =>
    app.request(path, { headers: { authorization: `Bearer ${token}` } }, env);
}

describe("a caller's requests", () => {
  test("are counted by the token's id, those of the root token together, and nobody's who is not let in", async () => {
    const ask = start();
    const RATE_LIMIT = binding(room);
    const claims = { sub: "shop", exp: 4_000_000_000, scope: ["read:orders"] };
    const tokens = [{ ...claims, jti: "root" }, claims].map((one) => sign(one, SETTINGS.TOKEN_SECRET));
    for (const token of tokens) expect((await ask({ RATE_LIMIT }, "/v1/token", await token)).status).toBe(200);
    expect((await ask({ RATE_LIMIT })).status).toBe(200);
    expect((await ask({ RATE_LIMIT }, "/metrics")).status).toBe(200);
    expect((await ask({ RATE_LIMIT }, "/v1/token", "nobody's")).status).toBe(401);
    for (const path of ["/healthz", "/readyz", "/docs"]) expect((await ask({ RATE_LIMIT }, path)).status).toBe(200);
    expect(RATE_LIMIT.keys).toEqual(["token root", "subject shop", "root", "root"]);
  });

  test("above the limit are told the numbers only where the settings have them", async () => {
    const numbers = async (settings: Record<string, string>) => {
      const { status, headers } = await start(settings)({ RATE_LIMIT: binding(full) });
      return [status, ...["retry-after", "ratelimit", "ratelimit-policy"].map((name) => headers.get(name))];
    };
    expect(await numbers({})).toEqual([429, "60", '"requests";r=0;t=60', null]);
    const policy = { RATE_LIMIT_POLICY: "20;w=10" };
    expect(await numbers(policy)).toEqual([429, "10", '"requests";r=0;t=10', '"requests";q=20;w=10']);
  });

  test.each([
    ["rejects", binding(() => Promise.reject(new Error("away")))],
    [
      "throws",
      binding(() => {
        throw new TypeError("away");
      }),
    ],
    ["is something else", { limits: 1 }],
  ])("pass when the limit %s, and the log has it", async (_, RATE_LIMIT) => {
    const answer = await start()({ RATE_LIMIT });
    expect(answer.status).toBe(200);
    expect(JSON.parse(logged[0] ?? "")).toMatchObject({
      level: "error",
      name: "RATE_LIMIT",
      requestId: answer.headers.get("x-request-id"),
    });
  });

  test("are not limited on Node, whatever is in its environment", async () => {
    const env = { ...SETTINGS, REDIS_URL: inject("redisUrl"), RATE_LIMIT: "1", WEBHOOK_RATE_LIMIT: "1" };
    const server = await startServer(env, { host: "127.0.0.1", port: 0, reaperIntervalMs: 3_600_000 });
    onTestFinished(() => server.stop());
    for (let i = 0; i < 3; i++) {
      const answer = await fetch(`${server.url}/v1/token`, { headers: { authorization: `Bearer ${ROOT_TOKEN}` } });
      expect(answer.status).toBe(200);
    }
    expect(logged).toEqual([]);
  });
});

test("webhooks are counted by their source, and told when to come again", async () => {
  const app = new Hono<AppEnv>();
  app.onError((error, c) => problemResponse(error, { path: c.req.path }));
  app.post("/hooks/:source", async (c) => {
    await limitWebhooks(c, c.req.param("source"));
    return c.text("taken");
  });
  const send = (env: object) => app.request("/hooks/github", { method: "POST" }, env);
  const WEBHOOK_RATE_LIMIT = binding(room);
  expect((await send({ WEBHOOK_RATE_LIMIT, RATE_LIMIT: binding(full) })).status).toBe(200);
  expect(WEBHOOK_RATE_LIMIT.keys).toEqual(["github"]);
  const refused = await send({ WEBHOOK_RATE_LIMIT: binding(full) });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "60"]);
  expect((await send({})).status).toBe(200);
});
