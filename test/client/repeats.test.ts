import { beforeAll, describe, expect, test } from "vitest";
import {
  AccessError,
  FullError,
  InvalidRequestError,
  NoAnswerError,
  NotFoundError,
  OutcomeUnknownError,
  PayloadTooLargeError,
  TooManyError,
  UnavailableError,
  UnexpectedAnswerError,
} from "../../client/errors.ts";
import type { ClientOptions } from "../../client/http.ts";
import type { StreamClient } from "../../client/stream.ts";
import { clientOf, errorOf, type Fault, hurry, network, problem, type Sent } from "../support/client.ts";
import { startWorker } from "../support/worker.ts";

const worker = startWorker({ vars: { TOKEN_SECRET: "a secret of the tests with 32 characters" } });
const HTML = { "content-type": "text/html", server: "nginx" };
const CUT = { status: 200, headers: { "content-type": "application/json" }, body: '{"name":"st' } as const;
let made = 0;

/** A stream with a group `g`, over a network that does all right. */
async function newStream(): Promise<StreamClient> {
  const stream = clientOf(worker).stream(`r${made++}`);
  await stream.put();
  await stream.group("g").put({ start: "earliest" });
  return stream;
}

/** A stream over a network that does with the requests of a method what it is told, one after the other. */
async function over(faults: readonly (Fault | undefined)[], options: Partial<ClientOptions> & { of?: string } = {}) {
  const { of = "POST", ...rest } = options;
  const direct = await newStream();
  let met = 0;
  const net = network(({ method }) => (method === of ? faults[met++] : undefined));
  const stream = clientOf(worker, { fetch: net.fetch, ...rest }).stream(direct.name);
  const sent = () => net.sent.filter(({ method }) => method === of);
  return { direct, stream, group: stream.group("g"), net, sent, run: <R>(work: () => Promise<R>) => hurry(net, work) };
}

const times = (count: number, fault: Fault) => Array.from({ length: count }, () => fault);
const keysOf = (sent: readonly Sent[]) => [...new Set(sent.map(({ headers }) => headers["idempotency-key"]))];
const pausesOf = (sent: readonly Sent[]) => sent.slice(1).map(({ atMs }, i) => atMs - (sent[i]?.atMs ?? 0));

/** What passes, by how it looks to the client. */
const PASSING: readonly [string, Fault][] = [
  ["no connection", "no-connection"],
  ["a lost answer", "lost-answer"],
  ["an answer that never ends", "no-end"],
  ["an answer that is cut", CUT],
  ["500 internal-error", problem(500, "internal-error")],
  ["502 of a proxy", { status: 502, headers: HTML, body: "<html>" }],
  ["503 redis-unavailable", problem(503, "redis-unavailable", { "retry-after": "2" })],
  ["503 outcome-unknown", problem(503, "outcome-unknown", { "retry-after": "2" })],
  ["504 without a body", { status: 504 }],
  ["408 of a proxy", { status: 408, headers: HTML }],
  ["429 of a proxy", { status: 429, headers: HTML }],
  ["429 rate-limited", problem(429, "rate-limited", { "retry-after": "60" })],
];

describe("what passes", () => {
  test.each(PASSING)("%s is met by a repeat, of a read and of a produce, which appends once", async (_, fault) => {
    const { direct, stream, run, sent } = await over([fault, fault]);
    expect(await run(() => stream.produce([{ data: 1 }, { data: 2 }]))).toHaveLength(2);
    expect(await direct.get()).toMatchObject({ length: 2 });
    expect(sent()).toHaveLength(3);
    expect(keysOf(sent())).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/)]);
    const read = await over([fault, fault], { of: "GET" });
    expect(await read.run(() => read.stream.get())).toMatchObject({ length: 0 });
    expect(read.sent()).toHaveLength(3);
  });

  test.each(PASSING)(
    "%s is met by so many repeats as `retry` says, the call's before the client's",
    async (_, fault) => {
      const always = await over(times(20, fault), { of: "GET", retry: 2 });
      await always.run(() => errorOf(always.stream.get()));
      expect(always.sent()).toHaveLength(3);
      await always.run(() => errorOf(always.stream.get({ retry: 0 })));
      expect(always.sent()).toHaveLength(4);
      await always.run(() => errorOf(always.stream.messages({}, { retry: 1 }).toArray()));
      expect(always.sent()).toHaveLength(6);
      const never = await over(times(20, fault), { retry: 0 });
      await never.run(() => errorOf(never.stream.produce({ data: 1 })));
      expect(never.net.sent).toHaveLength(1);
    },
  );

  test("is told by its class, with code, status and Retry-After, when it does not pass", async () => {
    const tell = async (fault: Fault) => {
      const { run, stream } = await over(times(9, fault), { of: "GET", retry: 1 });
      return run(() => errorOf(stream.get()));
    };
    const no = await tell("no-connection");
    expect(no).toBeInstanceOf(NoAnswerError);
    expect(no).toMatchObject({ code: "no-answer", status: 0, cause: expect.any(TypeError) });
    expect(no.message).toMatch(/^GET \/v1\/streams\/r\d+: no answer from http:\/\/[\d.:]+ \(connect ECONNREFUSED\)$/);
    const late = await tell("no-end");
    expect(late).toBeInstanceOf(NoAnswerError);
    expect(late.message).toContain("none within 15000 ms");
    const down = await tell(problem(503, "redis-unavailable", { "retry-after": "2" }));
    expect(down).toBeInstanceOf(UnavailableError);
    expect(down).toMatchObject({ code: "redis-unavailable", status: 503, retryAfterMs: 2_000 });
    const proxy = await tell({ status: 502, headers: HTML, body: "<html>Bearer root-token" });
    expect(proxy).toBeInstanceOf(UnexpectedAnswerError);
    expect(proxy).toMatchObject({ code: "unexpected-answer", status: 502, retryAfterMs: undefined });
    expect(proxy.message).toMatch(/got status 502, text\/html from nginx$/);
    expect(await tell(problem(429, "rate-limited"))).toBeInstanceOf(TooManyError);
    expect(await tell(problem(503, "outcome-unknown"))).toBeInstanceOf(OutcomeUnknownError);
  });

  test("a request that arrives twice appends once, and settles once", async () => {
    const { direct, stream, group, run } = await over(["doubled", undefined, "doubled"]);
    const [id] = await run(() => stream.produce({ data: 1 }));
    expect((await direct.messages().toArray()).map((message) => message.id)).toEqual([id]);
    const { messages } = await group.consume({ consumer: "c" });
    expect(await group.settle({ acks: messages.map(({ lease }) => lease) })).toMatchObject({ acked: 0, stale: [] });
    expect(await direct.group("g").get()).toMatchObject({ pending: 0, deadLetters: 0 });
  });
});

describe("pauses", () => {
  test("grow from attempt to attempt, and are never the same", async () => {
    const { run, stream, sent } = await over(times(9, "no-connection"), { of: "GET", retry: 8 });
    await run(() => errorOf(stream.get()));
    const pauses = pausesOf(sent());
    for (const [i, ms] of pauses.entries()) {
      const most = Math.min(10_000, 200 * 2 ** i);
      expect(ms).toBeGreaterThanOrEqual(most / 2 - 1);
      expect(ms).toBeLessThanOrEqual(most + 1);
    }
    expect(new Set(pauses).size).toBeGreaterThan(4);
  });

  test.each([
    ["seconds", () => "30"],
    ["a date", () => new Date(Date.now() + 30_000).toUTCString()],
  ])("are as long as Retry-After says, in %s, and not all of the same length", async (_, retryAfter) => {
    const { name } = await newStream();
    const faulty = network(({ number }) =>
      number < 3 ? problem(503, "redis-unavailable", { "retry-after": retryAfter() }) : undefined,
    );
    const client = clientOf(worker, { fetch: faulty.fetch }).stream(name);
    await hurry(faulty, () => client.get());
    const [one = 0, other = 0] = pausesOf(faulty.sent);
    for (const ms of [one, other]) {
      // A date has whole seconds.
      expect(ms).toBeGreaterThan(28_900);
      expect(ms).toBeLessThan(36_100);
    }
    expect(one).not.toBe(other);
  });

  test.each(["7200", new Date(Date.now() + 7_200_000).toUTCString(), "9".repeat(400)])(
    "that Retry-After wants to be of hours are left to the caller: %s",
    async (retryAfter) => {
      for (const [status, code] of [[503, "redis-unavailable"] as const, [429, "rate-limited"] as const]) {
        const { run, stream, sent } = await over([problem(status, code, { "retry-after": retryAfter })], { of: "GET" });
        const error = await run(() => errorOf(stream.get()));
        expect(error.retryAfterMs).toBeGreaterThan(7_000_000);
        expect(sent()).toHaveLength(1);
      }
    },
  );

  test.each(["", "soon", "-5", "0", new Date(0).toUTCString()])(
    "are the usual ones where Retry-After says nothing: %j",
    async (retryAfter) => {
      const fault = problem(503, "redis-unavailable", { "retry-after": retryAfter });
      const { run, stream, sent } = await over([fault], { of: "GET" });
      await run(() => stream.get());
      expect(pausesOf(sent())[0]).toBeLessThanOrEqual(201);
    },
  );
});

describe("what does not pass", () => {
  test.each([
    ["413 payload-too-large", problem(413, "payload-too-large"), PayloadTooLargeError],
    ["507 redis-full", problem(507, "redis-full", { "retry-after": "1" }), FullError],
    ["500 misconfigured", problem(500, "misconfigured"), UnavailableError],
    ["501 not-available", problem(501, "not-available"), UnavailableError],
    ["429 too-many-pending", problem(429, "too-many-pending", { "retry-after": "1" }), TooManyError],
    ["400 invalid-request", problem(400, "invalid-request"), InvalidRequestError],
    ["418 of a later Weir", problem(418, "teapot"), InvalidRequestError],
    ["401 with a token that is text", problem(401, "unauthenticated"), AccessError],
    ["200 of something else", { status: 200, headers: HTML, body: "<html>" }, UnexpectedAnswerError],
    ["200 without a body", { status: 200 }, UnexpectedAnswerError],
    ["404 of something else", { status: 404, headers: HTML, body: "<html>" }, UnexpectedAnswerError],
    [
      "a problem of something else",
      {
        status: 403,
        headers: { "content-type": "application/problem+json" },
        body: '{"type":"about:blank","status":403}',
      },
      UnexpectedAnswerError,
    ],
    [
      "a problem with a code of another kind",
      { status: 403, headers: { "content-type": "application/problem+json" }, body: '{"code":403,"status":403}' },
      UnexpectedAnswerError,
    ],
    [
      "a problem that is none",
      { status: 403, headers: { "content-type": "application/problem+json" }, body: "null" },
      UnexpectedAnswerError,
    ],
  ] satisfies [string, Fault, unknown][])("%s is not repeated", async (_, fault, Class) => {
    const { run, stream, group, sent } = await over([fault, fault, fault]);
    for (const work of [() => stream.produce({ data: 1 }), () => group.consume({ consumer: "c" })]) {
      const error = await run(() => errorOf(work()));
      expect(error).toBeInstanceOf(Class);
      if (typeof fault === "object") expect(error.status).toBe(fault.status);
    }
    expect(sent()).toHaveLength(2);
  });

  test("too-many-pending tells what was settled all the same", async () => {
    const settled = { acked: 2, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };
    const body = JSON.stringify({ code: "too-many-pending", status: 429, detail: "d", settled });
    const headers = { "content-type": "application/problem+json", "retry-after": "3" };
    const { run, group } = await over([{ status: 429, headers, body }]);
    const error = await run(() => errorOf(group.consume({ consumer: "c" })));
    expect(error).toMatchObject({ code: "too-many-pending", settled, retryAfterMs: 3_000 });
  });

  test.each([301, 302, 303, 307, 308])("a redirect (%i) is followed nowhere, by nobody", async (status) => {
    const { run, stream, net } = await over([{ status, headers: { location: "http://127.0.0.1:1/" } }]);
    const error = await run(() => errorOf(stream.produce({ data: 1 })));
    expect(error).toBeInstanceOf(UnexpectedAnswerError);
    expect(error.status).toBe(status);
    expect(net.sent).toHaveLength(1);
  });

  test("a redirect as browsers show it, with status 0, is not taken for no answer", async () => {
    let asked = 0;
    const fetch = async () => {
      asked++;
      return { status: 0, headers: new Headers(), text: async () => "" };
    };
    expect(await errorOf(clientOf(worker, { fetch }).token())).toBeInstanceOf(UnexpectedAnswerError);
    expect(asked).toBe(1);
  });
});

describe("what must not happen twice", () => {
  const UNSURE: Fault[] = [
    "lost-answer",
    "no-end",
    problem(500, "internal-error"),
    CUT,
    { status: 502, headers: HTML },
  ];

  test.each(UNSURE)("a release is never repeated, nor a replay, nor a claim: %j", async (fault) => {
    const { run, group, sent } = await over(times(9, fault));
    const works = [
      () => group.settle({ releases: ["x"] }),
      () => group.consume({ consumer: "c", releases: ["x"] }),
      () => group.replay({ start: "-" }),
      () => group.claim({ consumer: "c" }),
    ];
    for (const work of works) await run(() => errorOf(work()));
    expect(sent()).toHaveLength(works.length);
  });

  test("all of these are repeated where nothing ran: rate-limited", async () => {
    const direct = await newStream();
    await direct.produce({ data: 1 });
    const [delivery] = (await direct.group("g").consume({ consumer: "c" })).messages;
    const limited = network(({ number }) =>
      number === 1 ? problem(429, "rate-limited", { "retry-after": "1" }) : undefined,
    );
    const again = clientOf(worker, { fetch: limited.fetch }).stream(direct.name).group("g");
    const settled = await hurry(limited, () => again.settle({ releases: [delivery?.lease ?? ""] }));
    expect(settled).toMatchObject({ released: 1, stale: [] });
  });

  test("a release whose answer was lost gives back one delivery, not the next one of the same name", async () => {
    const { run, direct, group } = await over([undefined, "lost-answer"]);
    await direct.produce({ data: 1 });
    const [delivery] = (await group.consume({ consumer: "c" })).messages;
    await run(() => errorOf(group.settle({ releases: [delivery?.lease ?? ""] })));
    expect((await group.consume({ consumer: "c" })).messages).toMatchObject([{ deliveries: 1 }]);
    expect(await direct.group("g").get()).toMatchObject({ pending: 1, delayed: 0 });
  });

  test("a replay whose answer was lost has handed out once what was asked for", async () => {
    const { run, direct, group, sent } = await over([undefined, "lost-answer"]);
    await direct.produce([{ data: 1 }, { data: 2 }]);
    await group.consume({ consumer: "c" });
    expect(await run(() => errorOf(group.replay({ start: "-" })))).toBeInstanceOf(NoAnswerError);
    expect(await direct.group("g").get()).toMatchObject({ delayed: 2 });
    expect(sent()).toHaveLength(2);
  });

  test("an acknowledgement, a retry and a rejection whose answers were lost are repeated, and done once", async () => {
    const { run, direct, group, sent } = await over([undefined, "lost-answer"]);
    await direct.produce([{ data: 1 }, { data: 2 }, { data: 3 }]);
    const [a, b, c] = (await group.consume({ consumer: "c" })).messages.map(({ lease }) => lease);
    const request = { acks: [a ?? ""], retries: [{ lease: b ?? "", delayMs: 60_000 }], rejects: [{ lease: c ?? "" }] };
    expect(await run(() => group.settle(request))).toMatchObject({ retried: 0, stale: [{}, {}] });
    expect(await direct.group("g").get()).toMatchObject({ pending: 0, delayed: 1, deadLetters: 1 });
    expect(sent()).toHaveLength(3);
  });
});

describe("deleting", () => {
  test("resolves where the answer of the attempt that did it was lost", async () => {
    const { run, direct, stream } = await over(
      Array.from({ length: 9 }, (_, i) => (i % 2 === 0 ? "lost-answer" : undefined)),
      {
        of: "DELETE",
      },
    );
    const [id = "", later = ""] = await direct.produce([{ data: 1 }, { data: 2, delayMs: 60_000 }]);
    await direct.group("g").consume({ consumer: "c" });
    expect(await run(() => stream.group("g").removeConsumer("c"))).toBeUndefined();
    expect(await run(() => stream.deleteMessage(id))).toBeUndefined();
    expect(await run(() => stream.cancelScheduled(later))).toBeUndefined();
    expect(await run(() => stream.group("g").delete())).toBeUndefined();
    expect(await run(() => stream.delete())).toBeUndefined();
    expect(await errorOf(direct.get())).toBeInstanceOf(NotFoundError);
  });

  test("what was never there is not found, also where only a refusal made it a repeat", async () => {
    const { run, stream, sent } = await over([undefined, problem(429, "rate-limited"), undefined], { of: "DELETE" });
    expect(await run(() => errorOf(stream.group("x").delete()))).toBeInstanceOf(NotFoundError);
    expect(await run(() => errorOf(stream.group("g").removeConsumer("x")))).toBeInstanceOf(NotFoundError);
    expect(sent()).toHaveLength(3);
  });

  test("dead letters whose answer was lost is repeated, and goes on", async () => {
    const { run, direct, group } = await over(["lost-answer"], { of: "DELETE" });
    await direct.produce({ data: 1 });
    const [delivery] = (await direct.group("g").consume({ consumer: "c" })).messages;
    await direct.group("g").settle({ rejects: [{ lease: delivery?.lease ?? "" }] });
    expect(await run(() => group.deleteDeadLetters({ all: true }))).toEqual({ deleted: 0, next: null });
  });
});

describe("a produce", () => {
  let writer: string;
  beforeAll(async () => {
    const issue = { subject: "p", scope: ["produce:*"], expiresInMs: 3_600_000 };
    writer = (await clientOf(worker).issueToken(issue)).token;
  });
  const stored = async (stream: StreamClient) => (await stream.get()).length;

  test("ends as unknown at half of the stream's dedupeWindowMs, in which the same key appends nothing twice", async () => {
    const { run, direct, stream, sent } = await over(times(99, "lost-answer"), { retry: 50 });
    await direct.put({ dedupeWindowMs: 1_000 });
    const error = await run(() => errorOf(stream.produce({ data: 1 })));
    expect(error).toBeInstanceOf(OutcomeUnknownError);
    expect(error).toMatchObject({ code: "outcome-unknown", status: 0, cause: expect.any(NoAnswerError) });
    const [first, ...more] = sent();
    expect(more.length).toBeGreaterThan(0);
    for (const { atMs } of more) expect(atMs - (first?.atMs ?? 0)).toBeLessThan(500);
    expect(keysOf(sent())).toHaveLength(1);
    expect(await stored(direct)).toBe(1);
  });

  test("by who may only produce is repeated for half of the usual window, and no longer", async () => {
    const { run, direct, stream, sent } = await over(times(999, "no-connection"), { retry: 500, token: writer });
    expect(await run(() => errorOf(stream.produce({ data: 1 })))).toBeInstanceOf(OutcomeUnknownError);
    const took = (sent().at(-1)?.atMs ?? 0) - (sent()[0]?.atMs ?? 0);
    expect(took).toBeGreaterThan(130_000);
    expect(took).toBeLessThan(150_000);
    expect(await stored(direct)).toBe(0);
  });

  test("keeps the key that it was given, over repeats", async () => {
    const { run, stream, sent } = await over(["lost-answer", "no-connection"]);
    const ids = await run(() => stream.produce({ data: 1 }, { idempotencyKey: "batch-7" }));
    expect(keysOf(sent())).toEqual(["batch-7"]);
    expect(await stream.produce({ data: 1 }, { idempotencyKey: "batch-7" })).toEqual(ids);
  });

  test("of scheduled messages, bodies and events is repeated in the same way", async () => {
    const { run, direct, stream } = await over(["lost-answer", undefined, "lost-answer", undefined, "lost-answer"]);
    const [later] = await run(() => stream.produce({ data: 1, delayMs: 60_000 }));
    expect(await direct.scheduled().toArray()).toMatchObject([{ id: later }]);
    const [body] = await run(() => stream.produceBody("text", { contentType: "text/plain" }));
    const [event] = await run(() => stream.produceEvents({ specversion: "1.0", id: "1", source: "/s", type: "t" }));
    expect((await direct.messages().toArray()).map(({ id }) => id)).toEqual([body, event]);
  });

  test("without a key is not repeated after a lost answer, and is where nothing was stored", async () => {
    const { run, direct, stream, sent } = await over([
      "lost-answer",
      problem(429, "rate-limited", { "retry-after": "30" }),
    ]);
    expect(await run(() => errorOf(stream.produce({ data: 1 }, { idempotent: false })))).toBeInstanceOf(NoAnswerError);
    expect(await stored(direct)).toBe(1);
    expect(await run(() => stream.produce({ data: 2 }, { idempotent: false }))).toHaveLength(1);
    expect(await stored(direct)).toBe(2);
    expect(keysOf(sent())).toEqual([undefined]);
  });

  test("that was only refused is repeated however long that takes: its window has not begun", async () => {
    const limited = problem(429, "rate-limited", { "retry-after": "30" });
    const down = problem(503, "redis-unavailable", { "retry-after": "5" });
    const { run, direct, stream, net } = await over([limited, down, limited, undefined]);
    await direct.put({ dedupeWindowMs: 1_000 });
    expect(await run(() => stream.produce({ data: 1 }))).toHaveLength(1);
    expect(net.sent.map(({ method }) => method)).toEqual(["POST", "POST", "POST", "POST"]);
  });

  test("that was refused first has all of its window for the attempts after that", async () => {
    const limited = problem(429, "rate-limited", { "retry-after": "30" });
    const { run, direct, stream } = await over([limited, "lost-answer"]);
    await direct.put({ dedupeWindowMs: 2_000 });
    expect(await run(() => stream.produce({ data: 1 }))).toHaveLength(1);
    expect(await stored(direct)).toBe(1);
  });

  test("whose last attempt was refused after one that may have stored it is told as unknown", async () => {
    for (const code of ["rate-limited", "redis-unavailable"]) {
      const refused = problem(code === "rate-limited" ? 429 : 503, code, { "retry-after": "3" });
      const { run, stream } = await over(["lost-answer", refused], { retry: 1 });
      const error = await run(() => errorOf(stream.produce({ data: 1 })));
      expect(error).toBeInstanceOf(OutcomeUnknownError);
      expect(error).toMatchObject({ code: "outcome-unknown", retryAfterMs: 3_000, cause: { code } });
      const sure = await over([refused, refused], { retry: 1 });
      expect(await sure.run(() => errorOf(sure.stream.produce({ data: 1 })))).toMatchObject({ code });
    }
  });

  test("whose stream's window cannot be asked for counts that as an attempt", async () => {
    const direct = await newStream();
    const dead = network(({ number }) => (number === 1 ? "lost-answer" : "no-connection"));
    const client = clientOf(worker, { fetch: dead.fetch, retry: 3 }).stream(direct.name);
    expect(await hurry(dead, () => errorOf(client.produce({ data: 1 })))).toBeInstanceOf(NoAnswerError);
    expect(dead.sent.map(({ method }) => method)).toEqual(["POST", "GET", "GET", "GET"]);
    expect(await stored(direct)).toBe(1);
  });
});
