import { expect, test } from "vitest";
import { expectProblem } from "../support/answers.ts";
import { eventually } from "../support/wait.ts";
import { startWorker } from "../support/worker.ts";

const TOKEN_SECRET = "a-secret-of-the-tests-with-32-characters";
const worker = startWorker({
  configPath: "test/worker/fixtures/limited.toml",
  vars: { TOKEN_SECRET, RATE_LIMIT_POLICY: "3;w=60" },
});

/** Windows begin with the minute by the clock on the wall: all three requests must fall into one. */
async function earlyInAWindow(): Promise<void> {
  await eventually("a window with time left", async () => (Date.now() % 60_000 < 50_000 ? true : undefined), 15_000);
}

test("a token's requests above the limit are refused before their bodies are read, and no other token's are", async () => {
  await earlyInAWindow();
  const issue = { subject: "shop", scope: ["read:*"], expiresInMs: 600_000 };
  const tokens: string[] = [];
  for (let i = 0; i < 2; i++) tokens.push((await worker.call("POST", "/v1/tokens", issue)).json.token);
  const [one, other] = tokens.map((token) => ({ authorization: `Bearer ${token}` }));
  for (let i = 0; i < 3; i++) expect((await worker.call("GET", "/v1/token", undefined, one)).status).toBe(200);
  for (const path of ["/v1/token", "/v1/streams", "/metrics"]) {
    const refused = await worker.call("GET", path, undefined, one);
    expectProblem(refused, "rate-limited");
    expect(refused.headers.get("retry-after")).toBe("60");
    expect(refused.headers.get("ratelimit")).toBe('"requests";r=0;t=60');
    expect(refused.headers.get("ratelimit-policy")).toBe('"requests";q=3;w=60');
  }
  expectProblem(await worker.call("PUT", "/v1/streams/orders", "not JSON", one), "rate-limited");
  expect((await worker.call("GET", "/v1/token", undefined, other)).status).toBe(200);
  // Root has had two, for the tokens.
  expect((await worker.call("PUT", "/v1/streams/orders")).status).toBe(201);
  expectProblem(await worker.call("PUT", "/v1/streams/orders"), "rate-limited");
});

test("who is not let in is not counted, and what needs no token is not limited", async () => {
  for (let i = 0; i < 5; i++) {
    expectProblem(await worker.call("GET", "/v1/token", undefined, { authorization: "Bearer x" }), "unauthenticated");
    expect((await worker.call("GET", "/healthz")).status).toBe(200);
    expect((await worker.call("GET", "/readyz")).status).toBe(200);
  }
});
