import { createHmac } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import type { WeirClient } from "../../client/client.ts";
import { AccessError, InvalidRequestError, NotFoundError, UnavailableError } from "../../client/errors.ts";
import { type Attempt, Http } from "../../client/http.ts";
import { clientOf, errorOf } from "../support/client.ts";
import { startWorker } from "../support/worker.ts";

const SECRET = "a secret of the tests with 32 characters";
const worker = startWorker({ vars: { TOKEN_SECRET: SECRET, WEBHOOK_SECRET_SHOP: SECRET } });
const bare = startWorker();
let weir: WeirClient;

beforeAll(() => {
  weir = clientOf(worker);
});

describe("access tokens", () => {
  test("are issued, permit what they say and no more, and are revoked", async () => {
    const { token, id, expiresAt } = await weir.issueToken({
      subject: "shop",
      scope: ["read:orders"],
      expiresInMs: 60_000,
    });
    const shop = clientOf(worker, { token });
    expect(await shop.token()).toEqual({ subject: "shop", scope: ["read:orders"], expiresAt });
    expect(await weir.token()).toEqual({ subject: null, scope: ["root"], expiresAt: null });
    const error = await errorOf(shop.stream("orders").put());
    expect(error).toBeInstanceOf(AccessError);
    expect(error).toMatchObject({ code: "forbidden", status: 403 });
    expect(await errorOf(shop.issueToken({ subject: "s", scope: ["read:*"], expiresInMs: 1_000 }))).toMatchObject({
      code: "forbidden",
    });
    expect(await weir.revokeToken({ id, expiresAt })).toBeUndefined();
    expect(await errorOf(weir.issueToken({ subject: "", scope: ["*"], expiresInMs: 0 }))).toMatchObject({
      errors: expect.arrayContaining([expect.objectContaining({ path: "expiresInMs" })]),
    });
  });

  test("that are wrong are refused, at once", async () => {
    const seen: Attempt[] = [];
    const error = await errorOf(clientOf(worker, { token: "wr0ng", onAttempt: (a) => seen.push(a) }).token());
    expect(error).toBeInstanceOf(AccessError);
    expect(error).toMatchObject({ code: "unauthenticated", status: 401 });
    expect(error.message).not.toContain("wr0ng");
    expect(seen).toHaveLength(1);
  });

  test("of a deployment that has none are told as not available, and not asked for again", async () => {
    const seen: Attempt[] = [];
    const client = clientOf(bare, { onAttempt: (attempt) => seen.push(attempt) });
    const error = await errorOf(client.issueToken({ subject: "s", scope: ["read:*"], expiresInMs: 1_000 }));
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ code: "not-available", status: 501 });
    expect(await errorOf(client.revokeToken({ id: "x" }))).toMatchObject({ code: "not-available" });
    expect(seen).toHaveLength(2);
  });
});

describe("webhook sources", () => {
  test("are made, changed, listed, verify what came, and are deleted", async () => {
    const stream = weir.stream("hooks");
    await stream.put();
    const shop = weir.webhook("shop");
    expect(await shop.put({ stream: "hooks", provider: "github" })).toMatchObject({ name: "shop", secretIs: "set" });
    expect(await shop.put({ typePrefix: "gh." })).toMatchObject({ typePrefix: "gh.", provider: "github" });
    expect(await shop.get()).toMatchObject({ name: "shop", stream: "hooks", lastReceivedAt: null });
    expect((await weir.webhooks({ limit: 1 }).toArray()).map(({ name }) => name)).toEqual(["shop"]);
    const body = '{"action":"opened"}';
    const headers = {
      "content-type": "application/json",
      "x-github-event": "issues",
      "x-github-delivery": "d-1",
      "x-hub-signature-256": `sha256=${createHmac("sha256", SECRET).update(body).digest("hex")}`,
    };
    await fetch(new URL("/hooks/shop", worker.url()), { method: "POST", headers, body });
    const [message] = await stream.messages().toArray();
    expect(await shop.verify({ id: message?.id ?? "" })).toEqual({ verified: true, secret: "current" });
    expect(await errorOf(shop.verify({ id: "1-1" }))).toMatchObject({ code: "unknown-message" });
    expect(await shop.delete()).toBeUndefined();
    expect(await errorOf(shop.get())).toMatchObject({ code: "not-found", status: 404 });
    expect(await errorOf(shop.delete())).toBeInstanceOf(NotFoundError);
    expect(await errorOf(weir.webhook("new").put({ stream: "hooks" }))).toBeInstanceOf(InvalidRequestError);
  });
});

describe("operations", () => {
  test("the scheduled work is run, and its reports and alerts are listed", async () => {
    await weir.stream("reaped").put();
    const run = await weir.runReaper();
    expect(run).toMatchObject({ complete: true, errors: [] });
    expect((await weir.reaperRuns())[0]).toMatchObject({ startedAt: run.startedAt });
    expect(await weir.alerts()).toEqual(expect.any(Array));
    const { token } = await weir.issueToken({ subject: "m", scope: ["metrics"], expiresInMs: 60_000 });
    const metrics = clientOf(worker, { token });
    expect(await metrics.metrics()).toMatch(/^# HELP weir_/m);
    expect(await errorOf(metrics.runReaper())).toMatchObject({ code: "forbidden" });
    expect(await errorOf(metrics.reaperRuns())).toMatchObject({ code: "forbidden" });
    expect(await errorOf(metrics.alerts())).toMatchObject({ code: "forbidden" });
  });

  test("health, readiness and the API document are there, whatever the token", async () => {
    const stranger = clientOf(worker, { token: "wrong" });
    expect(await stranger.health()).toEqual({ status: "ok" });
    expect(await stranger.readiness()).toEqual({ status: "ok" });
    expect(await stranger.openapi()).toMatchObject({ info: { title: expect.any(String) }, paths: expect.any(Object) });
  });

  test("each attempt is told with what it cost; a watcher that throws changes nothing", async () => {
    const seen: Attempt[] = [];
    const watched = clientOf(worker, {
      onAttempt: (attempt) => {
        seen.push(attempt);
        throw new Error("of the watcher");
      },
    });
    await watched.stream("watched").put();
    await watched.health();
    expect(seen).toMatchObject([
      { method: "PUT", path: "/v1/streams/watched", number: 1, status: 201, redisRoundTrips: expect.any(Number) },
      { method: "GET", path: "/healthz", number: 1, status: 200, redisCommands: undefined },
    ]);
    expect(seen[0]?.redisCommands).toBeGreaterThan(0);
  });

  test("no route of Weir's is told as not found, or the method as not allowed", async () => {
    const http = new Http({ url: worker.url(), token: "root-token-of-the-tests" });
    const ask = (method: "GET" | "PUT", path: string) => errorOf(http.send({ method, path, isRepeatable: false }));
    expect(await ask("GET", "/v1/nothing")).toMatchObject({ name: "NotFoundError", code: "not-found", status: 404 });
    expect(await ask("PUT", "/v1/token")).toMatchObject({ name: "InvalidRequestError", status: 405 });
  });
});
