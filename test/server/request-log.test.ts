// One line a request, on Node and in workerd: what is in it, and what never is in anything that is logged or answered.
import { createHmac } from "node:crypto";
import { afterEach, beforeEach, describe, expect, inject, onTestFinished, test, vi } from "vitest";
import { createTestHarness } from "wrangler";
import { startServer } from "../../functions/server/server.ts";
import { ownRedis } from "../support/own-redis.ts";
import { nativeClient, uniquePrefix } from "../support/redis.ts";
import { eventually } from "../support/wait.ts";

const ROOT_TOKEN = "s3cr3t-root-token";
const TOKEN_SECRET = "s3cr3t-that-signs-tokens-with-32-characters";
const SETTINGS = { ROOT_TOKEN, TOKEN_SECRET, TOKEN_SECRET_PREVIOUS: `${TOKEN_SECRET}-before` };

interface Served {
  readonly url: string;
  /** Everything that it has written so far. */
  logs(): readonly string[];
}

type Start = (settings?: Record<string, string>) => Promise<Served>;

let printed: string[] = [];

beforeEach(() => {
  printed = [];
  const print = (line: unknown) => void printed.push(String(line));
  vi.spyOn(console, "log").mockImplementation(print);
  vi.spyOn(console, "error").mockImplementation(print);
});

afterEach(() => void vi.restoreAllMocks());

const HOSTS: Record<string, Start> = {
  async Node(settings = {}) {
    const env = { ...SETTINGS, KEY_PREFIX: uniquePrefix(), REDIS_URL: inject("redisUrl"), ...settings };
    const server = await startServer(env, { host: "127.0.0.1", port: 0, reaperIntervalMs: 3_600_000 });
    onTestFinished(() => server.stop());
    return { url: server.url, logs: () => printed };
  },
  async workerd(settings = {}) {
    const vars = { ...SETTINGS, KEY_PREFIX: uniquePrefix(), REDIS_URL: inject("redisUrl"), ...settings };
    const harness = createTestHarness({ workers: [{ configPath: "wrangler.toml", vars }] });
    onTestFinished(() => harness.close());
    const { url } = await harness.listen();
    return { url: url.origin, logs: () => harness.getLogs().map(({ message }) => message) };
  },
};

interface Line {
  readonly message: string;
  readonly requestId?: string;
  readonly [name: string]: unknown;
}

function linesOf({ logs }: Served): Line[] {
  return logs().flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : []));
}

/** The line of a request, which workerd may tell a moment after the answer. */
async function lineOf(served: Served, requestId: string | null): Promise<Line> {
  return eventually(`the line of ${requestId}`, () =>
    linesOf(served).find((line) => line.message === "request" && line.requestId === requestId),
  );
}

function send({ url }: Served, method: string, path: string, init: RequestInit = {}): Promise<Response> {
  const headers = { authorization: `Bearer ${ROOT_TOKEN}`, "content-type": "application/json", ...init.headers };
  return fetch(url + path, { ...init, method, headers });
}

/** All that lies in Redis there, as text. */
async function storedUnder(prefix: string): Promise<string> {
  const native = nativeClient();
  const keys = await native.keys(`${prefix}*`);
  const values = keys.map(async (key) => {
    switch (await native.type(key)) {
      case "stream":
        return native.xrange(key, "-", "+");
      case "hash":
        return native.hgetall(key);
      case "zset":
        return native.zrange(key, "0", "-1");
      default:
        return (await native.getBuffer(key))?.toString("latin1");
    }
  });
  return JSON.stringify([keys, await Promise.all(values)]);
}

describe.each(Object.entries(HOSTS))("on %s", (_, start) => {
  test("each request has a line with what became of it", async () => {
    const served = await start();
    const expected = {
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      level: "info",
      message: "request",
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      durationMs: expect.any(Number),
    };
    const put = await send(served, "PUT", "/v1/streams/orders");
    const made = await lineOf(served, put.headers.get("x-request-id"));
    expect(made).toEqual({
      ...expected,
      method: "PUT",
      route: "/v1/streams/{stream}",
      status: 201,
      redisCommands: expect.any(Number),
      redisRoundTrips: expect.any(Number),
      token: "root",
      stream: "orders",
    });
    const timing = put.headers.get("server-timing");
    expect(timing).toContain(`${made.redisCommands} commands`);
    const issued = await send(served, "POST", "/v1/tokens", {
      body: JSON.stringify({ subject: "shop", scope: ["read:orders"], expiresInMs: 60_000 }),
    });
    const { token, id }: { token: string; id: string } = JSON.parse(await issued.text());
    const path = "/v1/streams/orders/groups/ma%3Ail/consume?x=1";
    const refused = await send(served, "POST", path, { headers: { authorization: `Bearer ${token}` } });
    expect(await lineOf(served, refused.headers.get("x-request-id"))).toEqual({
      ...expected,
      method: "POST",
      route: "/v1/streams/{stream}/groups/{group}/consume",
      status: 403,
      code: "forbidden",
      redisCommands: 1,
      redisRoundTrips: 1,
      token: id,
      stream: "orders",
      group: "ma:il",
    });
    const stranger = await send(served, "GET", "/v1/streams/orders", { headers: { authorization: "" } });
    const unknown = await lineOf(served, stranger.headers.get("x-request-id"));
    expect(unknown).toMatchObject({
      route: "/v1/streams/{stream}",
      status: 401,
      code: "unauthenticated",
      redisCommands: 0,
    });
    expect(unknown).not.toHaveProperty("token");
    const lost = await send(served, "GET", "/v1/nowhere/at/all");
    expect(await lineOf(served, lost.headers.get("x-request-id"))).toMatchObject({ route: null, code: "not-found" });
  });

  test("what asks all the time, and the pages, have none; REQUEST_LOG=off switches it off for all", async () => {
    const served = await start();
    for (const path of ["/healthz", "/readyz", "/", "/docs", "/openapi.json"]) {
      const { status, headers } = await send(served, "GET", path);
      expect([path, status, headers.get("x-request-id")]).toEqual([
        path,
        200,
        expect.stringMatching(/^[0-9a-f-]{36}$/),
      ]);
    }
    await lineOf(served, (await send(served, "GET", "/v1/streams")).headers.get("x-request-id"));
    expect(linesOf(served).filter(({ message }) => message === "request")).toHaveLength(1);
    const quiet = await start({ REQUEST_LOG: "off" });
    const before = linesOf(quiet).length;
    expect((await send(quiet, "GET", "/v1/streams")).headers.has("x-request-id")).toBe(true);
    expect(linesOf(quiet)).toHaveLength(before);
  });

  test("an id that a client gives is taken over where it is sane, and replaced where not", async () => {
    const served = await start();
    for (const id of ["a", "Order-4711_x.y", "9".repeat(128)]) {
      const { headers } = await send(served, "GET", "/v1/streams", { headers: { "x-request-id": id } });
      expect(headers.get("x-request-id")).toBe(id);
      expect(await lineOf(served, id)).toMatchObject({ status: 200 });
    }
    for (const id of ["", "9".repeat(129), "a b", 'a"b', "a,b", "a/b", "<b>", "\u00e9"]) {
      const { headers } = await send(served, "GET", "/v1/streams", { headers: { "x-request-id": id } });
      expect(headers.get("x-request-id"), id).toMatch(/^[0-9a-f]{8}-[0-9a-f-]{27}$/);
    }
  });

  test("no secret and no payload is in any line or answer that did not have to have it", async () => {
    const served = await start();
    const texts: string[] = [];
    const ask = async (method: string, path: string, init: RequestInit = {}) => {
      const response = await send(served, method, path, init);
      const text = await response.text();
      // What was stored is answered, and a new token too.
      if (response.status >= 400) texts.push(text, ...[...response.headers].flat());
      return text;
    };
    const payload = JSON.stringify({ messages: [{ data: "p4yl0ad", attributes: { a: "p4yl0ad" }, key: "p4yl0ad" }] });
    await ask("PUT", "/v1/streams/orders");
    await ask("PUT", "/v1/streams/orders/groups/mail", { body: '{"start":"earliest"}' });
    const issue = { subject: "shop", scope: ["consume:orders/*"], expiresInMs: 60_000 };
    const { token } = JSON.parse(await ask("POST", "/v1/tokens", { body: JSON.stringify(issue) }));
    const [, , signature] = token.split(".");
    const headers = {
      "idempotency-key": "s3cr3t-idempotency-key",
      cookie: "s3cr3t-cookie",
      "user-agent": "s3cr3t-agent",
    };
    const produce = "/v1/streams/orders/messages";
    await ask("POST", produce, { body: payload, headers });
    await ask("POST", produce, { body: payload.replace('"key"', '"nope"'), headers });
    await ask("POST", `${produce}?s3cr3t-query=s3cr3t-query`, { body: payload, headers });
    await ask("POST", produce, { body: `${payload}p4yl0ad`, headers });
    await ask("POST", produce, { body: payload.replace("}]}", "},{}]}"), headers });
    await ask("POST", produce, { body: payload, headers: { ...headers, authorization: `Bearer ${token}` } });
    for (const authorization of [`Bearer ${ROOT_TOKEN}x`, `Basic ${ROOT_TOKEN}`, `Bearer ${token}x`, "s3cr3t-header"]) {
      await ask("GET", "/v1/streams?s3cr3t-query=1", { headers: { ...headers, authorization } });
    }
    const consume = "/v1/streams/orders/groups/mail/consume";
    const consumed = JSON.parse(await ask("POST", consume, { body: '{"consumer":"s3cr3t-consumer"}' }));
    const [{ lease }] = consumed.messages;
    await ask("POST", consume.replace("consume", "settle"), {
      body: JSON.stringify({ rejects: [{ lease, reason: "s3cr3t-reason" }] }),
    });
    await ask("GET", "/v1/streams/s3cr3t name/messages");
    await ask("GET", "/v1/streams/%ff/messages");
    await ask("POST", "/v1/tokens/revoke", { body: '{"id":"s3cr3t-id"}' });
    await ask("DELETE", "/v1/streams/orders/groups/mail/consumers/s3cr3t-consumer?handoverTo=s3cr3t-consumer-2");
    const last = await send(served, "GET", "/v1/streams");
    await lineOf(served, last.headers.get("x-request-id"));
    const logged = served.logs().join("\n");
    expect(logged.match(/"message":"request"/g)?.length).toBeGreaterThan(15);
    const forbidden = new RegExp(`s3cr3t|p4yl0ad|${signature}|127\\.0\\.0\\.1:\\d+/v1`);
    expect(logged).not.toMatch(forbidden);
    // A problem may quote names and members that were asked for, in the caller's own words.
    expect(texts.join("\n").replaceAll(/s3cr3t[- ](consumer|query|id|name)/g, "")).not.toMatch(forbidden);
  });

  test("nor is anything of a webhook, verified or not, in Redis what nobody signed, nor anywhere a secret", async () => {
    const KEY_PREFIX = uniquePrefix();
    const secret = "s3cr3t-of-github";
    const served = await start({
      KEY_PREFIX,
      WEBHOOK_SECRET_HUB: secret,
      WEBHOOK_SECRET_HUB_PREVIOUS: "s3cr3t-of-before",
      WEBHOOK_SECRET_LAB: "s3cr3t-of-gitlab",
      WEBHOOK_SECRET_PLAIN: "s3cr3t-that-is-no-key",
    });
    const answers: string[] = [];
    const post = async (source: string, body: string, headers: Record<string, string> = {}, query = "") => {
      const init = { method: "POST", headers: { "content-type": "application/json", ...headers }, body };
      const response = await fetch(`${served.url}/hooks/${source}${query}`, init);
      answers.push(await response.text(), ...[...response.headers].flat());
      return response;
    };
    await send(served, "PUT", "/v1/streams/orders");
    for (const [source, provider] of Object.entries({ hub: "github", lab: "gitlab", plain: "discord" })) {
      const made = await send(served, "PUT", `/v1/webhooks/${source}`, {
        body: JSON.stringify({ stream: "orders", provider }),
      });
      expect(made.status).toBe(201);
      answers.push(await made.text());
    }
    const body = '{"p4yl0ad":"p4yl0ad"}';
    const unsigned = {
      "x-hub-signature-256": "sha256=5163726574",
      "x-github-event": "unv3rified",
      "x-github-delivery": "unv3rified",
      "x-request-id": "unv3rified",
      authorization: "Bearer s3cr3t-header",
    };
    expect((await post("hub", '{"unv3rified":1}', unsigned, "?unv3rified=unv3rified")).status).toBe(401);
    expect((await post("lab", '{"unv3rified":1}', { "x-gitlab-token": "unv3rified" })).status).toBe(401);
    expect((await post("plain", body)).status).toBe(500);
    expect((await post("nobody-unv3rified", body)).status).toBe(404);
    const signature = createHmac("sha256", secret).update(body).digest("hex");
    const signed = { "x-hub-signature-256": `sha256=${signature}`, "x-github-event": "push", "x-github-delivery": "1" };
    expect((await post("hub", body, signed)).status).toBe(200);
    const lab = { "x-gitlab-token": "s3cr3t-of-gitlab", "x-gitlab-event": "Push Hook" };
    const last = await post("lab", body, lab);
    expect(last.status).toBe(200);
    answers.push(await (await send(served, "GET", "/v1/webhooks")).text());
    expect(await lineOf(served, last.headers.get("x-request-id"))).toMatchObject({ source: "lab", status: 200 });
    const logged = served.logs().join("\n");
    expect(logged).not.toMatch(/s3cr3t|p4yl0ad|unv3rified/);
    expect(answers.join("\n")).not.toMatch(/s3cr3t|p4yl0ad|\bunv3rified/);
    const stored = await storedUnder(KEY_PREFIX);
    expect(stored).toContain("Push Hook");
    expect(stored).not.toMatch(/s3cr3t|unv3rified/);
  });

  test("a fault's line has the id of its request", async () => {
    const { redis } = await ownRedis();
    const served = await start({ REDIS_URL: redis.url, REDIS_TIMEOUT_MS: "500" });
    await redis.stop();
    const failed = await send(served, "GET", "/v1/streams", { headers: { "x-request-id": "find-me" } });
    expect(failed.status).toBe(503);
    expect(await lineOf(served, "find-me")).toMatchObject({
      status: 503,
      code: "redis-unavailable",
      redisRoundTrips: 1,
    });
    const [fault] = linesOf(served).filter(({ level }) => level === "error");
    expect(fault).toMatchObject({ requestId: "find-me", code: "redis-unavailable" });
  });
});
