import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { ApiDocument } from "../../functions/openapi.ts";
import { Api } from "./api.ts";
import { AnswerCheck, type Complaint, parsed } from "./check.ts";
import { curlOf } from "./curl.ts";
import { HttpClient, type WireAnswer } from "./http.ts";
import { learn } from "./learn.ts";
import { MemoryBounds } from "./memory.ts";
import { type Command, cleanUp, commandsOf, type NativeStep, nativeSteps } from "./native.ts";
import { type FuzzRequest, makeRequest, type Plan, plans } from "./plan.ts";
import { Pool } from "./pool.ts";
import { differences, oddTypes, type RedisState, RedisWatch } from "./redis-state.ts";
import type { Target } from "./targets.ts";
import { isRefused, makeTokens, type TokenKind } from "./tokens.ts";

export interface FuzzOptions {
  readonly seed: number;
  readonly requests: number;
  /** When to stop, whatever is left. */
  readonly deadlineMs: number;
}

/** A fault that was found, and how to see it again. */
export interface Fault {
  /** Faults with the same are taken for one. */
  readonly signature: string;
  readonly text: string;
}

export interface FuzzReport {
  readonly requests: number;
  readonly faults: readonly Fault[];
  /** How often each operation answered each status: `produce 201`. */
  readonly answers: ReadonlyMap<string, number>;
  /** The most memory that was used, in words. */
  readonly memory: string;
}

const ANSWER_TIMEOUT_MS = 15_000;
/** How much is tried to make one failing request smaller. */
const MAX_SHRINKS = 150;
/** After so many different faults a run has said enough. */
const MAX_FAULTS = 60;
const SLOW_MS = 50;
const TOLD_BEFORE = 20;
/** Steps until all is deleted, and until what every request needs is put there again. */
const STEPS_A_LIFE = 400;
const STEPS_TO_MENDING = 50;

/** Fuzzes a target until its requests or its time are used up. */
export async function fuzz(target: Target, options: FuzzOptions): Promise<FuzzReport> {
  const client = new HttpClient(target.url);
  try {
    const response = await fetch(new URL("/openapi.json", target.url));
    const document: ApiDocument = JSON.parse(await response.text());
    return await new Fuzzer(target, client, new Api(document), await makeTokens()).run(options);
  } finally {
    client.close();
  }
}

interface Found {
  readonly signature: string;
  readonly told: string;
}

type Step = { readonly plan: Plan } | { readonly native: NativeStep };

function steps(api: Api): fc.Arbitrary<Step> {
  return fc.oneof(
    { arbitrary: plans(api).map((plan): Step => ({ plan })), weight: 12 },
    { arbitrary: nativeSteps.map((native): Step => ({ native })), weight: 1 },
  );
}

class Fuzzer {
  readonly #target: Target;
  readonly #client: HttpClient;
  readonly #api: Api;
  readonly #check: AnswerCheck;
  readonly #tokenOf: (kind: TokenKind) => string | undefined;
  readonly #watch: RedisWatch;
  readonly #memory: MemoryBounds;
  readonly #pool = new Pool();
  readonly #faults = new Map<string, Fault>();
  readonly #answers = new Map<string, number>();
  readonly #last: string[] = [];
  #requests = 0;
  #steps = 0;
  #state: RedisState | undefined;

  constructor(target: Target, client: HttpClient, api: Api, tokenOf: (kind: TokenKind) => string | undefined) {
    this.#target = target;
    this.#client = client;
    this.#api = api;
    this.#check = new AnswerCheck(api);
    this.#tokenOf = tokenOf;
    this.#watch = new RedisWatch(target.native, target.prefix);
    this.#memory = new MemoryBounds(target, this.#watch);
  }

  async run({ seed, requests, deadlineMs }: FuzzOptions): Promise<FuzzReport> {
    const isOver = () => this.#requests >= requests || Date.now() >= deadlineMs || this.#faults.size >= MAX_FAULTS;
    // fast-check ends at a failure: what is left goes on under the next seed.
    for (let part = 0; !isOver(); part++) await this.#runPart(seed + part, requests - this.#requests, deadlineMs);
    return {
      requests: this.#requests,
      faults: [...this.#faults.values()],
      answers: this.#answers,
      memory: this.#memory.report(),
    };
  }

  async #runPart(seed: number, requests: number, deadlineMs: number): Promise<void> {
    let found: (Found & { before: readonly string[] }) | undefined;
    let broken: { readonly error: unknown } | undefined;
    let shrinks = 0;
    const property = fc.asyncProperty(steps(this.#api), async (step) => {
      if (found !== undefined && ++shrinks > MAX_SHRINKS) return;
      const before = [...this.#last];
      if (broken !== undefined) return;
      const fault = await this.#take(step).catch((error: unknown) => {
        broken = { error };
      });
      if (fault === undefined) return;
      if (found === undefined) {
        if (this.#faults.has(fault.signature)) return;
        found = { ...fault, before };
      }
      if (fault.signature !== found.signature) return;
      found = { ...found, told: fault.told };
      throw new Error(fault.signature);
    });
    const { numRuns } = await fc.check(property, {
      seed,
      numRuns: requests,
      // A timer takes no more.
      interruptAfterTimeLimit: Math.min(Math.max(1, deadlineMs - Date.now()), 2 ** 31 - 1),
      markInterruptAsFailure: false,
    });
    // The fuzzer itself, not what it fuzzes.
    if (broken !== undefined) throw broken.error;
    if (found === undefined) return;
    const { signature, told, before } = found;
    const text = [
      `${signature} (${this.#target.name}, seed ${seed}, run ${numRuns})`,
      told,
      "the requests before it:",
      ...before.map((line) => `  ${line}`),
    ].join("\n");
    this.#faults.set(signature, { signature, text });
    console.error(`FAULT ${text}\n`);
  }

  /** What other clients broke is gone, and nothing grows without end. */
  async #endAll(): Promise<void> {
    for (const stream of this.#pool.all("stream")) await this.#doNatively(cleanUp(this.#target.prefix, stream));
    this.#mind("memory is bounded", await this.#memory.left());
  }

  /** A fault that no one request is to blame for. */
  #mind(rule: string, detail: string | undefined): void {
    if (detail === undefined || this.#faults.has(rule)) return;
    const text = [`${rule}: ${detail} (${this.#target.name})`, ...this.#last].join("\n  ");
    this.#faults.set(rule, { signature: rule, text });
    console.error(`FAULT ${text}\n`);
  }

  async #makeSome(): Promise<void> {
    const send = (method: string, target: string, body: object) =>
      fetch(new URL(target, this.#target.url), {
        method,
        headers: { authorization: this.#tokenOf("root") ?? "", "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    for (const stream of ["s0", "s1"]) {
      await send("PUT", `/v1/streams/${stream}`, {});
      this.#pool.learn("stream", { path: "" }, stream);
      for (const [group, settings] of Object.entries({ g0: { ackWaitMs: 1_000, maxDeliveries: 2 }, "g:1": {} })) {
        await send("PUT", `/v1/streams/${stream}/groups/${group}`, { start: "earliest", ...settings });
        this.#pool.learn("group", { path: "", stream }, group);
      }
    }
    this.#state = undefined;
  }

  async #take(step: Step): Promise<Found | undefined> {
    const age = this.#steps++ % STEPS_A_LIFE;
    if (age === 0) await this.#endAll();
    if (age % STEPS_TO_MENDING === 0) await this.#makeSome();
    if (age % STEPS_TO_MENDING === 1) this.#mind("memory is bounded", await this.#memory.exceeded());
    if ("native" in step) await this.#doNatively(commandsOf(step.native, this.#target.prefix, this.#pool));
    else return this.#try(makeRequest(step.plan, this.#api, this.#pool, this.#tokenOf));
  }

  /** What Redis refuses of it is not our matter. */
  async #doNatively(commands: readonly Command[]): Promise<void> {
    for (const [name = "", ...args] of commands) {
      await this.#target.native.call(String(name), ...args).catch(() => undefined);
      this.#note(`redis-cli ${[name, ...args].map((arg) => JSON.stringify(String(arg).slice(0, 200))).join(" ")}`);
    }
    this.#state = undefined;
  }

  /** Sends one request and checks all that follows from it. */
  async #try(request: FuzzRequest): Promise<Found | undefined> {
    const before = this.#state ?? (await this.#watch.look());
    await this.#watch.startCounting();
    const answer = await this.#client.send(request, ANSWER_TIMEOUT_MS).catch((error: Error) => error.message);
    if (request.breaksHttp) await this.#becomeQuiet();
    const { commands, cpuMs } = await this.#watch.cost();
    const slow = cpuMs > SLOW_MS ? await this.#watch.slowCommands() : [];
    this.#state = await this.#watch.look();
    this.#requests += 1;
    const curl = curlOf(request, this.#target.url, `${this.#target.name.replaceAll(" ", "-")}-${this.#requests}`);
    const complaints = this.#complaintsOf(request, answer, commands, before, this.#state);
    // Only what took the processor so long: on a busy machine Redis may have waited for its turn.
    for (const detail of slow) complaints.push({ rule: `no command takes Redis ${SLOW_MS} ms`, detail });
    const status = typeof answer === "object" ? answer.status : "none";
    const counted = `${request.operationId} ${status}`;
    this.#answers.set(counted, (this.#answers.get(counted) ?? 0) + 1);
    this.#note(`${status} ${curl.slice(0, 600)}`);
    if (typeof answer === "object") this.#learn(request, answer);
    const [first] = complaints;
    if (first === undefined) return undefined;
    const logged = this.#target.log().split("\n").at(-1) ?? "";
    const reason = Number(status) >= 500 ? (/"reason":"([^"]*)/.exec(logged)?.[1] ?? "") : "";
    const signature = `${first.rule}: ${first.about ?? `${request.operationId} ${status} ${reason}`.trim()}`;
    // What Weir says to itself of a fault.
    const log = Number(status) >= 500 ? `\n  logged ${logged.slice(0, 1_000)}` : "";
    const answered = typeof answer === "object" ? answer.text.slice(0, 500) : String(answer);
    const odd = oddTypes(before, this.#target.prefix);
    if (odd.length > 0) complaints.push({ rule: "before it, in Redis", detail: odd.join(", ") });
    const told = [
      curl,
      ...complaints.map(({ rule, detail }) => `  ${rule}: ${detail}`),
      `  answered ${status} ${answered}${log}`,
    ];
    return { signature, told: told.join("\n") };
  }

  /** A request that was given up may still be at work. */
  async #becomeQuiet(): Promise<void> {
    for (let before = -1; ; ) {
      const { commands } = await this.#watch.cost();
      if (commands === before) return;
      before = commands;
      await sleep(20);
    }
  }

  #note(line: string): void {
    this.#last.push(line);
    if (this.#last.length > TOLD_BEFORE) this.#last.shift();
  }

  #complaintsOf(
    request: FuzzRequest,
    answer: WireAnswer | string | undefined,
    commands: number,
    before: RedisState,
    after: RedisState,
  ): Complaint[] {
    if (request.breaksHttp && (typeof answer !== "object" || isOfServer(answer))) return [];
    if (answer === undefined) return [{ rule: "is answered", detail: "the connection was closed" }];
    if (typeof answer === "string") return [{ rule: "is answered", detail: answer }];
    return [
      ...this.#check.complaints(request, answer),
      ...this.#ofToken(request, answer),
      ...this.#ofBody(request, answer),
      ...timingComplaints(answer, commands),
      ...untouchedComplaints(request, answer, before, after),
    ];
  }

  #ofToken(request: FuzzRequest, { status }: WireAnswer): Complaint[] {
    const isGuarded = (this.#check.operationOf(request)?.security.length ?? 0) > 0;
    if (!isGuarded || !isRefused(request.token) || status === 401) return [];
    return [{ rule: "needs a token", detail: `${request.token}: ${status}` }];
  }

  /** What the document forbids is not taken. */
  #ofBody(request: FuzzRequest, { status }: WireAnswer): Complaint[] {
    const operation = this.#check.operationOf(request);
    if (operation === undefined || status >= 400 || request.body === undefined) return [];
    const json = parsed(request.body.toString());
    const type = request.headers.find(([name]) => name === "content-type")?.[1] ?? "";
    if (json === undefined || type !== "application/json") return [];
    const isPermitted = this.#check.permitsBody(operation, type, json.value);
    return isPermitted === false ? [{ rule: "what the document forbids is refused", detail: "it is taken" }] : [];
  }

  #learn(request: FuzzRequest, { status, text }: WireAnswer): void {
    const { scope } = request;
    if (text.includes('"unknown-stream"')) this.#pool.forget("stream", { path: "" }, scope.stream ?? "");
    if (text.includes('"unknown-group"')) this.#pool.forget("group", { ...scope, path: "" }, scope.group ?? "");
    if (status >= 400) return;
    if (scope.stream !== undefined) this.#pool.learn("stream", { path: "" }, scope.stream);
    if (scope.group !== undefined) this.#pool.learn("group", { path: "", stream: scope.stream ?? "" }, scope.group);
    if (request.operationId === "deleteStream") this.#pool.shrink(scope.stream ?? "");
    learn(this.#pool, scope, parsed(text)?.value);
  }
}

/** Refused before Weir sees it: by the server, which writes no problem. */
function isOfServer({ status, headers }: WireAnswer): boolean {
  return status >= 400 && status < 500 && !headers["content-type"]?.startsWith("application/problem+json");
}

function timingComplaints({ headers }: WireAnswer, commands: number): Complaint[] {
  const timing = headers["server-timing"];
  if (timing !== undefined && !/^redis;dur=[\d.]+;desc="\d+ commands?, \d+ round trips?"$/.test(timing)) {
    return [{ rule: "Server-Timing has its form", detail: timing }];
  }
  return commands > 0 && timing === undefined
    ? [{ rule: "Server-Timing where Redis was touched", detail: `${commands} commands` }]
    : [];
}

/** What only reads, or is refused, changes nothing. What a poll settled stays settled when it is refused by 429. */
function untouchedComplaints(
  { method, body, operationId }: FuzzRequest,
  { status }: WireAnswer,
  before: RedisState,
  after: RedisState,
): Complaint[] {
  const onlyReads = method === "GET" || method === "HEAD" || /"dryRun":true/.test(body?.toString() ?? "");
  const isRefused = status >= 400 && status < 500 && status !== 429;
  if (!onlyReads && !isRefused) return [];
  const told = differences(before, after);
  if (told.length === 0) return [];
  const rule = onlyReads ? "what only reads changes nothing" : "what is refused changes nothing";
  const about = `${operationId} ${status} ${told.map((one) => one.replaceAll(/^[^}]*}|:[^: ]*(?= is)/g, "")).sort()}`;
  return [{ rule, detail: told.slice(0, 5).join(", "), about }];
}
