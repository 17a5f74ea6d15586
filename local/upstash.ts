// An Upstash-compatible REST endpoint in front of any Redis: the production transport, run locally.
// Its error texts are Upstash's as far as they are documented or were reported; where they are not, a comment says so.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { type Liberties, libertiesOfEnvironment } from "./liberties.ts";
import { limitedRead, limitedReadInTransaction } from "./pending-limit.ts";
import type { Planned } from "./planned.ts";
import { RedisLink, RedisUnreachable } from "./redis-link.ts";
import { type Arg, elements, errorText, toJson } from "./resp.ts";
import { plainInfo, strictRefusal } from "./script-rules.ts";
import { RewordedScripts } from "./scripts.ts";
import { refusal } from "./upstash-commands.ts";
import { billedCommands } from "./usage.ts";

/** A running endpoint. */
export interface UpstashEndpoint {
  url: string;
  token: string;
  port: number;
  /** Added to every answer, half before and half after the work; may be set at any time. */
  latencyMs: number;
  /** Since the start or the last reset. Commands of other clients of the same Redis are among them. */
  usage(): Promise<Usage>;
  resetUsage(): Promise<void>;
  close(): Promise<void>;
}

/** Billed commands by Upstash's rule, and HTTP requests answered. */
export interface Usage {
  commands: number;
  roundTrips: number;
}

/**
 * `port` is a free one when left out; `latencyMs` is 0 when left out; `liberties` are those of the environment's
 * `UPSTASH_LIBERTIES`, so none unless it is set.
 */
export interface UpstashOptions {
  redisUrl: string;
  token: string;
  port?: number;
  latencyMs?: number;
  liberties?: Liberties;
}

/** Upstash's limit on the free and pay-as-you-go plans, for a request and for the reply to one command. */
export const MAX_REQUEST_BYTES = 10 * 1024 * 1024;

interface Answer {
  status: number;
  body: string;
}

/**
 * Starts the endpoint on 127.0.0.1.
 *
 * @throws the system's error when the port is taken, RedisUnreachable when the Redis does not answer
 */
export async function startUpstash(options: UpstashOptions): Promise<UpstashEndpoint> {
  const link = new RedisLink(options.redisUrl);
  const handler = new RestHandler(link, options.token, options.liberties ?? libertiesOfEnvironment());
  handler.latencyMs = options.latencyMs ?? 0;
  await handler.resetUsage();
  const server = createServer((request, response) => void handler.handle(request, response));
  // Clients keep connections for as long as they like: closing an idle one races with their next request.
  server.keepAliveTimeout = 120_000;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(options.port ?? 0, "127.0.0.1", resolve);
  await promise.catch(async (error: unknown) => {
    await link.close();
    throw error;
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    token: options.token,
    port,
    get latencyMs() {
      return handler.latencyMs;
    },
    set latencyMs(value) {
      handler.latencyMs = value;
    },
    usage: () => handler.usage(),
    resetUsage: () => handler.resetUsage(),
    close: async () => {
      const closed = new Promise<void>((done) => server.close(() => done()));
      server.closeAllConnections();
      await closed;
      await link.close();
    },
  };
}

/** A request that is answered with an error and never gets to Redis. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

class RestHandler {
  latencyMs = 0;
  #roundTrips = 0;
  #billedBefore = 0;
  #syncs = 0;
  readonly #link: RedisLink;
  readonly #token: string;
  readonly #liberties: Liberties;
  readonly #scripts: RewordedScripts;

  constructor(link: RedisLink, token: string, liberties: Liberties) {
    this.#link = link;
    this.#token = token;
    this.#liberties = liberties;
    this.#scripts = new RewordedScripts(liberties);
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.latencyMs > 0) await sleep(this.latencyMs / 2);
    const { status, body } = await this.#answer(request).catch(asAnswer);
    if (this.latencyMs > 0) await sleep(this.latencyMs / 2);
    this.#roundTrips++;
    const headers = { "Content-Type": "application/json", "Upstash-Sync-Token": `zC=${(++this.#syncs).toString(36)}` };
    response.writeHead(status, headers).end(body);
  }

  async usage(): Promise<Usage> {
    return { commands: (await this.#billed()) - this.#billedBefore, roundTrips: this.#roundTrips };
  }

  async resetUsage(): Promise<void> {
    this.#billedBefore = await this.#billed();
    this.#roundTrips = 0;
  }

  async #billed(): Promise<number> {
    const [reply] = await this.#link.send([["INFO", "commandstats"]]);
    return billedCommands(reply?.toString() ?? "");
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? "/", "http://127.0.0.1");
    this.#authorize(request, url);
    if (!["GET", "POST", "PUT", "HEAD"].includes(request.method ?? ""))
      throw new Refused(405, "ERR method not allowed");
    const body = await readBody(request);
    const base64 = request.headers["upstash-encoding"] === "base64";
    if (url.pathname === "/pipeline") return this.#pipeline(parseBatch(body), base64);
    if (url.pathname === "/multi-exec") return this.#transaction(parseBatch(body), base64);
    return this.#single(url.pathname === "/" ? parseCommand(body) : commandOfPath(url, body), base64);
  }

  #authorize(request: IncomingMessage, url: URL): void {
    const given = request.headers.authorization?.replace(/^Bearer /i, "") ?? url.searchParams.get("_token");
    if (given === this.#token) return;
    const help = "See https://docs.upstash.com/redis/troubleshooting/http_unauthorized for details.";
    throw new Refused(401, `WRONGPASS invalid or missing auth token. ${help}`);
  }

  async #single(command: Arg[], base64: boolean): Promise<Answer> {
    if (command.length === 0) throw new Refused(400, "ERR empty command");
    const planned = this.#plan(command, limitedRead);
    if (typeof planned === "string") throw new Refused(400, planned);
    const [body = ""] = await this.#run([planned], base64);
    return { status: body.startsWith('{"error"') ? 400 : 200, body };
  }

  /** All commands go to Redis in one write and in order; what is refused has its place among the answers. */
  async #pipeline(commands: Arg[][], base64: boolean): Promise<Answer> {
    const plans = commands.map((command) => {
      return command.length > 0 ? this.#plan(command, limitedRead) : "ERR empty pipeline command";
    });
    return { status: 200, body: `[${(await this.#run(plans, base64)).join(",")}]` };
  }

  /** One item for each plan. What a full Redis refuses only in a transaction comes after the others. */
  async #run(plans: readonly (Planned | string)[], base64: boolean): Promise<string[]> {
    const replies = await this.#link.send(plans.flatMap((plan) => (typeof plan === "string" ? [] : plan.commands)));
    const items = itemsOf(plans, replies, base64);
    return Promise.all(items.map((item, i) => this.#whenFull(plans[i], item, base64)));
  }

  async #whenFull(plan: Planned | string | undefined, item: string, base64: boolean): Promise<string> {
    const instead = typeof plan === "object" ? plan.whenFull : undefined;
    if (instead === undefined || !item.startsWith('{"error":"OOM ')) return item;
    return itemOf(instead, await this.#link.send(instead.commands), base64);
  }

  /** In one write on one connection nothing comes between MULTI and EXEC, so it needs no connection of its own. */
  async #transaction(commands: Arg[][], base64: boolean): Promise<Answer> {
    const plans: Planned[] = [];
    for (const command of commands) {
      const plan = command.length > 0 ? this.#plan(command, limitedReadInTransaction) : "ERR empty pipeline command";
      if (typeof plan === "string") throw new Refused(400, plan);
      plans.push(plan);
    }
    const replies = await this.#link.send([["MULTI"], ...plans.flatMap((plan) => plan.commands), ["EXEC"]]);
    const executed = replies.at(-1);
    if (!executed || errorText(executed) !== undefined) throw new Refused(400, queueingError(replies));
    const items = itemsOf(plans, elements(executed) ?? [], base64);
    return { status: 200, body: `[${items.join(",")}]` };
  }

  /** What goes to Redis for a command, or the error that refuses it. */
  #plan(command: Arg[], limited: (args: Arg[]) => Planned): Planned | string {
    const name = String(command[0]).toUpperCase();
    const refused = refusal(name, command) ?? strictRefusal(name, command, this.#liberties);
    if (refused !== undefined) return refused;
    const info = plainInfo(name, command, this.#liberties);
    if (info !== undefined) return info;
    // Reading one's own pending entries, and NOACK, add nothing to the list.
    if (name === "XREADGROUP" && command.includes(">")) return limited(command);
    return this.#scripts.plan(name, command);
  }
}

/** The first error while queueing says what was wrong; EXEC itself only that there was one. */
function queueingError(replies: readonly Buffer[]): string {
  for (const reply of replies) {
    const text = errorText(reply);
    if (text !== undefined) return text;
  }
  return "ERR transaction discarded";
}

function itemsOf(plans: readonly (Planned | string)[], replies: readonly Buffer[], base64: boolean): string[] {
  let next = 0;
  return plans.map((plan) => {
    if (typeof plan === "string") return errorItem(plan);
    const from = next;
    next += plan.commands.length;
    return itemOf(plan, replies.slice(from, next), base64);
  });
}

function itemOf(planned: Planned, replies: readonly Buffer[], base64: boolean): string {
  const reply = planned.reply ? planned.reply(replies) : replies[0];
  if (!reply) throw new Error("Redis answered less than was asked");
  const error = errorText(reply);
  if (error !== undefined) return errorItem(error);
  // Upstash applies the limit to replies as well, by which time the command has run.
  if (reply.length > MAX_REQUEST_BYTES) return errorItem(tooLarge(reply.length));
  return `{"result":${toJson(reply, base64)}}`;
}

function errorItem(text: string): string {
  return `{"error":${JSON.stringify(text)}}`;
}

function tooLarge(actual: number): string {
  return `ERR max request size exceeded. Limit: ${MAX_REQUEST_BYTES} bytes, Actual: ${actual} bytes. See https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded for details`;
}

/** A body that is too large is read to its end and thrown away: an answer in the middle would look like a lost connection. */
async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size <= MAX_REQUEST_BYTES) chunks.push(chunk);
  }
  if (size > MAX_REQUEST_BYTES) throw new Refused(400, tooLarge(size));
  return chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks);
}

function parseCommand(body: Buffer): Arg[] {
  const command = commandOf(parseJson(body));
  if (!command) throw new Refused(400, "ERR failed to parse command");
  return command;
}

function parseBatch(body: Buffer): Arg[][] {
  const parsed = parseJson(body);
  const commands = Array.isArray(parsed) ? parsed.map(commandOf) : undefined;
  if (!commands?.every((command) => command !== undefined)) {
    throw new Refused(400, "ERR failed to parse pipeline request");
  }
  if (commands.length === 0) throw new Refused(400, "ERR empty pipeline request");
  return commands;
}

/** undefined when it is not JSON: no JSON value is undefined. */
function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function commandOf(value: unknown): Arg[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const command: Arg[] = [];
  for (const part of value) {
    if (part !== null && typeof part === "object") return undefined;
    // Upstash's clients send null as the word; what the server makes of a bare null is not documented.
    command.push(typeof part === "string" ? part : String(part));
  }
  return command;
}

/** `/set/key?EX=10` with a body: the path's parts, the body as one argument, then the query's names and values. */
function commandOfPath(url: URL, body: Buffer): Arg[] {
  const command: Arg[] = url.pathname.slice(1).split("/").map(decodeURIComponent);
  if (body.length > 0) command.push(body);
  for (const [name, value] of url.searchParams) {
    if (name !== "_token") command.push(name, ...(value === "" ? [] : [value]));
  }
  return command;
}

function asAnswer(error: unknown): Answer {
  if (error instanceof Refused) return { status: error.status, body: errorItem(error.message) };
  const unreachable = error instanceof RedisUnreachable;
  const text = error instanceof Error ? error.message : String(error);
  return { status: unreachable ? 503 : 500, body: errorItem(`ERR ${text}`) };
}
