import { readFile, writeFile } from "node:fs/promises";
import { sign } from "@octokit/webhooks-methods";
import { beforeAll, describe, expect, test } from "vitest";
import type { ApiDocument } from "../../functions/openapi.ts";
import { type Answer, startWorker } from "../support/worker.ts";

// The samples of the API document were really sent and answered, by this. `SAMPLES=write` records them anew.
const FILE = "functions/docs/samples.json";
const JSON_TYPE = "application/json";
const NDJSON = "application/x-ndjson";
const EVENT = "application/cloudevents+json";
const BATCH = "application/cloudevents-batch+json";

const GITHUB_SECRET = "a secret of the samples";

// Over TCP: what the REST endpoint hides depends on its liberties.
const worker = startWorker({
  transport: "tcp",
  vars: {
    TOKEN_SECRET: "a secret of the tests, long enough",
    WEBHOOK_SECRET_GITHUB: GITHUB_SECRET,
    WEBHOOK_SECRET_X: "x",
    PUBLIC_URL: "https://events.example.com",
  },
});

interface Sample {
  request?: Record<string, unknown>;
  answer?: Record<string, unknown>;
}

const recorded = new Map<string, Sample>();
let api: ApiDocument;

interface Kept {
  readonly accept?: string;
  /** The media type that it is kept under. */
  readonly as?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends a request and keeps it, with its answer, under its operation's name. */
async function record(
  method: string,
  path: string,
  body?: unknown,
  type = JSON_TYPE,
  { accept = JSON_TYPE, as = type, headers: more = {} }: Kept = {},
): Promise<Answer["json"]> {
  const headers = { "content-type": type, accept, ...more };
  const answer = await worker.call(method, path, body, headers);
  expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
  const { operationId = "" } = operationAt(method, path.split("?", 1)[0] ?? "") ?? {};
  const before = recorded.get(operationId);
  recorded.set(operationId, {
    ...((before?.request ?? body) !== undefined && { request: { ...before?.request, [as]: body } }),
    ...(answer.json !== undefined && { answer: { [accept]: answer.json, ...before?.answer } }),
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

const event = {
  specversion: "1.0",
  id: "A234-1234-1234",
  source: "https://shop.example/orders",
  type: "order.paid",
  time: "2026-01-31T12:00:00Z",
  partitionkey: "4711",
  data: { order: 4711 },
};

/** What comes and goes as a CloudEvent, or as bytes. */
async function runThroughEvents(): Promise<void> {
  const messages = "/v1/streams/events/messages";
  await worker.call("PUT", "/v1/streams/events");
  const { ids } = await record("POST", messages, event, EVENT);
  await record("POST", messages, [event], BATCH);
  await record("POST", `${messages}?type=note&key=4711`, "Any text, or bytes", "text/plain", { as: "*/*" });
  await record("GET", `${messages}?limit=1`, undefined, JSON_TYPE, { accept: BATCH });
  await record("GET", `${messages}/${ids[0]}`, undefined, JSON_TYPE, { accept: EVENT });
}

/** A webhook of GitHub's, and X's handshake. */
async function runThroughWebhooks(): Promise<void> {
  const source = "/v1/webhooks/github";
  await worker.call("PUT", "/v1/streams/webhooks");
  await record("PUT", source, { stream: "webhooks", provider: "github", key: { pointer: "/repository/full_name" } });
  const body = JSON.stringify({ action: "opened", repository: { full_name: "octo/hello" } });
  const headers = {
    "x-github-event": "pull_request",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "x-hub-signature-256": await sign(GITHUB_SECRET, body),
  };
  await record("POST", "/hooks/github", body, JSON_TYPE, { as: "*/*", headers });
  await record("GET", "/v1/webhooks");
  await record("GET", source);
  const { messages } = (await worker.call("GET", "/v1/streams/webhooks/messages")).json;
  await record("POST", `${source}/verify`, { id: messages[0].id });
  await worker.call("PUT", "/v1/webhooks/x", { stream: "webhooks", provider: "x" });
  await record("GET", "/hooks/x?crc_token=3efb1ad2");
  await worker.call("DELETE", "/v1/webhooks/x");
}

/** One pass over the API, as a shop and its mailer would use it. */
async function runThrough(): Promise<void> {
  await record("GET", "/");
  await record("GET", "/healthz");
  await record("GET", "/readyz");
  const issued = { subject: "shop", scope: ["produce:orders"], expiresInMs: 86_400_000 };
  const { id, expiresAt } = await record("POST", "/v1/tokens", issued);
  await record("POST", "/v1/tokens/revoke", { id, expiresAt });
  await record("GET", "/v1/token");

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
  await record("GET", `${GROUP}/dead-letters/summary`);
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
  await runThroughEvents();
  await runThroughWebhooks();
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
  return value
    .replaceAll(/\blater~[\w.~-]+/g, "later")
    .replaceAll(/\b(\d{13}(-\d+)?|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\b/g, "id");
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
