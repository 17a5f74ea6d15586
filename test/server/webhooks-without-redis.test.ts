// What providers are told while Redis is full, away or slow, and that nothing of what they send again is lost or doubled.
import { createHmac } from "node:crypto";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { appOn } from "../support/app.ts";
import { ownRedis } from "../support/own-redis.ts";

const SECRET = "a secret of the tests";

beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

async function start() {
  const own = await ownRedis();
  const connection = new TcpConnection({ url: own.redis.url, timeoutMs: 1_000 });
  onTestFinished(() => connection.close());
  const app = appOn(() => connection, { WEBHOOK_SECRET_HUB: SECRET });
  await app.call("PUT", "/v1/streams/orders");
  expect((await app.call("PUT", "/v1/webhooks/hub", { stream: "orders", provider: "github" })).status).toBe(201);
  const post = (delivery: string) => {
    const body = `{"delivery":"${delivery}"}`;
    return app.call("POST", "/hooks/hub", body, {
      authorization: "",
      "x-github-event": "push",
      "x-github-delivery": delivery,
      "x-hub-signature-256": `sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`,
    });
  };
  expect((await post("first")).status).toBe(200);
  return { own, app, post };
}

test("a full Redis is told by 503 with Retry-After, and what is sent again is taken once", async () => {
  const { own, app, post } = await start();
  await own.native.config("SET", "maxmemory", "1");
  const refused = await post("second");
  expect(refused).toMatchObject({ status: 503, json: { code: "redis-unavailable" } });
  expect(refused.headers.get("retry-after")).toBe("30");
  // What was there before is known as such all the same.
  expect((await post("first")).status).toBe(200);
  await own.native.config("SET", "maxmemory", "0");
  for (let i = 0; i < 3; i++) expect((await post("second")).status).toBe(200);
  expect((await app.call("GET", "/v1/streams/orders")).json).toMatchObject({ length: 2 });
});

test("a Redis that is away is told by 503 with Retry-After, and handshakes go on", async () => {
  const { own, app, post } = await start();
  await app.call("PUT", "/v1/webhooks/graph", { stream: "orders", provider: "microsoft-graph" });
  const ask = () => app.call("POST", "/hooks/graph?validationToken=abc", undefined, { authorization: "" });
  expect(await ask()).toMatchObject({ status: 200, text: "abc" });
  await own.redis.stop();
  const refused = await post("second");
  expect(refused.status).toBe(503);
  expect(["redis-unavailable", "outcome-unknown"]).toContain(refused.json.code);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
  const greeted = await ask();
  expect(greeted).toMatchObject({ status: 200, text: "abc" });
  expect(greeted.headers.has("server-timing")).toBe(false);
});

test("an answer that got lost leaves nothing in doubt: the same delivery, sent again, is there once", async () => {
  const { own, app, post } = await start();
  // Redis does all of it, and answers too late.
  await own.native.call("CLIENT", "PAUSE", "1500", "ALL");
  const lost = await post("second");
  expect(lost).toMatchObject({ status: 503, json: { code: "outcome-unknown" } });
  await vi.waitFor(async () => expect((await post("second")).status).toBe(200), { timeout: 10_000, interval: 200 });
  expect((await app.call("GET", "/v1/streams/orders")).json).toMatchObject({ length: 2 });
});
