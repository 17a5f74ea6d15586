import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { leaseFormat } from "../../shared/lease.ts";
import { expectProblem } from "../support/answers.ts";
import { brokenServer, httpAnswer } from "../support/broken-server.ts";
import { appOver } from "../support/in-process.ts";
import { connectionAt } from "../support/own-redis.ts";
import { TRANSPORTS, type TransportName, uniquePrefix } from "../support/redis.ts";

/** What clients are told when Redis, or what stands before it, fails: in whose words, what is known, what to do. */

const STREAM = "/v1/streams/orders";
const GROUP = `${STREAM}/groups/mail`;
const LEASE = leaseFormat("orders", "mail").write({ id: "1-1", deliveries: 1, consumer: "c" });
const MESSAGES = { messages: [{ data: 1 }] };

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

const SCHEDULED = "later~1.0~000000000001.0";

/** Each route that changes something, with what repeating it means. */
const WRITES: readonly (Asked & { readonly repeat: RegExp })[] = [
  { method: "PUT", path: STREAM, repeat: /repeating it is safe/ },
  { method: "POST", path: `${STREAM}/trim`, body: { maxLength: 1 }, repeat: /repeating it is safe/ },
  { method: "POST", path: `${STREAM}/messages`, body: MESSAGES, repeat: /may append the messages twice/ },
  {
    method: "POST",
    path: `${STREAM}/messages`,
    body: MESSAGES,
    headers: { "idempotency-key": "k" },
    repeat: /with the same Idempotency-Key: nothing is appended twice/,
  },
  {
    method: "POST",
    path: `${STREAM}/messages`,
    body: { messages: [{ data: 1, delayMs: 1_000 }] },
    repeat: /may append the messages twice/,
  },
  { method: "DELETE", path: `${STREAM}/scheduled/${SCHEDULED}`, repeat: /404 means that it is gone/ },
  { method: "PUT", path: GROUP, repeat: /repeating it is safe/ },
  { method: "DELETE", path: GROUP, repeat: /404 means that it is gone/ },
  { method: "POST", path: `${GROUP}/seek`, body: { to: "earliest" }, repeat: /may be read again/ },
  { method: "POST", path: `${GROUP}/replay`, body: { ids: ["1-1"] }, repeat: /once more/ },
  { method: "POST", path: `${GROUP}/settle`, body: { acks: [LEASE] }, repeat: /settling again is harmless/ },
  { method: "DELETE", path: `${GROUP}/consumers/c`, repeat: /404 means that it is gone/ },
  { method: "POST", path: `${GROUP}/dead-letters/redrive`, body: { ids: ["1-1"] }, repeat: /repeating it is safe/ },
  { method: "DELETE", path: `${GROUP}/dead-letters`, body: { ids: ["1-1"] }, repeat: /stays gone/ },
  { method: "POST", path: "/v1/tokens/revoke", body: { id: "x" }, repeat: /repeating it is safe/ },
];

/** These may read first: the groups that the stream has, Redis' time. */
const READING_FIRST: readonly Asked[] = [
  { method: "DELETE", path: STREAM },
  { method: "DELETE", path: `${STREAM}/messages/1-1` },
  { method: "POST", path: "/v1/reaper/run" },
  { method: "POST", path: `${GROUP}/consume`, body: { consumer: "c", acks: [LEASE] } },
  { method: "POST", path: `${GROUP}/claim`, body: { consumer: "c" } },
  { method: "PUT", path: "/v1/webhooks/github", body: { stream: "orders", provider: "github" } },
  { method: "DELETE", path: "/v1/webhooks/github" },
  { method: "POST", path: "/hooks/github", body: {} },
];

const READS: readonly Asked[] = [
  "/v1/streams",
  STREAM,
  `${STREAM}/retention`,
  `${STREAM}/messages`,
  `${STREAM}/messages/1-1`,
  `${STREAM}/messages/1-1/states`,
  `${STREAM}/scheduled`,
  `${STREAM}/scheduled/${SCHEDULED}`,
  `${STREAM}/groups`,
  GROUP,
  `${GROUP}/pending`,
  `${GROUP}/delayed`,
  `${GROUP}/consumers`,
  `${GROUP}/dead-letters`,
  `${GROUP}/dead-letters/summary`,
  `${GROUP}/dead-letters/1-1`,
  "/v1/reaper",
  "/v1/webhooks",
  "/v1/webhooks/github",
  "/v1/alerts",
  "/metrics",
  "/readyz",
].map((path) => ({ method: "GET", path }));

beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

/** The app before a REST endpoint, or a Redis, that answers every request so. */
async function appBefore(transport: TransportName, answer: (request: string) => string) {
  const server = await brokenServer({
    received: (socket, text) => void (transport === "rest" ? socket.end(answer(text)) : socket.write(answer(text))),
  });
  return appOver(connectionAt(transport, server.port, 2_000));
}

describe("where the answer is lost", () => {
  test.each(WRITES)("$method $path says whether to repeat it", async ({ method, path, body, headers, repeat }) => {
    const call = await appBefore("rest", () => "");
    const { detail } = expectProblem(await call(method, path, body, headers), "outcome-unknown");
    expect(detail).toMatch(/^Redis did not answer in time or whole, so this may or may not have happened; /);
    expect(detail).toMatch(repeat);
    if (!path.endsWith("/messages")) expect(detail).not.toContain("Idempotency-Key");
  });

  test("every route that may leave its outcome in doubt is among these", async () => {
    const call = await appBefore("rest", () => "");
    type Operations = Record<string, { responses: Record<string, { description: string }> }>;
    const paths: Record<string, Operations> = (await call("GET", "/openapi.json")).json.paths;
    const asked = [...WRITES, ...READING_FIRST].map(({ method, path }) => `${method.toLowerCase()} ${path}`);
    for (const [path, methods] of Object.entries(paths)) {
      for (const [method, { responses }] of Object.entries(methods)) {
        if (!responses[503]?.description.includes("outcome-unknown")) continue;
        const pattern = new RegExp(`^${method} ${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`);
        expect(
          asked.some((one) => pattern.test(one)),
          `${method} ${path}`,
        ).toBe(true);
      }
    }
  });

  test("a consume says that settling again is harmless, and nothing of Idempotency-Key", async () => {
    const time = JSON.stringify([{ result: ["MQ==", "Mg=="] }]);
    const call = await appBefore("rest", (request) => (request.includes('"TIME"') ? httpAnswer("200 OK", time) : ""));
    const body = { consumer: "c", acks: [LEASE] };
    const { detail } = expectProblem(await call("POST", `${GROUP}/consume`, body), "outcome-unknown");
    expect(detail).toContain("settling again is harmless, and what was handed out comes again when its lease ends");
    expect(detail).not.toContain("Idempotency-Key");
    const claim = expectProblem(await call("POST", `${GROUP}/claim`, { consumer: "c" }), "outcome-unknown");
    expect(claim.detail).toContain("recover");
  });

  test.each(READS)("$method $path changed nothing", async ({ method, path }) => {
    const call = await appBefore("rest", () => "");
    expectProblem(await call(method, path), "redis-unavailable");
  });
});

/** Answers of the right number, and of a shape that no command has, or only another one. */
const NONSENSE: Record<string, unknown> = {
  OK: "OK",
  nothing: null,
  "a number": 1,
  "an empty list": [],
  "a list of a number": [7],
  "a list of nothing": [null],
  "what a script answers, with nothing": [1, null],
  "what a script answers, with a number": [1, 5],
  "what a script answers, with text": [1, "dGV4dA=="],
  "what a script answers, with lists": [1, [1, [], [[]], ["eA=="], null, 1]],
  "lists in lists": [[["MS0x", ["YQ=="]]]],
  "something refused": [1, ["cmVmdXNlZA==", 7]],
};

describe.each(Object.entries(NONSENSE))("an endpoint that answers %s to everything", (_, result) => {
  test("is never Weir's own fault, and what may have happened is told", async () => {
    const items = (request: string) => JSON.parse(request.slice(request.indexOf("\r\n\r\n"))).map(() => ({ result }));
    const call = await appBefore("rest", (request) => httpAnswer("200 OK", JSON.stringify(items(request))));
    for (const { method, path, body, headers } of [...WRITES, ...READING_FIRST, ...READS]) {
      const { status, json } = await call(method, path, body, headers);
      const told = `${method} ${path}: ${status} ${json?.code} ${json?.detail}`;
      if (status >= 500) expect(["outcome-unknown", "redis-unavailable"], told).toContain(json?.code);
      if (method === "GET" && status >= 500) expect(json?.code, told).toBe("redis-unavailable");
    }
  });
});

test("a consumer that holds too much is told what its request settled", async () => {
  const connection = TRANSPORTS.rest();
  onTestFinished(() => connection.close());
  const call = appOver(connection, uniquePrefix());
  await call("PUT", STREAM, { maxMessageBytes: 1_024 });
  await call("PUT", GROUP, { start: "earliest" });
  await call("POST", `${STREAM}/messages`, { messages: Array(1_000).fill({ data: 1 }) });
  await call("POST", `${STREAM}/messages`, { messages: Array(1_000).fill({ data: 1 }) });
  const { messages } = (await call("POST", `${GROUP}/consume`, { consumer: "c", batchSize: 1_000 })).json;
  const acks = messages.slice(0, 2).map(({ lease }: { lease: string }) => lease);
  const answer = await call("POST", `${GROUP}/consume`, { consumer: "c", batchSize: 100, acks });
  const settled = { acked: 2, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };
  expect(expectProblem(answer, "too-many-pending")).toMatchObject({ settled });
  expect(answer.headers.get("retry-after")).toBe("1");
});

describe("a Redis that refuses", () => {
  const REFUSALS: Record<string, [error: string, retryAfterS: number]> = {
    "for want of connections": ["ERR max number of clients reached", 1],
    "for want of a password": ["ERR Protocol error: unauthenticated multibulk length", 60],
    "a user": ["NOPERM this user has no permissions to run the 'evalsha' command", 60],
    "while it loads": ["LOADING Redis is loading the dataset in memory", 5],
  };

  test.each(Object.entries(REFUSALS))("%s is unavailable for every route", async (_, [error, retryAfterS]) => {
    const call = await appBefore("tcp", () => `-${error}\r\n`.repeat(9));
    for (const { method, path, body, headers } of [...WRITES, ...READING_FIRST, ...READS]) {
      const answer = await call(method, path, body, headers);
      expectProblem(answer, "redis-unavailable");
      expect(answer.headers.get("retry-after")).toBe(String(retryAfterS));
    }
  });
});
