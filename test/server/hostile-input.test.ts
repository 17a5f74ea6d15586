// What an attacker would send, to the app in this process: what an answer takes of its event loop, it takes of everybody's.
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { ApiDocument } from "../../functions/openapi.ts";
import { expectProblem, paths } from "../support/answers.ts";
import { type ApiMember, OPEN_OPERATIONS, textMembers } from "../support/api-members.ts";
import { startApp } from "../support/app.ts";
import { temporaryDir } from "../support/folder.ts";
import { worstBodies } from "../support/worst-bodies.ts";

const app = startApp({ TOKEN_SECRET: "a-secret-of-the-tests-with-32-characters" });
const MiB = 1024 * 1024;
/** Handshakes in the body, a secret in it, a form, a type in it. */
const PROVIDERS = ["slack", "zoom", "discord", "microsoft-graph", "twilio", "x", "github"];
const settingOf = (provider: string) => provider.toUpperCase().replaceAll("-", "_");

let document: ApiDocument;
beforeAll(async () => {
  document = await app.document();
  await app.call("PUT", "/v1/streams/none");
  await app.call("PUT", "/v1/streams/large", { maxMessageBytes: 4 * MiB });
  await app.call("PUT", "/v1/streams/none/groups/none");
});

/** What this thread has worked, in ms: other tests beside it do not count. */
function cpuMsSince(started: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(started);
  return (user + system) / 1_000;
}

/** What a route says of its largest body, in bytes. */
function largestBody({ operation }: ApiMember): number {
  const [, number, unit] = /^At most (\d+) (KiB|MiB)/.exec(operation.requestBody?.description ?? "") ?? [];
  if (number === undefined) throw new Error(`${operation.operationId} does not say how large a body may be`);
  return Number(number) * (unit === "KiB" ? 1024 : MiB);
}

/** For URLs and headers: as much as any server lets through. */
const OUTSIDE_BODIES = 64 * 1024;
/** What repeated makes patterns look back; a quadratic one takes seconds for 256 KiB. */
const RUNS = ["/", "a", " ", "0", "9", "-", "=", ":", ".", "+"].flatMap((unit) => [
  { unit, end: "", most: 256 * 1024 },
  // An end that does not fit. As long as the route takes: some of them, for the sake of time.
  { unit, end: "\n", most: ["/", "a", "0"].includes(unit) ? Number.POSITIVE_INFINITY : 256 * 1024 },
]);
/** Texts that may be of any length, as other clients have chosen them: they are looked for, and not found. */
const ANY_LENGTH =
  /^(listConsumers|listGroups) cursor|^listPending consumer|^removeConsumer consumer|^listDeadLetters type/;

describe("a long text in each member that a request may have", () => {
  test("is answered soon, with a status that is declared, and is not taken", async () => {
    const members = textMembers(document);
    expect(members.length).toBeGreaterThan(100);
    const slow: string[] = [];
    for (const member of members) {
      const title = `${member.operationId} ${member.name}`;
      const mayBeLong = ANY_LENGTH.test(title);
      const fits = member.place.includes("/") ? largestBody(member) - 1_024 : OUTSIDE_BODIES;
      for (const { unit, end, most } of RUNS) {
        // First a shorter one: where that is slow already, the long one would take hours.
        for (const length of new Set([Math.min(fits, 128 * 1024), Math.min(fits, most)])) {
          // No header can hold a line end.
          const request = member.requestWith(unit.repeat(length) + (member.place === "header" ? "" : end));
          const told = `${title} of ${length} times ${JSON.stringify(unit)}`;
          const started = process.threadCpuUsage();
          const answer = await app.call(request.method, request.path, request.body, request.headers);
          const tookMs = cpuMsSince(started);
          expect(Object.keys(member.operation.responses), told).toContain(String(answer.status));
          expect(answer.status, told).toBeLessThan(500);
          if (!mayBeLong) expect(answer.status, told).toBeGreaterThanOrEqual(400);
          expect(answer.text.length, told).toBeLessThan(2_000 + (mayBeLong ? 2 * length : 0));
          if (tookMs <= 1_000) continue;
          slow.push(`${told}: ${tookMs.toFixed(0)} ms`);
          break;
        }
      }
    }
    expect(slow).toEqual([]);
  }, 300_000);
});

test("a long text in each header that is read is answered soon, and is no fault of Weir's", async () => {
  for (const name of ["authorization", "content-type", "content-encoding", "accept", "idempotency-key"]) {
    for (const start of ["", "Bearer ", "application/json;", "text/html,"]) {
      for (const { unit } of RUNS) {
        const value = start + unit.repeat(OUTSIDE_BODIES) + start;
        for (const [method, path, body] of [
          ["GET", "/"],
          ["POST", "/v1/streams/none/messages", "{}"],
        ] as const) {
          const started = process.threadCpuUsage();
          const answer = await app.call(method, path, body, { [name]: value });
          expect(cpuMsSince(started), `${name} of ${start}${unit}`).toBeLessThan(1_000);
          expect(answer.status, `${name} of ${start}${unit}`).toBeLessThan(500);
          expect(answer.text.length).toBeLessThan(20_000);
        }
      }
    }
  }
});

/** Such a body as a batch of CloudEvents. */
function asEvents(body: string): string {
  const event = '[{"specversion":"1.0","id":"1","source":"/","type":"t",';
  return body.startsWith('{"messages":[{') ? body.slice('{"messages":'.length, -1).replace("[{", event) : body;
}

describe("a body that costs a parser much", () => {
  // An isolate has 128 MB, and pointers half as long as Node's.
  const HEAP_MB = 80;
  const names = Object.keys(worstBodies(1_000));

  test.each([
    ["application/json", (body: string) => body],
    ["application/cloudevents-batch+json", asEvents],
    ["application/vnd.shop+json", (body: string) => body],
  ])("is read as %s within 80 MB of heap, with all that is 8 MiB long", async (type, change) => {
    const dir = await temporaryDir();
    for (const [name, body] of Object.entries(worstBodies(8 * MiB - 1_024))) {
      await writeFile(join(dir, name), change(body()));
    }
    const script = join(import.meta.dirname, "fixtures", "read-bodies.ts");
    const child = spawnSync(process.execPath, [`--max-old-space-size=${HEAP_MB}`, script, dir, type, ...names]);
    const outcomes = child.stdout.toString().trim().split("\n");
    // Where memory ran out, the last line has the name alone.
    for (const outcome of outcomes) expect(outcome).toMatch(/: (taken|invalid-request|payload-too-large)$/);
    expect({ status: child.status, stderr: child.stderr.toString() }).toEqual({ status: 0, stderr: "" });
    expect(outcomes).toHaveLength(names.length);
  });

  test.each(names)("of as much as each other route takes, %s, is refused by it soon", async (name) => {
    const routes = new Map(textMembers(document).map((member) => [member.operationId, member]));
    for (const member of routes.values()) {
      if (member.operation.requestBody === undefined) continue;
      if (["produce", ...OPEN_OPERATIONS].includes(member.operationId)) continue;
      const body = worstBodies(largestBody(member) - 1_024)[name]?.() ?? "";
      const { method, path, headers } = member.requestWith("x");
      const started = process.threadCpuUsage();
      const answer = await app.call(method, path.replace(/\?.*/, ""), body, headers);
      expect(cpuMsSince(started), member.operationId).toBeLessThan(1_000);
      expect([400, 413], member.operationId).toContain(answer.status);
    }
  });
});

describe("a webhook that nobody signed", () => {
  const MOST = 4 * MiB;
  const sources = startApp(
    Object.fromEntries(PROVIDERS.map((name) => [`WEBHOOK_SECRET_${settingOf(name)}`, "0".repeat(64)])),
  );
  beforeAll(async () => {
    await sources.call("PUT", "/v1/streams/none");
    await Promise.all(
      PROVIDERS.map((provider) => sources.call("PUT", `/v1/webhooks/${provider}`, { stream: "none", provider })),
    );
  });

  test.each(Object.keys(worstBodies(1_000)))(
    "of 4 MiB, %s, is refused soon by whatever looks into bodies first",
    async (name) => {
      const body = worstBodies(MOST - 1_024)[name]?.() ?? "";
      for (const provider of PROVIDERS) {
        const started = process.threadCpuUsage();
        const answer = await sources.call("POST", `/hooks/${provider}`, body);
        expect(cpuMsSince(started), provider).toBeLessThan(1_000);
        // One of them is larger, however short it is asked for.
        expect([401, 413], provider).toContain(answer.status);
      }
    },
  );

  test("is read to 4 MiB and not a byte more", async () => {
    expectProblem(await sources.call("POST", "/hooks/github", "x".repeat(MOST)), "bad-signature");
    const { detail } = expectProblem(
      await sources.call("POST", "/hooks/github", "x".repeat(MOST + 1)),
      "payload-too-large",
    );
    expect(detail).toBe(`a body may have ${MOST} bytes here, got ${MOST + 1}`);
  });
});

describe("the limit of a body", () => {
  const id = "18446744073709551614-18446744073709551614";
  const spaced = (body: unknown) => JSON.stringify(body, null, 4);

  test("is said by the route, and kept to the byte", async () => {
    const routes = new Map(textMembers(document).map((member) => [member.operationId, member]));
    for (const member of routes.values()) {
      if (member.operation.requestBody === undefined || OPEN_OPERATIONS.includes(member.operationId)) continue;
      const { method, path } = member.requestWith("x");
      const most = largestBody(member);
      const send = (bytes: number) => app.call(method, path.replace(/\?.*/, ""), `{"?":1}${" ".repeat(bytes - 7)}`);
      expectProblem(await send(most), "invalid-request");
      const { detail } = expectProblem(await send(most + 1), "payload-too-large");
      expect(detail).toBe(`a body may have ${most} bytes here, got ${most + 1}`);
    }
  });

  test.each([
    ["/claim", { consumer: "c".repeat(128), ids: Array(1_000).fill(id) }],
    ["/replay", { ids: Array(1_000).fill(id) }],
    ["/dead-letters/redrive", { ids: Array(1_000).fill(id) }],
  ])("leaves room at %s for 1,000 of the longest ids, with white space", async (path, body) => {
    const answer = await app.call("POST", `/v1/streams/none/groups/none${path}`, spaced(body));
    expect({ status: answer.status, text: answer.text }).toMatchObject({ status: 200 });
  });

  test("leaves room for 100 of the longest scopes, with white space", async () => {
    const scope = Array(100).fill(`consume:${"s".repeat(128)}/${"g".repeat(128)}`);
    const answer = await app.call("POST", "/v1/tokens", spaced({ subject: "x", scope, expiresInMs: 1_000 }));
    expect(answer.status).toBe(200);
  });

  test.each(["/settle", "/consume"])("leaves room at %s for 1,000 of the longest leases and reasons", async (path) => {
    const lease = (i: number) => `${i}`.padEnd(1_000, "~");
    const retries = Array.from({ length: 1_000 }, (_, i) => ({
      lease: lease(i),
      delayMs: 43_200_000,
      reason: "\u20ac".repeat(1_024),
    }));
    const body = path === "/consume" ? { retries, consumer: "c", pollState: "x".repeat(1_000) } : { retries };
    const answer = await app.call("POST", `/v1/streams/none/groups/none${path}`, body);
    expect({ status: answer.status, stale: answer.json?.settled.stale.length }).toEqual({ status: 200, stale: 1_000 });
  });
});

describe("a payload", () => {
  const nested = (levels: number, around = "") => `${around}${"[".repeat(levels)}${"]".repeat(levels)}`;
  const produce = (body: string, type = "application/json") =>
    app.call("POST", "/v1/streams/large/messages", body, { "content-type": type });

  test.each([
    ["small", ""],
    ["large", " ".repeat(100_000)],
  ])("of 64 levels is taken, of 65 refused with its place, in a %s body", async (_, spaces) => {
    const bodyOf = (levels: number) => `{"messages":[{},{"type":"[[","data":${nested(levels)}}]}${spaces}`;
    expect((await produce(bodyOf(64))).status).toBe(201);
    const lines = (levels: number) => `{}\n{"data":${nested(levels, spaces)}}`;
    expect((await produce(lines(64), "application/x-ndjson")).status).toBe(201);
    for (const levels of [65, 1_000]) {
      for (const answer of [await produce(bodyOf(levels)), await produce(lines(levels), "application/x-ndjson")]) {
        const problem = expectProblem(answer, "invalid-request");
        expect(paths(problem)).toEqual(["messages[1].data"]);
        expect(problem.detail).toBe("messages[1].data: expected at most 64 levels of arrays and objects, got more");
      }
    }
  });

  test("of up to 500,000 arrays, objects and members is taken, and more refused as too large", async () => {
    const bodyOf = (arrays: number) => `{"messages":[{"data":[${Array(arrays).fill("[]").join(",")}]}]}`;
    // Beside them: the body, its member, its list, the message, its member, the list in it.
    expect((await produce(bodyOf(499_994))).status).toBe(201);
    const { detail } = expectProblem(await produce(bodyOf(499_995)), "payload-too-large");
    expect(detail).toBe("the body may hold 500000 arrays, objects and members in all, got more");
  });
});
