// Every answer has a status and a code that the OpenAPI document declares, and headers that keep it out of caches.
import { describe, expect, onTestFinished, test } from "vitest";
import type { Operation } from "../../functions/openapi.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { type ApiRequest, OPEN_OPERATIONS, validRequests } from "../support/api-members.ts";
import { type AppUnderTest, appOn } from "../support/app.ts";
import { ownRedis } from "../support/own-redis.ts";
import type { Answer } from "../support/worker.ts";

const TOKEN_SECRET = "a-secret-of-the-tests-with-32-characters";
const STREAM = "/v1/streams/none";
const GROUP = `${STREAM}/groups/none`;
/** The same for everybody, and good for a while. */
const PAGES = ["getStart", "getReference"];

async function start(args: string[] = []) {
  const own = await ownRedis(args);
  const connection = new TcpConnection({ url: own.redis.url, timeoutMs: 1_000 });
  onTestFinished(() => connection.close());
  return { own, app: appOn(() => connection, { TOKEN_SECRET }) };
}

function expectDeclared(operation: Operation, answer: Answer): void {
  const { operationId, responses } = operation;
  const told = `${operationId} ${answer.status} ${answer.text.slice(0, 200)}`;
  const declared = responses[answer.status];
  expect(declared, told).toBeDefined();
  if (answer.status >= 400) expect(declared?.description.split(", "), told).toContain(answer.json.code);
  expect(answer.headers.get("x-content-type-options"), told).toBe("nosniff");
  const isKept = answer.status < 400 && PAGES.includes(operationId);
  expect(answer.headers.get("cache-control"), told).toBe(isKept ? "public, max-age=300" : "no-store");
}

/** Leaves stream and group where they are, for the requests that come after. */
function spare({ method, path }: ApiRequest): Partial<ApiRequest> {
  const isAll = method === "DELETE" && (path === STREAM || path === GROUP);
  return isAll ? { path: path.replace(/none$/, "missing") } : {};
}

/** Sends each valid request, changed in some way, and checks its answer. */
async function askAll(
  app: AppUnderTest,
  change: (request: ApiRequest) => Partial<ApiRequest> = () => ({}),
): Promise<Map<string, number>> {
  const statuses = new Map<string, number>();
  for (const { operation, request } of validRequests(await app.document())) {
    const { method, path, headers, body } = { ...request, ...change(request) };
    const answer = await app.call(method, path, body, headers);
    expectDeclared(operation, answer);
    statuses.set(operation.operationId, answer.status);
  }
  return statuses;
}

describe("what every route answers is declared", () => {
  test("where there is nothing, and where there is something", async () => {
    const { app } = await start();
    await app.call("PUT", "/v1/streams/other");
    await askAll(app, ({ path }) => ({ path: path.replace("/none", "/missing") }));
    await app.call("PUT", STREAM);
    await app.call("PUT", GROUP);
    await askAll(app, spare);
    await askAll(app);
  });

  test("to a request that is not as it should be", async () => {
    const { app } = await start();
    const expectAll = async (status: number, change: (request: ApiRequest) => Partial<ApiRequest> | undefined) => {
      const asked = new Set<string>();
      const statuses = await askAll(app, (request) => {
        const changed = change(request);
        if (changed !== undefined) asked.add(request.path);
        return changed ?? {};
      });
      expect(asked.size).toBeGreaterThan(0);
      return [...statuses.values()].filter((one) => one === status).length;
    };
    const withHeader = (name: string, value: string) => (request: ApiRequest) => ({
      headers: { ...request.headers, [name]: value },
    });
    const withBody = (change: (body: string) => string) => (request: ApiRequest) =>
      request.body === undefined ? undefined : { body: change(request.body) };
    const operations = validRequests(await app.document()).filter(
      ({ operation }) => !OPEN_OPERATIONS.includes(operation.operationId),
    );
    const withToken = operations.filter(({ operation }) => operation.security.length > 0).length;
    const bodies = operations.filter(({ request }) => request.body !== undefined).length;
    expect(await expectAll(400, ({ path }) => ({ path: `${path}?nope=1` }))).toBe(operations.length);
    expect(await expectAll(401, withHeader("authorization", "Bearer x"))).toBe(withToken);
    expect(
      await expectAll(
        413,
        withBody((body) => body + " ".repeat(9 * 1024 * 1024)),
      ),
    ).toBe(bodies);
    expect(await expectAll(415, withHeader("content-type", "text"))).toBe(bodies);
    expect(await expectAll(415, withHeader("content-encoding", "gzip"))).toBe(bodies);
    expect(
      await expectAll(
        400,
        withBody(() => "{"),
      ),
    ).toBe(bodies);
    const { json } = await app.call("POST", "/v1/tokens", { subject: "x", scope: ["metrics"], expiresInMs: 60_000 });
    // Of those that any token may ask, each is another's, or there is nothing to be seen.
    const decided = operations.filter(({ operation }) => operation.operationId.includes("Webhook")).length;
    // But its own route and that of what any token says of itself.
    expect(await expectAll(403, withHeader("authorization", `Bearer ${json.token}`))).toBe(withToken - 2 - decided);
  });

  test("where keys hold something else", async () => {
    const { app, own } = await start();
    await own.native.set("weir:{none}", "x");
    await askAll(app);
    await own.native.del("weir:{none}");
    await app.call("PUT", STREAM);
    await app.call("PUT", GROUP);
    for (const key of ["dead:none", "again:none", "again-due:none", "dead-index:none", "clock", "config"]) {
      await own.native.set(`weir:{none}:${key}`, "x");
    }
    await askAll(app, spare);
    await own.native.set("weir:revoked-tokens", "x");
    await askAll(app, spare);
    const { json } = await app.call("POST", "/v1/tokens", { subject: "x", scope: ["read:*"], expiresInMs: 60_000 });
    const statuses = await askAll(app, ({ headers }) => ({
      headers: { ...headers, authorization: `Bearer ${json.token}` },
    }));
    expect(statuses.get("listStreams")).toBe(503);
  });

  test("where Redis is full, or gone", async () => {
    const { app, own } = await start();
    await app.call("PUT", STREAM);
    await app.call("PUT", GROUP, { start: "earliest" });
    await app.call("POST", `${STREAM}/messages`, { messages: [{}, {}] });
    const { json } = await app.call("POST", `${GROUP}/consume`, { consumer: "none" });
    await app.call("POST", `${GROUP}/settle`, { rejects: [{ lease: json.messages[0].lease }] });
    await own.native.config("SET", "maxmemory", "1");
    const full = await askAll(app, spare);
    expect([...full.values()]).toContain(507);
    await own.redis.stop();
    const gone = await askAll(app);
    expect([...gone.values()].filter((status) => status === 503).length).toBeGreaterThan(20);
  });
});
