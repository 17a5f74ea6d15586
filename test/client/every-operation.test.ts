import { expect, test } from "vitest";
import { WeirClient } from "../../client/client.ts";
import { network } from "../support/client.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker();

/** What no client calls: pages for people, and what providers of webhooks send. */
const NOT_FOR_CLIENTS = ["getStart", "getReference", "receiveWebhook", "greetWebhook", "allowWebhook"];

const s = (weir: WeirClient) => weir.stream("s");
const g = (weir: WeirClient) => s(weir).group("g");
const w = (weir: WeirClient) => weir.webhook("w");

/** How the client calls each operation of the API document. */
const CALLS: Readonly<Record<string, (weir: WeirClient) => Promise<unknown>>> = {
  putStream: (weir) => s(weir).put(),
  listStreams: (weir) => weir.streams().first(),
  getStream: (weir) => s(weir).get(),
  deleteStream: (weir) => s(weir).delete(),
  trimStream: (weir) => s(weir).trim({ maxLength: 1 }),
  getRetention: (weir) => s(weir).retention(),
  produce: (weir) => s(weir).produce({ data: 1 }),
  readMessages: (weir) => s(weir).messages().first(),
  getMessage: (weir) => s(weir).message("1-0"),
  messageStates: (weir) => s(weir).states("1-0"),
  deleteMessage: (weir) => s(weir).deleteMessage("1-0"),
  listScheduled: (weir) => s(weir).scheduled().first(),
  getScheduled: (weir) => s(weir).scheduledMessage("later~1"),
  cancelScheduled: (weir) => s(weir).cancelScheduled("later~1"),
  putGroup: (weir) => g(weir).put(),
  listGroups: (weir) => s(weir).groups().first(),
  getGroup: (weir) => g(weir).get(),
  deleteGroup: (weir) => g(weir).delete(),
  seek: (weir) => g(weir).seek({ to: "latest" }),
  replay: (weir) => g(weir).replay({ ids: ["1-0"] }),
  consume: (weir) => g(weir).consume({ consumer: "c" }),
  settle: (weir) => g(weir).settle({ acks: ["l"] }),
  listPending: (weir) => g(weir).pending().first(),
  listDelayed: (weir) => g(weir).delayed().first(),
  claim: (weir) => g(weir).claim({ consumer: "c" }),
  listConsumers: (weir) => g(weir).consumers().first(),
  removeConsumer: (weir) => g(weir).removeConsumer("c"),
  listDeadLetters: (weir) => g(weir).deadLetters().first(),
  summarizeDeadLetters: (weir) => g(weir).deadLetterSummary(),
  getDeadLetter: (weir) => g(weir).deadLetter("1-0"),
  redrive: (weir) => g(weir).redrive({ all: true }),
  deleteDeadLetters: (weir) => g(weir).deleteDeadLetters({ all: true }),
  putWebhookSource: (weir) => w(weir).put({}),
  listWebhookSources: (weir) => weir.webhooks().first(),
  getWebhookSource: (weir) => w(weir).get(),
  deleteWebhookSource: (weir) => w(weir).delete(),
  verifyWebhook: (weir) => w(weir).verify({ id: "1-0" }),
  issueToken: (weir) => weir.issueToken({ subject: "s", scope: [], expiresInMs: 1_000 }),
  revokeToken: (weir) => weir.revokeToken({ id: "i" }),
  getToken: (weir) => weir.token(),
  runReaper: (weir) => weir.runReaper(),
  listReaperRuns: (weir) => weir.reaperRuns(),
  listAlerts: (weir) => weir.alerts(),
  getMetrics: (weir) => weir.metrics(),
  getHealth: (weir) => weir.health(),
  getReadiness: (weir) => weir.readiness(),
  getApiDocument: (weir) => weir.openapi(),
};

/** Each operation of the API document as `GET /v1/streams/{stream}`, by its operationId. */
async function documented(): Promise<Map<string, string>> {
  const { json } = await worker.call("GET", "/openapi.json");
  const found = new Map<string, string>();
  for (const [path, methods] of Object.entries<Record<string, { operationId?: string }>>(json.paths)) {
    for (const [method, { operationId }] of Object.entries(methods)) {
      if (operationId !== undefined) found.set(operationId, `${method.toUpperCase()} ${path}`);
    }
  }
  return found;
}

test("the client has every operation of the API document, and none that is not there", async () => {
  const operationIds = [...(await documented()).keys()].filter((id) => !NOT_FOR_CLIENTS.includes(id));
  expect(operationIds.length).toBeGreaterThan(40);
  expect(Object.keys(CALLS).sort()).toEqual(operationIds.sort());
});

test("each operation is sent with the method, and to the path, that the API document says", async () => {
  const operations = await documented();
  for (const [operationId, call] of Object.entries(CALLS)) {
    const { fetch, sent } = network(() => ({
      status: 200,
      headers: { "content-type": "application/json" },
      body: "{}",
    }));
    await call(new WeirClient({ url: "http://weir.test", token: "t", fetch }));
    const made = sent.map(({ method, path }) => `${method} ${decodeURIComponent(path)}`);
    const expected = operations.get(operationId)?.replaceAll(/\{\w+\}/g, "[^/?]+");
    expect(made, operationId).toEqual([expect.stringMatching(new RegExp(`^${expected}$`))]);
  }
});
