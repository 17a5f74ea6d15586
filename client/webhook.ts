import { bodyOf, type CallOptions, type Http, pathOf, read } from "./http.ts";
import { remove } from "./remove.ts";
import type * as Wire from "./wire.ts";

/** A webhook source. */
export class WebhookClient {
  readonly name: string;
  readonly #http: Http;
  readonly #path: string;

  /** @throws {InvalidRequestError} for a name that no URL can hold */
  constructor(http: Http, name: string) {
    this.#http = http;
    this.name = name;
    this.#path = pathOf`/v1/webhooks/${name}`;
  }

  /** Makes it, or changes its settings. */
  put(settings: Wire.WebhookSettings, options?: CallOptions): Promise<Wire.WebhookSource> {
    return bodyOf(this.#http, { method: "PUT", path: this.#path, json: settings, isRepeatable: true }, options);
  }

  get(options?: CallOptions): Promise<Wire.WebhookSource> {
    return read(this.#http, this.#path, {}, options);
  }

  /** Deletes it; its stream stays. */
  delete(options?: CallOptions): Promise<void> {
    return remove(this.#http, this.#path, options);
  }

  /** Verifies a stored message again, by its own bytes and headers, whatever its age. */
  verify(request: Wire.VerifyWebhookRequest, options?: CallOptions): Promise<Wire.VerifyWebhookAnswer> {
    const path = `${this.#path}/verify`;
    return bodyOf(this.#http, { method: "POST", path, json: request, isRepeatable: true }, options);
  }
}
