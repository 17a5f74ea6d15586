import { setTimeout as sleep } from "node:timers/promises";
import type { Api } from "./api.ts";
import { AnswerCheck, type Complaint, parsed } from "./check.ts";
import { curlOf } from "./curl.ts";
import type { HttpClient, WireAnswer } from "./http.ts";
import { learn } from "./learn.ts";
import { MemoryBounds } from "./memory.ts";
import { type Command, cleanUp, commandsOf, type NativeStep } from "./native.ts";
import { type FuzzRequest, makeRequest, type Plan } from "./plan.ts";
import { Pool, type Scope } from "./pool.ts";
import { oddTypes, type RedisState, RedisWatch } from "./redis-state.ts";
import { brokenRules, type Exchange, placeOf } from "./rules.ts";
import type { Target } from "./targets.ts";
import type { TokenKind } from "./tokens.ts";

/** One step of a run: a request, or what another client does. */
export type Step = { readonly plan: Plan } | { readonly native: NativeStep };

/** Something that is wrong, and how to see it again. */
export interface Fault {
  /** Faults with the same are taken for one. */
  readonly signature: string;
  readonly text: string;
}

const ANSWER_TIMEOUT_MS = 15_000;
/** workerd holds a GET whose body was cut short, and answers nothing: not for as long as a test has. */
const BROKEN_TIMEOUT_MS = 2_000;
/** Steps until all is deleted, and until what every request needs is put there again. */
const STEPS_A_LIFE = 400;
const STEPS_TO_MENDING = 50;
const SLOW_MS = 50;
const TOLD_BEFORE = 20;

/** Takes steps against a target, one after the other, and keeps what the answers teach. */
export class Session {
  /** How often each operation answered each status: `produce 201`. */
  readonly answers = new Map<string, number>();
  requests = 0;
  readonly #target: Target;
  readonly #client: HttpClient;
  readonly #api: Api;
  readonly #check: AnswerCheck;
  readonly #tokenOf: (kind: TokenKind) => string | undefined;
  readonly #watch: RedisWatch;
  readonly #memory: MemoryBounds;
  readonly #pool = new Pool();
  readonly #last: string[] = [];
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

  /** The most memory that was used, in words. */
  get memory(): string {
    return this.#memory.report();
  }

  /** What was done last, oldest first. */
  get last(): readonly string[] {
    return [...this.#last];
  }

  /** @returns what is wrong with what followed */
  async take(step: Step): Promise<Fault[]> {
    const kept = await this.#keepHouse();
    if ("plan" in step)
      return [...kept, ...(await this.#try(makeRequest(step.plan, this.#api, this.#pool, this.#tokenOf)))];
    await this.#doNatively(commandsOf(step.native, this.#target.prefix, this.#pool));
    return kept;
  }

  /** Now and then: deletes all, puts there what every request needs, and looks at the memory. */
  async #keepHouse(): Promise<Fault[]> {
    const age = this.#steps++ % STEPS_A_LIFE;
    const exceeded =
      age === 0 ? await this.#endAll() : age % STEPS_TO_MENDING === 1 ? await this.#memory.exceeded() : undefined;
    if (age % STEPS_TO_MENDING === 0) await this.#makeSome();
    return exceeded === undefined ? [] : [{ signature: "memory is bounded", text: exceeded }];
  }

  /** What other clients broke is gone, and nothing grows without end. @returns what is left all the same */
  async #endAll(): Promise<string | undefined> {
    for (const stream of this.#pool.all("stream")) await this.#doNatively(cleanUp(this.#target.prefix, stream));
    return this.#memory.left();
  }

  async #makeSome(): Promise<void> {
    for (const stream of ["s0", "s1"]) {
      await this.#put(`/v1/streams/${stream}`, {});
      this.#pool.learn("stream", { path: "" }, stream);
      for (const [group, settings] of Object.entries({ g0: { ackWaitMs: 1_000, maxDeliveries: 2 }, "g:1": {} })) {
        await this.#put(`/v1/streams/${stream}/groups/${group}`, { start: "earliest", ...settings });
        this.#pool.learn("group", { path: "", stream }, group);
      }
    }
    this.#state = undefined;
  }

  async #put(target: string, body: object): Promise<void> {
    await fetch(new URL(target, this.#target.url), {
      method: "PUT",
      headers: { authorization: this.#tokenOf("root") ?? "", "content-type": "application/json" },
      body: JSON.stringify(body),
    });
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
  async #try(request: FuzzRequest): Promise<Fault[]> {
    const before = this.#state ?? (await this.#watch.look());
    await this.#watch.startCounting();
    const timeoutMs = request.breaksHttp ? BROKEN_TIMEOUT_MS : ANSWER_TIMEOUT_MS;
    const answer = await this.#client.send(request, timeoutMs).catch((error: Error) => error.message);
    if (request.breaksHttp) await this.#becomeQuiet();
    const { commands, cpuMs } = await this.#watch.cost();
    const slow = cpuMs > SLOW_MS ? await this.#watch.slowCommands() : [];
    this.#state = await this.#watch.look();
    const { operation, names } = placeOf(this.#api, request);
    const complaints = this.#complaintsOf(request, answer, { commands, before, after: this.#state, operation, names });
    // Only what took the processor so long: on a busy machine Redis may have waited for its turn.
    for (const detail of slow) complaints.push({ rule: `no command takes Redis ${SLOW_MS} ms`, detail });
    const what = `${operation?.operationId ?? "elsewhere"} ${typeof answer === "object" ? answer.status : "none"}`;
    const faults = complaints.map((complaint) => this.#faultOf(complaint, what, request, answer, before));
    this.requests += 1;
    this.answers.set(what, (this.answers.get(what) ?? 0) + 1);
    this.#note(`${what} ${curlOf(request, this.#target.url).slice(0, 600)}`);
    if (typeof answer === "object" && operation !== undefined)
      this.#learn({ path: operation.path, ...names }, operation.operationId, answer);
    return faults;
  }

  #complaintsOf(
    request: FuzzRequest,
    answer: WireAnswer | string | undefined,
    rest: Omit<Exchange, "request" | "answer" | "prefix">,
  ): Complaint[] {
    if (request.breaksHttp && (typeof answer !== "object" || isOfServer(answer))) return [];
    if (answer === undefined) return [{ rule: "is answered", detail: "the connection was closed" }];
    if (typeof answer === "string") return [{ rule: "is answered", detail: answer }];
    return [
      ...this.#check.complaints(request, rest.operation, answer),
      ...brokenRules({ request, answer, prefix: this.#target.prefix, ...rest }, this.#check),
    ];
  }

  #faultOf(
    { rule, detail, about }: Complaint,
    what: string,
    request: FuzzRequest,
    answer: WireAnswer | string | undefined,
    before: RedisState,
  ): Fault {
    const isOurs = typeof answer === "object" && answer.status >= 500;
    const logged = isOurs ? (this.#target.log().split("\n").at(-1) ?? "") : "";
    const reason = /"reason":"([^"]*)/.exec(logged)?.[1] ?? "";
    const odd = oddTypes(before, this.#target.prefix);
    const lines = [
      () => curlOf(request, this.#target.url, `${this.#target.name.replaceAll(" ", "-")}-${this.requests}`),
      () => `  ${rule}: ${detail}`,
      () => `  answered ${what}: ${typeof answer === "object" ? answer.text.slice(0, 500) : answer}`,
      () => (logged === "" ? "" : `  logged ${logged.slice(0, 1_000)}`),
      () => (odd.length === 0 ? "" : `  in Redis before it: ${odd.join(", ")}`),
    ];
    return {
      signature: `${rule}: ${about ?? `${what} ${reason}`.trim()}`,
      get text() {
        return lines
          .map((line) => line())
          .filter((line) => line !== "")
          .join("\n");
      },
    };
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

  #learn(scope: Scope, operationId: string, { status, text }: WireAnswer): void {
    const { stream, group } = scope;
    if (text.includes('"unknown-stream"')) this.#pool.forget("stream", { path: "" }, stream ?? "");
    if (text.includes('"unknown-group"')) this.#pool.forget("group", { ...scope, path: "" }, group ?? "");
    if (status >= 400) return;
    if (stream !== undefined) this.#pool.learn("stream", { path: "" }, stream);
    if (group !== undefined) this.#pool.learn("group", { path: "", stream: stream ?? "" }, group);
    if (operationId === "deleteStream") this.#pool.shrink(stream ?? "");
    learn(this.#pool, scope, parsed(text)?.value);
  }
}

/** Refused before Weir sees it: by the server, which writes no problem; miniflare's own Worker tells that the client has gone. */
function isOfServer({ status, headers, text }: WireAnswer): boolean {
  if (headers["content-type"]?.startsWith("application/problem+json")) return false;
  return (status >= 400 && status < 500) || text.startsWith("Error: Network connection lost");
}
