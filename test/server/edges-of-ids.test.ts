// The ids at the ends of what Redis counts in: it refuses some of them in some places, which must not become a fault.
import { beforeAll, expect, test } from "vitest";
import { LAST_ID } from "../../shared/ids.ts";
import { type ApiMember, apiMembers, typesOf } from "../support/api-members.ts";
import { startApp } from "../support/app.ts";
import { nativeClient } from "../support/redis.ts";

const app = startApp({ TOKEN_SECRET: "a-secret-of-the-tests-with-32-characters" });
const STREAM = "/v1/streams/none";
const GROUP = `${STREAM}/groups/none`;

const EDGES = [
  "0-0",
  "0-1",
  "0-18446744073709551615",
  "1-0",
  "18446744073709551615-0",
  "18446744073709551615-18446744073709551614",
  LAST_ID,
  "0",
  "9007199254740991",
  "1970-01-01",
  "9999-12-31T23:59:59.999Z",
  "-",
  "+",
];

/** Cursors of other lists, with ids and numbers as large as their form takes. */
const CURSORS = [
  "again:",
  "again:0-0~0.~0~c",
  `again:${LAST_ID}~999999999999999.zzzzzzzz~9999~c`,
  "again:99999999999999999999-99999999999999999999~1.a~1~c",
  "0~0.~0~",
  "999999999999999~999999999999999.zzzzzzzz~9999~c",
];

const ids: string[] = [];

beforeAll(async () => {
  await app.call("PUT", STREAM);
  await app.call("PUT", GROUP, { start: "earliest" });
  const messages = Array.from({ length: 4 }, (_, i) => ({ data: i }));
  ids.push(...(await app.call("POST", `${STREAM}/messages`, { messages })).json.ids);
  const { json } = await app.call("POST", `${GROUP}/consume`, { consumer: "c" });
  const [rejected, retried, retriedLater] = json.messages.map(({ lease }: { lease: string }) => ({ lease }));
  const retries = [
    { ...retried, delayMs: 0 },
    { ...retriedLater, delayMs: 3_600_000 },
  ];
  await app.call("POST", `${GROUP}/settle`, { rejects: [rejected], retries });
  await app.call("POST", `${GROUP}/consume`, { consumer: "c" });
});

/** The ids that a list answers for a cursor. */
async function idsAt(path: string, list: string): Promise<string[]> {
  const { status, json } = await app.call("GET", path);
  expect({ path, status, next: json.next }).toEqual({ path, status: 200, next: null });
  return json[list].map(({ id }: { id: string }) => id);
}

test("behind the last id there is nothing of a stream, and what it knows else of a group", async () => {
  expect(await idsAt(`${STREAM}/messages?cursor=${LAST_ID}`, "messages")).toEqual([]);
  expect(await idsAt(`${STREAM}/messages?cursor=0-0`, "messages")).toEqual(ids);
  expect(await idsAt(`${STREAM}/messages?cursor=0-0&order=desc`, "messages")).toEqual([]);
  expect(await idsAt(`${STREAM}/messages?cursor=${LAST_ID}&order=desc`, "messages")).toEqual(ids.toReversed());
  expect(await idsAt(`${GROUP}/dead-letters?cursor=${LAST_ID}`, "deadLetters")).toEqual([]);
  expect(await idsAt(`${GROUP}/pending?cursor=0-0`, "pending")).toEqual([ids[3], ids[1]]);
  // What was handed out again comes behind all that Redis itself has as pending.
  expect(await idsAt(`${GROUP}/pending?cursor=${LAST_ID}`, "pending")).toEqual([ids[1]]);
  const missing = await app.call("GET", `/v1/streams/missing/messages?cursor=${LAST_ID}`);
  expect(missing.json.code).toBe("unknown-stream");
});

test("a replay that ends with the last id that there may be comes to its end", async () => {
  const stream = "/v1/streams/full";
  await app.call("PUT", stream, { maxMessageBytes: 1_024 });
  await app.call("PUT", `${stream}/groups/g`, { start: "latest" });
  await app.call("POST", `${stream}/messages`, { messages: Array(99).fill({}) });
  await nativeClient().xadd(`${app.prefix}{full}`, LAST_ID, "data", "1");
  const { json } = await app.call("POST", `${stream}/groups/g/replay`, { start: "-", end: "+" });
  expect(json).toMatchObject({ replayed: 100 });
});

function edgesOf({ name, schema }: ApiMember): readonly unknown[] {
  const types = typesOf(schema);
  const numbers = types.includes("integer") ? [schema.minimum, schema.maximum] : [];
  const texts = types.includes("string") || schema.type === undefined ? EDGES : [];
  return [...texts, ...numbers, ...(name === "cursor" ? CURSORS : [])];
}

test("each of them, and each number at its bound, is no fault of Weir's wherever it may stand", async () => {
  const faults: string[] = [];
  const answered = new Set<number>();
  for (const member of apiMembers(await app.document())) {
    const isRead = member.operationId === "readMessages" && member.place === "query" && member.name !== "order";
    for (const edge of edgesOf(member)) {
      for (const more of ["", ...(isRead ? ["&order=desc"] : [])]) {
        const { method, path, body, headers } = member.requestWith(edge);
        const answer = await app.call(method, path + more, body, headers);
        answered.add(answer.status);
        const isDeclared = String(answer.status) in member.operation.responses;
        if (answer.status >= 500 || !isDeclared) {
          faults.push(`${member.operationId} ${member.place} ${member.name} ${edge}${more}: ${answer.text}`);
        }
      }
    }
  }
  expect(faults).toEqual([]);
  expect([...answered]).toContain(200);
});
