// The demo's webhook source: what GitHub is told, and what it does.
import { type Endpoint, send } from "./http.ts";
import { asObject, asText } from "./json.ts";
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

export class WebhookApi {
  readonly secret: string;
  readonly #endpoint: Endpoint;
  readonly #signal: AbortSignal;
  readonly #usage: Usage | undefined;

  /**
   * @param secret what the deployment has as WEBHOOK_SECRET_DEMO
   * @param signal calls off what is under way
   * @param usage counts what the requests cost
   */
  constructor(endpoint: Endpoint, secret: string, signal: AbortSignal, usage?: Usage) {
    this.secret = secret;
    this.#endpoint = endpoint;
    this.#signal = signal;
    this.#usage = usage;
  }

  /** The same source, with the costs counted there. */
  countedBy(usage: Usage): WebhookApi {
    return new WebhookApi(this.#endpoint, this.secret, this.#signal, usage);
  }

  /** @throws Error when the source is there, or the deployment has no secret for it */
  async create(stream: string): Promise<void> {
    const there = await send(this.#endpoint, {
      method: "GET",
      path: `/v1/webhooks/${SOURCE}`,
      accepts: ["not-found", "unknown-stream"],
      signal: this.#signal,
    });
    if (there.body !== undefined) {
      throw new Error(`There is a webhook source "${SOURCE}" already: another demo's, or yours. Delete it first.`);
    }
    const body = { stream, provider: "github", key: { pointer: "/repository/full_name" } };
    const answer = await send(this.#endpoint, {
      method: "PUT",
      path: `/v1/webhooks/${SOURCE}`,
      body,
      signal: this.#signal,
    });
    const secretIs = asText(asObject(answer.body, "the source").secretIs, "secretIs");
    if (secretIs === "set") return;
    await this.delete();
    throw new Error(`The Weir at ${this.#endpoint.url} has no ${SECRET_NAME}: set it there, and to the same here.`);
  }

  /** Deletes the source; that it is gone already is fine. */
  async delete(): Promise<void> {
    const request = { method: "DELETE", path: `/v1/webhooks/${SOURCE}`, signal: this.#signal } as const;
    await send(this.#endpoint, { ...request, accepts: ["not-found"] });
  }

  /** @throws Problem when it is refused */
  async post({ event, delivery, body }: Webhook, signature: string): Promise<void> {
    const usage = this.#usage && { usage: this.#usage };
    await send(this.#endpoint, {
      method: "POST",
      path: `/hooks/${SOURCE}`,
      text: body,
      headers: { "x-github-event": event, "x-github-delivery": delivery, "x-hub-signature-256": signature },
      signal: this.#signal,
      ...usage,
    });
  }
}
