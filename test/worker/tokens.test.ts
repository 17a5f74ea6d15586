import { sign } from "hono/jwt";
import { describe, expect, test } from "vitest";
import { startWorker } from "../support/worker.ts";

const TOKEN_SECRET = "a-secret-of-the-tests-with-32-characters";
const worker = startWorker({ vars: { TOKEN_SECRET } });

function as(token: string): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

async function issue(...scope: string[]): Promise<Record<string, string>> {
  const { json } = await worker.call("POST", "/v1/tokens", { subject: "test", scope, expiresInMs: 60_000 });
  return as(json.token);
}

const ORDERS = "/v1/streams/orders";
const MESSAGE = { messages: [{ data: 1 }] };
const CONSUME = { consumer: "c" };
const LOOK = ["lookAtGroup", "lookAtPending", "lookAtStock", "listGroups"];

test("a token may do what its scope names, and nothing else", async () => {
  await worker.call("PUT", ORDERS);
  await worker.call("PUT", "/v1/streams/other");
  await worker.call("PUT", `${ORDERS}/groups/mail`);
  await worker.call("PUT", `${ORDERS}/groups/stock`);
  const requests = {
    produce: ["POST", `${ORDERS}/messages`, MESSAGE],
    produceOther: ["POST", "/v1/streams/other/messages", MESSAGE],
    consume: ["POST", `${ORDERS}/groups/mail/consume`, CONSUME],
    settle: ["POST", `${ORDERS}/groups/mail/settle`, {}],
    leave: ["DELETE", `${ORDERS}/groups/mail/consumers/nobody`, undefined],
    lookAtGroup: ["GET", `${ORDERS}/groups/mail`, undefined],
    lookAtPending: ["GET", `${ORDERS}/groups/mail/pending`, undefined],
    lookAtStock: ["GET", `${ORDERS}/groups/stock/dead-letters`, undefined],
    listGroups: ["GET", `${ORDERS}/groups`, undefined],
    consumeStock: ["POST", `${ORDERS}/groups/stock/consume`, CONSUME],
    read: ["GET", ORDERS, undefined],
    replay: ["GET", `${ORDERS}/messages`, undefined],
    list: ["GET", "/v1/streams", undefined],
    reaper: ["GET", "/v1/reaper", undefined],
    metrics: ["GET", "/metrics", undefined],
    change: ["PUT", ORDERS, {}],
    seek: ["POST", `${ORDERS}/groups/mail/seek`, { to: "latest" }],
    run: ["POST", "/v1/reaper/run", undefined],
    token: ["POST", "/v1/tokens", { subject: "x", scope: ["metrics"], expiresInMs: 1_000 }],
  } as const;
  const permitted = async (...scope: string[]) => {
    const headers = await issue(...scope);
    const names: string[] = [];
    for (const [name, [method, path, body]] of Object.entries(requests)) {
      const { status, json } = await worker.call(method, path, body, headers);
      if (status === 403) expect(json).toMatchObject({ code: "forbidden" });
      else {
        // Who may leave is told that nobody of that name is there.
        expect(name === "leave" ? status === 404 : status < 300, name).toBe(true);
        names.push(name);
      }
    }
    return names;
  };
  expect(await permitted("produce:orders")).toEqual(["produce"]);
  expect(await permitted("produce:*")).toEqual(["produce", "produceOther"]);
  const asMail = ["consume", "settle", "leave", "lookAtGroup", "lookAtPending"];
  expect(await permitted("consume:orders/mail")).toEqual(asMail);
  expect(await permitted("consume:orders/*")).toEqual([...asMail, "lookAtStock", "consumeStock"]);
  expect(await permitted("consume:ord*")).toEqual([...asMail, "lookAtStock", "consumeStock"]);
  expect(await permitted("read:orders")).toEqual([...LOOK, "read", "replay"]);
  expect(await permitted("read:*")).toEqual([...LOOK, "read", "replay", "list", "reaper"]);
  expect(await permitted("metrics")).toEqual(["metrics"]);
  expect(await permitted("admin:orders", "produce:other")).toEqual([
    "produce",
    "produceOther",
    "consume",
    "settle",
    "leave",
    ...LOOK,
    "consumeStock",
    "read",
    "replay",
    "change",
    "seek",
  ]);
  expect(await permitted("admin:*")).toEqual(Object.keys(requests).filter((name) => name !== "token"));
});

describe("a token is refused when", () => {
  const claims = { sub: "x", jti: "1", exp: Math.floor(Date.now() / 1000) + 60, scope: ["read:*"] };
  test.each([
    ["it has expired", async () => sign({ ...claims, exp: Math.floor(Date.now() / 1000) - 1 }, TOKEN_SECRET, "HS256")],
    ["another secret signed it", async () => sign(claims, `${TOKEN_SECRET}x`, "HS256")],
    ["another algorithm signed it", async () => sign(claims, TOKEN_SECRET, "HS512")],
    ["it never expires", async () => sign({ scope: ["read:*"] }, TOKEN_SECRET, "HS256")],
    ["its scope is no list", async () => sign({ ...claims, scope: "read:*" }, TOKEN_SECRET, "HS256")],
    ["it is not signed", async () => `${btoa('{"alg":"none","typ":"JWT"}')}.${btoa(JSON.stringify(claims))}.`],
    ["it is no token", async () => "a.b.c"],
  ])("%s", async (_, make) => {
    const token = await make();
    const answer = await worker.call("GET", "/v1/streams", undefined, as(token));
    expect(answer).toMatchObject({ status: 401, json: { code: "unauthenticated", detail: "the token is not valid" } });
    expect(answer.text).not.toContain(token);
  });

  test("it asks for a scope that there is not, or that can never match", async () => {
    const never = ["write:orders", "produce", "produce:", "produce:or*ders", "produce:..", "metrics:x", "read:a/b"];
    const neverConsumes = ["consume:a", "consume:a/b/c", "consume:a*/b", "consume:a*/b*", "consume:a/", "consume:/b"];
    for (const scope of [...[...never, ...neverConsumes].map((one) => [one]), ["read:*", "produce:"], []]) {
      const { status } = await worker.call("POST", "/v1/tokens", { subject: "x", scope, expiresInMs: 1_000 });
      expect(status).toBe(400);
    }
  });
});

describe("a token is revoked", () => {
  const issueOne = async () => {
    const { json } = await worker.call("POST", "/v1/tokens", { subject: "x", scope: ["read:*"], expiresInMs: 60_000 });
    return json;
  };

  test("by its id, at once where that was done, and no other with it", async () => {
    const [one, other] = [await issueOne(), await issueOne()];
    expect(one).toEqual({
      token: expect.any(String),
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      expiresAt: expect.any(Number),
    });
    const statuses = async () =>
      Promise.all(
        [one, other].map(async ({ token }) => (await worker.call("GET", "/v1/token", undefined, as(token))).status),
      );
    expect(await statuses()).toEqual([200, 200]);
    const { id, expiresAt } = one;
    const revoked = await worker.call("POST", "/v1/tokens/revoke", { id, expiresAt });
    expect([revoked.status, revoked.text]).toEqual([204, ""]);
    expect(await statuses()).toEqual([401, 200]);
    expect((await worker.call("POST", "/v1/tokens/revoke", { id })).status).toBe(204);
    expect(await statuses()).toEqual([401, 200]);
  });

  test("by the root token only, and by what can be an id", async () => {
    const { id } = await issueOne();
    const admin = await issue("admin:*");
    expect((await worker.call("POST", "/v1/tokens/revoke", { id }, admin)).status).toBe(403);
    for (const body of [
      {},
      { id: "" },
      { id: "x".repeat(129) },
      { id, expiresAt: -1 },
      { id, expiresAt: "1" },
      { id, at: 1 },
    ]) {
      const answer = await worker.call("POST", "/v1/tokens/revoke", body);
      expect(answer).toMatchObject({ status: 400, json: { code: "invalid-request" } });
    }
  });

  test("not by anybody else's words: one that was never issued is as good as any", async () => {
    expect((await worker.call("POST", "/v1/tokens/revoke", { id: "nobody has this" })).status).toBe(204);
  });
});

describe("while TOKEN_SECRET is rotated", () => {
  const before = "a-secret-of-before-with-32-characters-too";
  const rotating = startWorker({ vars: { TOKEN_SECRET, TOKEN_SECRET_PREVIOUS: before } });

  test("what the secret before has signed is still let in, and new tokens are the new one's", async () => {
    const claims = { sub: "x", jti: "1", exp: Math.floor(Date.now() / 1000) + 60, scope: ["read:*"] };
    const statusOf = async (token: string) => (await rotating.call("GET", "/v1/token", undefined, as(token))).status;
    expect(await statusOf(await sign(claims, before, "HS256"))).toBe(200);
    expect(await statusOf(await sign(claims, before, "HS512"))).toBe(401);
    expect(await statusOf(await sign({ ...claims, exp: claims.exp - 120 }, before, "HS256"))).toBe(401);
    expect(await statusOf(await sign(claims, `${before}x`, "HS256"))).toBe(401);
    const issued = await rotating.call("POST", "/v1/tokens", { subject: "x", scope: ["read:*"], expiresInMs: 60_000 });
    expect((await worker.call("GET", "/v1/token", undefined, as(issued.json.token))).status).toBe(200);
  });
});

describe("without TOKEN_SECRET", () => {
  const bare = startWorker();
  test("no token can be issued, revoked or used, and the answer says why", async () => {
    const body = { subject: "x", scope: ["metrics"], expiresInMs: 1_000 };
    for (const [path, sent] of [
      ["/v1/tokens", body],
      ["/v1/tokens/revoke", { id: "x" }],
    ] as const) {
      const { status, json } = await bare.call("POST", path, sent);
      expect([status, json]).toMatchObject([
        501,
        { code: "not-available", detail: expect.stringContaining("TOKEN_SECRET") },
      ]);
    }
    const token = await sign({ exp: 10 ** 10, scope: ["read:*"] }, TOKEN_SECRET, "HS256");
    expect((await bare.call("GET", "/v1/streams", undefined, as(token))).status).toBe(401);
  });
});
