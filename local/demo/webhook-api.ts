// The demo's webhook source: what GitHub is told, and what it does.
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { NotFoundError } from "../../client/index.ts";
import { connect, type Endpoint } from "./connect.ts";
import type { Usage } from "./usage.ts";

/** A webhook as GitHub posts it. */
export interface Webhook {
  readonly event: string;
  readonly delivery: string;
  /** JSON text: its bytes are what is signed. */
  readonly body: string;
}

/** The source's name, which says how its secret is called: WEBHOOK_SECRET_DEMO. */
const SOURCE = "demo";
export const SECRET_NAME = "WEBHOOK_SECRET_DEMO";

const TIMEOUT_MS = 30_000;
const MOST_TRIES = 5;
const Problem = z.object({ code: z.string(), detail: z.string() });

/** A webhook was not taken: `code` is Weir's, which is stable. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.code = code;
  }
}

export class WebhookApi {
  readonly secret: string;
  readonly #endpoint: Endpoint;
  readonly #signal: AbortSignal;

  /**
   * @param secret what the deployment has as WEBHOOK_SECRET_DEMO
   * @param signal calls off what is under way
   */
  constructor(endpoint: Endpoint, secret: string, signal: AbortSignal) {
    this.secret = secret;
    this.#endpoint = endpoint;
    this.#signal = signal;
  }

  /** @throws Error when the source is there, or the deployment has no secret for it */
  async create(stream: string): Promise<void> {
    if (await this.#isThere()) {
      throw new Error(`There is a webhook source "${SOURCE}" already: another demo's, or yours. Delete it first.`);
    }
    const settings = { stream, provider: "github", key: { pointer: "/repository/full_name" } } as const;
    const { secretIs } = await this.#source.put(settings, { signal: this.#signal });
    if (secretIs === "set") return;
    await this.delete();
    throw new Error(`The Weir at ${this.#endpoint.url} has no ${SECRET_NAME}: set it there, and to the same here.`);
  }

  /** Deletes the source; that it is gone already is fine. */
  async delete(): Promise<void> {
    await unlessNotFound(this.#source.delete({ signal: this.#signal }));
  }

  /**
   * Posts a webhook, and again when Weir says `Retry-After`: it is told by its delivery id.
   *
   * @param usage counts what that costs
   * @throws {Refused} with what Weir answered
   */
  async post({ event, delivery, body }: Webhook, signature: string, usage?: Usage): Promise<void> {
    const headers = {
      "content-type": "application/json",
      "x-github-event": event,
      "x-github-delivery": delivery,
      "x-hub-signature-256": signature,
    };
    for (let tries = 1; ; tries += 1) {
      const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(TIMEOUT_MS)]);
      const answer = await fetch(`${this.#endpoint.url}/hooks/${SOURCE}`, { method: "POST", headers, body, signal });
      const text = await answer.text();
      usage?.add({ status: answer.status, ...costOf(answer.headers) });
      if (answer.ok) return;
      const { code, detail } = Problem.parse(JSON.parse(text));
      const message = `POST /hooks/${SOURCE}: HTTP ${answer.status} ${code}: ${detail}.`;
      const retryAfterS = answer.headers.get("retry-after");
      if (retryAfterS === null || tries === MOST_TRIES) throw new Refused(message, code);
      this.#endpoint.log(`${message} Again in ${retryAfterS} s.`);
      await sleep(Number(retryAfterS) * 1_000, undefined, { signal: this.#signal });
    }
  }

  get #source() {
    return connect(this.#endpoint).webhook(SOURCE);
  }

  async #isThere(): Promise<boolean> {
    return (await unlessNotFound(this.#source.get({ signal: this.#signal }))) !== undefined;
  }
}

/** @returns undefined: it is not there */
export async function unlessNotFound<Found>(request: Promise<Found>): Promise<Found | undefined> {
  try {
    return await request;
  } catch (error) {
    if (error instanceof NotFoundError) return undefined;
    throw error;
  }
}

/** What Redis was asked, as `Server-Timing` says: `redis;dur=1.2;desc="3 commands, 1 round trip"`. */
function costOf(headers: Headers): { redisCommands: number; redisRoundTrips: number } {
  const [, commands, trips] =
    /\bredis;.*?desc="(\d+) commands?, (\d+) round trips?"/.exec(headers.get("server-timing") ?? "") ?? [];
  return { redisCommands: Number(commands ?? 0), redisRoundTrips: Number(trips ?? 0) };
}
