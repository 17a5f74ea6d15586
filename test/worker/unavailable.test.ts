import { describe, expect, test } from "vitest";
import { expectProblem } from "../support/answers.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

const STREAM = "/v1/streams/orders";
const MESSAGES = `${STREAM}/messages`;
const GROUP = `${STREAM}/groups/mail`;
/** Stands for what no answer may show. */
const SECRET = "p4yl0ad";

describe("a deployment without a root token", () => {
  const worker = startWorker({ vars: { ROOT_TOKEN: "", UPSTASH_REDIS_REST_TOKEN: "test-token" } });

  test("serves nothing but its liveness, to nobody, and says why without a value", async () => {
    for (const authorization of ["Bearer ", "Bearer undefined", `Bearer ${ROOT_TOKEN}`]) {
      const problem = expectProblem(
        await worker.call("GET", "/v1/streams", undefined, { authorization }),
        "misconfigured",
      );
      expect(problem.detail).toContain("ROOT_TOKEN");
    }
    expectProblem(await worker.call("PUT", "/v1/streams/a"), "misconfigured");
    expectProblem(await worker.call("GET", "/readyz"), "misconfigured");
    expect(await worker.call("GET", "/healthz", undefined, { authorization: "" })).toMatchObject({
      status: 200,
      json: { status: "ok" },
    });
  });
});

describe.each([
  ["rest", { UPSTASH_REDIS_REST_URL: "http://127.0.0.1:1", UPSTASH_REDIS_REST_TOKEN: SECRET }],
  ["tcp", { REDIS_URL: `redis://:${SECRET}@127.0.0.1:1` }],
] as const)("a Redis that is down, over %s", (transport, vars) => {
  const worker = startWorker({ transport, vars });

  test("is a 503 with Retry-After for every request that needs it", async () => {
    for (const path of ["/v1/streams", STREAM, `${MESSAGES}/1-0`, GROUP, `${GROUP}/pending`, "/v1/reaper"]) {
      expectProblem(await worker.call("GET", path), "redis-unavailable");
    }
    // Over REST workerd does not tell a refused connection from a lost answer: then a write is in doubt.
    const doubt = transport === "rest" ? "outcome-unknown" : "redis-unavailable";
    expectProblem(await worker.call("POST", MESSAGES, { messages: [{ data: SECRET }] }), doubt);
    // The first poll asks for Redis' time before anything else, which leaves nothing in doubt.
    expectProblem(await worker.call("POST", `${GROUP}/consume`, { consumer: "a" }), "redis-unavailable");
    expectProblem(await worker.call("PUT", STREAM), doubt);
  });

  test("is not asked about a request that is wrong anyway", async () => {
    expectProblem(await worker.call("PUT", "/v1/streams/@x"), "invalid-request");
    expectProblem(await worker.call("GET", "/v1/streams", undefined, { authorization: "Bearer x" }), "unauthenticated");
    expectProblem(await worker.call("GET", "/v1/nothing"), "not-found");
  });

  test("leaves the process healthy and not ready", async () => {
    expect((await worker.call("GET", "/healthz")).status).toBe(200);
    for (let i = 0; i < 2; i++) {
      const answer = await worker.call("GET", "/readyz", undefined, { authorization: "" });
      expectProblem(answer, "redis-unavailable");
      // Redis is asked once in 5 seconds, so that nobody without a token can load it.
      expect(answer.headers.has("server-timing")).toBe(i === 0);
    }
  });
});

describe("readiness", () => {
  const worker = startWorker();

  test("is asked of Redis once in 5 seconds, whoever asks", async () => {
    const first = await worker.call("GET", "/readyz", undefined, { authorization: "" });
    expect(first).toMatchObject({ status: 200, json: { status: "ok" } });
    expect(first.headers.get("server-timing")).toContain('"1 command, 1 round trip"');
    for (let i = 0; i < 3; i++) {
      const again = await worker.call("GET", "/readyz");
      expect(again.status).toBe(200);
      expect(again.headers.has("server-timing")).toBe(false);
    }
  });
});
