// Who gets in where: every operation of the API document, asked with every kind of token and of scope, on the real app.
import { createHmac, generateKeyPairSync, sign as signBytes } from "node:crypto";
import { sign } from "hono/jwt";
import { beforeAll, describe, expect, test } from "vitest";
import type { Operation } from "../../functions/openapi.ts";
import { expectProblem } from "../support/answers.ts";
import { type ApiRequest, validRequests } from "../support/api-members.ts";
import { startApp } from "../support/app.ts";
import type { Answer } from "../support/worker.ts";

const TOKEN_SECRET = "a-secret-of-the-tests-with-32-characters";
const TOKEN_SECRET_PREVIOUS = "a-secret-of-before-with-32-characters-too";
const app = startApp({ TOKEN_SECRET, TOKEN_SECRET_PREVIOUS });

interface Asked {
  readonly operation: Operation;
  readonly request: ApiRequest;
}

let guarded: readonly Asked[] = [];

beforeAll(async () => {
  guarded = validRequests(await app.document()).filter(({ operation }) => operation.security.length > 0);
  expect(guarded.length).toBeGreaterThan(30);
});

/** The source, of the stream `none`, is there: it may have been deleted by one that may. */
async function prepare({ operation }: Asked): Promise<void> {
  if (!operation.operationId.includes("Webhook")) return;
  await app.call("PUT", "/v1/streams/none");
  await app.call("PUT", "/v1/webhooks/none", { stream: "none", provider: "github" });
}

function ask({ request }: Asked, headers: Readonly<Record<string, string>>): Promise<Answer> {
  return app.call(request.method, request.path, request.body, { ...request.headers, ...headers });
}

const inAnHour = () => Math.floor(Date.now() / 1000) + 3_600;

function claimsFor(...scope: string[]) {
  return { sub: "test", jti: crypto.randomUUID(), exp: inAnHour(), scope };
}

/** Everything that any token may do. */
const ALL = ["admin:*", "produce:*", "consume:*", "read:*", "metrics"];

function base64url(value: unknown): string {
  return Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
}

/** A token of any form, whatever a library would refuse to make. */
function forge(header: object, claims: object, signature: (text: string) => string): string {
  const text = `${base64url(header)}.${base64url(claims)}`;
  return `${text}.${signature(text)}`;
}

function hmac(algorithm: string, secret: string) {
  return (text: string) => createHmac(algorithm, secret).update(text).digest("base64url");
}

const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
const rsa = (text: string) => signBytes("sha256", Buffer.from(text), privateKey).toString("base64url");
const HS256 = { alg: "HS256", typ: "JWT" };
const good = hmac("sha256", TOKEN_SECRET);

async function issue(...scope: string[]): Promise<{ token: string; id: string; expiresAt: number }> {
  return (await app.call("POST", "/v1/tokens", { subject: "test", scope, expiresInMs: 3_600_000 })).json;
}

/** What gets nobody in, as Authorization headers; undefined: there is none. */
const REFUSED: Readonly<Record<string, () => Promise<string> | string | undefined>> = {
  "no header": () => undefined,
  "a scheme and no token": () => "Bearer",
  "another scheme": () => `Basic ${btoa("root:root-token-of-the-tests")}`,
  "two tokens": () => "Bearer a b",
  garbage: () => "Bearer garbage",
  "garbage in three parts": () => "Bearer a.b.c",
  "parts that are not JSON": () => `Bearer ${base64url("{")}.${base64url("{")}.x`,
  "the beginning of the root token": () => "Bearer root-token-of-the-test",
  "the root token and more": () => "Bearer root-token-of-the-testss",
  "the token secret": () => `Bearer ${TOKEN_SECRET}`,
  "an expired one": async () => `Bearer ${await sign({ ...claimsFor(...ALL), exp: inAnHour() - 3_601 }, TOKEN_SECRET)}`,
  "one that never expires": () => `Bearer ${forge(HS256, { scope: ALL, sub: "x", jti: "1" }, good)}`,
  "one whose end is text": () => `Bearer ${forge(HS256, { ...claimsFor(...ALL), exp: String(inAnHour()) }, good)}`,
  "one that is not valid yet": () => `Bearer ${forge(HS256, { ...claimsFor(...ALL), nbf: inAnHour() }, good)}`,
  "one without a scope": () => `Bearer ${forge(HS256, { sub: "x", jti: "1", exp: inAnHour() }, good)}`,
  "one whose scope is text": () => `Bearer ${forge(HS256, { ...claimsFor(), scope: "admin:*" }, good)}`,
  "one whose id is a number": () => `Bearer ${forge(HS256, { ...claimsFor(...ALL), jti: 1 }, good)}`,
  "claims that are a list": () => `Bearer ${forge(HS256, [], good)}`,
  "alg none": () => `Bearer ${forge({ alg: "none", typ: "JWT" }, claimsFor(...ALL), () => "")}`,
  "alg none, signed": () => `Bearer ${forge({ alg: "none", typ: "JWT" }, claimsFor(...ALL), good)}`,
  "no algorithm": () => `Bearer ${forge({ typ: "JWT" }, claimsFor(...ALL), good)}`,
  "no signature": () => `Bearer ${forge(HS256, claimsFor(...ALL), () => "")}`,
  "another secret": () => `Bearer ${forge(HS256, claimsFor(...ALL), hmac("sha256", `${TOKEN_SECRET}x`))}`,
  "an empty secret": () => `Bearer ${forge(HS256, claimsFor(...ALL), hmac("sha256", ""))}`,
  "the root token as secret": () =>
    `Bearer ${forge(HS256, claimsFor(...ALL), hmac("sha256", "root-token-of-the-tests"))}`,
  "HS512, rightly signed": () =>
    `Bearer ${forge({ ...HS256, alg: "HS512" }, claimsFor(...ALL), hmac("sha512", TOKEN_SECRET))}`,
  "HS512 in the header alone": () => `Bearer ${forge({ ...HS256, alg: "HS512" }, claimsFor(...ALL), good)}`,
  "RS256 of a key of one's own": () => `Bearer ${forge({ ...HS256, alg: "RS256" }, claimsFor(...ALL), rsa)}`,
  "RS256 in the header alone": () => `Bearer ${forge({ ...HS256, alg: "RS256" }, claimsFor(...ALL), good)}`,
  "a critical extension": () => `Bearer ${forge({ ...HS256, crit: ["exp"] }, claimsFor(...ALL), good)}`,
  "other claims than were signed": async () => {
    const [header, , signature] = (await issue("read:nothing")).token.split(".");
    return `Bearer ${header}.${base64url(claimsFor(...ALL))}.${signature}`;
  },
  "a revoked one": async () => {
    const { token, id, expiresAt } = await issue(...ALL);
    expect((await app.call("POST", "/v1/tokens/revoke", { id, expiresAt })).status).toBe(204);
    return `Bearer ${token}`;
  },
  "a revoked one of the secret before": async () => {
    const claims = claimsFor(...ALL);
    expect((await app.call("POST", "/v1/tokens/revoke", { id: claims.jti })).status).toBe(204);
    return `Bearer ${await sign(claims, TOKEN_SECRET_PREVIOUS)}`;
  },
};

test.each(Object.entries(REFUSED))("%s gets nobody in anywhere, and is not quoted", async (_, make) => {
  const authorization = await make();
  for (const asked of guarded) {
    const answer = await ask(asked, { authorization: authorization ?? "" });
    expectProblem(answer, "unauthenticated");
    expect(answer.headers.get("www-authenticate"), asked.operation.operationId).toBe('Bearer realm="weir"');
    if (authorization !== undefined && authorization.length > 20)
      expect(answer.text).not.toContain(authorization.slice(7));
  }
});

/** Every scope that could be taken for another: of the stream and group `none`, which the requests name. */
const NAMES = [
  "none",
  "none2",
  "non",
  "None",
  "other",
  "none/none",
  "none/none2",
  "none/non",
  "none2/none",
  "other/none",
];
const PATTERNS = [
  "*",
  "none*",
  "no*",
  "none2*",
  "other*",
  "none/*",
  "none/no*",
  "none/none*",
  "none/x*",
  "none2/*",
  "/*",
  "**",
];
const SCOPES = [
  ...["produce", "consume", "read", "admin"].flatMap((permission) =>
    [...NAMES, ...PATTERNS, "", ".", "*/none", "*none"].map((pattern) => `${permission}:${pattern}`),
  ),
  "metrics",
  "metrics:*",
  "metrics*",
  "root",
  "root:*",
  "*",
  "*:*",
  "",
  "admin",
  "ADMIN:*",
  "any",
  "write:*",
];

/** Whether a scope is one of those that the document names, or covers one by the star at its end. */
function isGranted({ "x-weir-scopes": needed = [] }: Operation, scope: string): boolean {
  return needed.some((one) => {
    const name = one.replace("{stream}", "none").replace("{group}", "none");
    const [permission = "", pattern = ""] = [name.split(":", 1)[0], name.slice(name.indexOf(":") + 1)];
    if (scope === name) return true;
    if (!scope.startsWith(`${permission}:`) || !scope.endsWith("*")) return false;
    const beginning = scope.slice(permission.length + 1, -1);
    // What concerns all streams needs all of them.
    return pattern === "*" ? beginning === "" : pattern.startsWith(beginning);
  });
}

describe("a scope", () => {
  const tokens = new Map<string, string>();

  beforeAll(async () => {
    for (const scope of SCOPES) tokens.set(scope, await sign(claimsFor(scope), TOKEN_SECRET));
  });

  test("opens what the document names for it, and nothing else, however near it is", async () => {
    const opened = new Set<string>();
    for (const asked of guarded) {
      const { operation } = asked;
      const isForAny = operation.security.every(({ token }) => token?.length === 0);
      for (const [scope, token] of tokens) {
        await prepare(asked);
        const answer = await ask(asked, { authorization: `Bearer ${token}` });
        const told = `${scope} for ${operation.operationId}: ${answer.status} ${answer.text.slice(0, 200)}`;
        expect(answer.status, told).not.toBe(401);
        expect(answer.status !== 403, told).toBe(isForAny || isGranted(operation, scope));
        if (answer.status === 403) expectProblem(answer, "forbidden");
        else if (!isForAny) opened.add(scope);
      }
    }
    // Each of these opens something.
    for (const scope of [
      "produce:none",
      "consume:none/no*",
      "consume:no*",
      "read:none",
      "read:*",
      "admin:*",
      "metrics",
    ]) {
      expect(opened).toContain(scope);
    }
    for (const scope of ["consume:none", "admin:none/*", "read:none/*", "produce:", "root", "*", "read:/*"]) {
      expect(opened).not.toContain(scope);
    }
  });

  test("counts in any place of a list, and none at all opens nothing", async () => {
    const list = [
      "read:other",
      "consume:other/*",
      ...["produce", "consume", "read", "admin"].map((one) => `${one}:none2`),
    ];
    const [with_, without] = await Promise.all([
      sign(claimsFor(...list, "admin:none"), TOKEN_SECRET),
      sign(claimsFor(), TOKEN_SECRET),
    ]);
    for (const asked of guarded) {
      const isOfStream = /^\/v1\/(streams|webhooks)\/none/.test(asked.request.path);
      const isForAny = ["getToken", "listWebhookSources"].includes(asked.operation.operationId);
      await prepare(asked);
      const permitted = await ask(asked, { authorization: `Bearer ${with_}` });
      expect(permitted.status !== 403, asked.operation.operationId).toBe(isOfStream || isForAny);
      await prepare(asked);
      const refused = await ask(asked, { authorization: `Bearer ${without}` });
      expect(refused.status === 403, asked.operation.operationId).toBe(!isForAny);
    }
  });
});

test("the secret before still signs, while it is set, whatever scope it signs", async () => {
  const authorization = `Bearer ${await sign(claimsFor(...ALL), TOKEN_SECRET_PREVIOUS)}`;
  for (const asked of guarded) {
    const { status } = await ask(asked, { authorization });
    const isForRoot = asked.operation.security.some(({ token }) => token?.includes("root"));
    expect(status === 403, asked.operation.operationId).toBe(isForRoot);
    expect(status).not.toBe(401);
  }
});

test("the root token opens everything", async () => {
  for (const asked of guarded) expect([401, 403]).not.toContain((await ask(asked, {})).status);
});

test("what needs no token takes any", async () => {
  const open = validRequests(await app.document()).filter(({ operation }) => operation.security.length === 0);
  expect(open.length).toBeGreaterThan(3);
  for (const asked of open) {
    for (const authorization of ["", "Bearer garbage"]) {
      expect((await ask(asked, { authorization })).status, asked.operation.operationId).not.toBe(401);
    }
  }
});

describe("what a token costs", () => {
  const produce = async (authorization: string) => {
    const answer = await app.call("POST", "/v1/streams/costs/messages", { messages: [{}] }, { authorization });
    expect(answer.status).toBe(201);
    return /desc="(.*)"/.exec(answer.headers.get("server-timing") ?? "")?.[1];
  };

  test("is nothing for the root token, and a command at most every 10 seconds for all others together", async () => {
    await app.call("PUT", "/v1/streams/costs");
    const root = "Bearer root-token-of-the-tests";
    await produce(root);
    expect(await produce(root)).toBe("2 commands, 1 round trip");
    const tokens = [await issue("produce:costs"), await issue("produce:*")].map(({ token }) => `Bearer ${token}`);
    // Here the list is read anew after the next revocation.
    await app.call("POST", "/v1/tokens/revoke", { id: "nobody" });
    expect(await produce(tokens[0] ?? "")).toBe("3 commands, 2 round trips");
    for (const token of [...tokens, root]) expect(await produce(token)).toBe("2 commands, 1 round trip");
  });
});

describe("a caller is told what its token is", () => {
  test("by what it says, and not by what it is", async () => {
    const { token, expiresAt } = await issue("consume:orders/*", "metrics");
    const { status, json, text } = await app.call("GET", "/v1/token", undefined, { authorization: `Bearer ${token}` });
    expect([status, json]).toEqual([200, { subject: "test", scope: ["consume:orders/*", "metrics"], expiresAt }]);
    expect(text).not.toContain(token);
    const root = await app.call("GET", "/v1/token");
    expect(root.json).toEqual({ subject: null, scope: ["root"], expiresAt: null });
  });

  test("also where somebody signed it who named no subject; without an id it cannot be revoked", async () => {
    const token = await sign({ exp: 4_000_000_000.5, scope: ["metrics"] }, TOKEN_SECRET);
    const { json } = await app.call("GET", "/v1/token", undefined, { authorization: `Bearer ${token}` });
    expect(json).toEqual({ subject: null, scope: ["metrics"], expiresAt: 4_000_000_000_500 });
  });
});
