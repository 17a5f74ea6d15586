import { readFile, writeFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import type { ApiDocument } from "../../functions/openapi.ts";
import { type Answer, startWorker } from "../support/worker.ts";

// The samples of the API document were really sent and answered, by this. `SAMPLES=write` records them anew.
const FILE = "functions/docs/samples.json";
const JSON_TYPE = "application/json";
const NDJSON = "application/x-ndjson";

// Over TCP: what the REST endpoint hides depends on its liberties.
const worker = startWorker({ transport: "tcp", vars: { TOKEN_SECRET: "a secret of the tests, long enough" } });

interface Sample {
  request?: Record<string, unknown>;
  answer?: Record<string, unknown>;
}

const recorded = new Map<string, Sample>();
let api: ApiDocument;

/** Sends a request and keeps it, with its answer, under its operation's name. */
async function record(method: string, path: string, body?: unknown, type = JSON_TYPE): Promise<Answer["json"]> {
  const headers = { "content-type": type, accept: JSON_TYPE };
  const answer = await worker.call(method, path, body, headers);
  expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
  const { operationId = "" } = operationAt(method, path.split("?", 1)[0] ?? "") ?? {};
  const before = recorded.get(operationId);
  recorded.set(operationId, {
    ...((before?.request ?? body) !== undefined && { request: { ...before?.request, [type]: body } }),
    ...(answer.json !== undefined && { answer: before?.answer ?? { [JSON_TYPE]: answer.json } }),
  });
  return answer.json;
}

function operationAt(method: string, path: string) {
  const parts = path.split("/");
  const fits = (pattern: readonly string[]) =>
    pattern.length === parts.length && pattern.every((part, i) => part.startsWith("{") || part === parts[i]);
  const key = method.toLowerCase();
  return Object.entries(api.paths).find(([pattern, item]) => key in item && fits(pattern.split("/")))?.[1][key];
}

const STREAM = "/v1/streams/orders";
const GROUP = `${STREAM}/groups/mail`;

const paid = {
  type: "order.paid",
  key: "4711",
  data: { order: 4711, total: 12.5, currency: "EUR" },
  attributes: { source: "shop" },
};
const shipped = { type: "order.shipped", key: "4711", data: { order: 4711, parcel: "JD0146" } };

/** One pass over the API, as a shop and its mailer would use it. */
async function runThrough(): Promise<void> {
  await record("GET", "/");
  await record("GET", "/healthz");
  await record("GET", "/readyz");
  await record("POST", "/v1/tokens", { subject: "shop", scope: ["produce:orders"], expiresInMs: 86_400_000 });

  await record("PUT", STREAM, { retention: { maxAgeMs: 604_800_000 } });
  await record("PUT", GROUP, { start: "earliest", maxDeliveries: 3, alerts: { deadLetters: 0 } });
  const { ids } = await record("POST", `${STREAM}/messages`, { messages: [paid, shipped] });
  await record("POST", `${STREAM}/messages`, paid, NDJSON);
  const reminder = { type: "order.reminder", key: "4711", data: { order: 4711 }, delayMs: 3_600_000 };
  const scheduled = await worker.call("POST", `${STREAM}/messages`, { messages: [reminder] });
  await record("GET", `${STREAM}/scheduled`);
  await record("GET", `${STREAM}/scheduled/${scheduled.json.ids[0]}`);
  await record("GET", "/v1/streams");
  await record("GET", STREAM);
  await record("DELETE", `${STREAM}/scheduled/${scheduled.json.ids[0]}`);
  await record("GET", `${STREAM}/messages?limit=1`);
  await record("GET", `${STREAM}/messages/${ids[0]}`);

  const { messages } = await record("POST", `${GROUP}/consume`, { consumer: "mailer-1", batchSize: 2 });
  const [first, second] = messages;
  await record("GET", `${GROUP}/pending`);
  await record("GET", `${STREAM}/messages/${ids[0]}/states`);
  await record("GET", `${GROUP}/consumers`);
  await record("GET", GROUP);
  await record("GET", `${STREAM}/groups`);
  const rejects = [{ lease: second.lease, reason: "no such address" }];
  await record("POST", `${GROUP}/settle`, { acks: [first.lease], rejects });
  const { deadLetters } = await record("GET", `${GROUP}/dead-letters`);
  await record("GET", `${GROUP}/dead-letters/${deadLetters[0].id}`);
  await record("POST", "/v1/reaper/run");
  await record("GET", "/v1/reaper");
  await record("GET", "/v1/alerts");
  await record("POST", `${GROUP}/dead-letters/redrive`, { reason: "rejected" });
  await record("GET", `${GROUP}/delayed`);
  await record("DELETE", `${GROUP}/dead-letters`, { before: "+" });

  await record("POST", `${GROUP}/replay`, { ids: [ids[0]] });
  await worker.call("POST", `${GROUP}/consume`, { consumer: "mailer-1", pollState: "1.0.0.0.0.0" });
  await record("POST", `${GROUP}/claim`, { consumer: "mailer-2", minIdleMs: 0, force: true, limit: 1 });
  await record("DELETE", `${GROUP}/consumers/mailer-1?handoverTo=mailer-2`);
  await record("POST", `${GROUP}/seek`, { to: "latest" });
  await record("GET", `${STREAM}/retention`);
  await record("POST", `${STREAM}/trim`, { maxLength: 2, exact: true });
}

/** A sample less what differs from run to run. */
function timeless(value: unknown, name = ""): unknown {
  if (Array.isArray(value)) return value.map((item) => timeless(item, name));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, timeless(inner, key)]));
  }
  if (typeof value === "number" && (value > 1e12 || /^(durationMs|idleMs|oldestPendingMs|redisCommands)$/.test(name)))
    return 0;
  if (typeof value !== "string") return value;
  if (/^(lease|acks|pollState|token|detail)$/.test(name)) return name;
  return value.replaceAll(/\blater~[\w.~-]+/g, "later").replaceAll(/\b\d{13}(-\d+)?\b/g, "id");
}

beforeAll(async () => {
  api = (await worker.call("GET", "/openapi.json")).json;
  await runThrough();
  if (process.env.SAMPLES !== "write") return;
  await writeFile(FILE, `${JSON.stringify(Object.fromEntries([...recorded].sort()), null, 2)}\n`);
});

describe("the samples in the API document", () => {
  test("are what the Worker answers, but for ids and times", async () => {
    const kept: unknown = JSON.parse(await readFile(FILE, "utf8"));
    expect(timeless(kept)).toEqual(timeless(Object.fromEntries(recorded)));
  });

  test("are there for every operation that takes or answers JSON", () => {
    const operations = Object.values(api.paths).flatMap((item) => Object.values(item));
    for (const { operationId, requestBody, responses } of operations) {
      if (operationId === "getApiDocument") continue;
      for (const [type, { example }] of Object.entries(requestBody?.content ?? {})) {
        expect(example, `${operationId}, body, ${type}`).toBeDefined();
      }
      for (const [status, { content = {} }] of Object.entries(responses)) {
        if (Number(status) < 300 && JSON_TYPE in content) {
          expect(content[JSON_TYPE]?.example, `${operationId}, ${status}`).toBeDefined();
        }
      }
    }
  });
});
