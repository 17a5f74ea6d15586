import { bodyOf, type Call, type CallOptions, type ClientOptions, Http, read } from "./http.ts";
import { Pages } from "./pages.ts";
import { StreamClient } from "./stream.ts";
import { WebhookClient } from "./webhook.ts";
import type * as Wire from "./wire.ts";

/**
 * A Weir deployment. Every operation throws a {@link WeirError} for what Weir answered, or that it did not; what is safe to
 * repeat is repeated, with growing pauses, as `Retry-After` says.
 *
 * @example
 * const weir = new WeirClient({ url: "https://weir.example.com", token: process.env.WEIR_TOKEN ?? "" });
 * await weir.stream("orders").produce({ type: "order.paid", data: { total: 12.5 } });
 */
export class WeirClient {
  readonly #http: Http;

  /** @throws {TypeError} when `url` is none of HTTP, `timeoutMs` is below 1, or `retry` is below 0 */
  constructor(options: ClientOptions) {
    this.#http = new Http(options);
  }

  /** How long an attempt may take, in milliseconds. */
  get timeoutMs(): number {
    return this.#http.timeoutMs;
  }

  /**
   * A stream by its name; nothing is asked yet.
   * @throws {InvalidRequestError} for a name that no URL can hold: "", ".", ".."
   */
  stream(name: string): StreamClient {
    return new StreamClient(this.#http, name);
  }

  /** The streams by name. */
  streams(query: Wire.PageQuery = {}, options?: CallOptions): Pages<Wire.StreamSummary, Wire.StreamPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, "/v1/streams", { ...query, cursor }, options),
      ({ streams }) => streams,
    );
  }

  /** A webhook source by its name; nothing is asked yet. */
  webhook(source: string): WebhookClient {
    return new WebhookClient(this.#http, source);
  }

  /** The webhook sources by name, of streams that the token may read. */
  webhooks(query: Wire.PageQuery = {}, options?: CallOptions): Pages<Wire.WebhookSource, Wire.WebhookPage> {
    return new Pages(
      (cursor = query.cursor) => read(this.#http, "/v1/webhooks", { ...query, cursor }, options),
      ({ webhooks }) => webhooks,
    );
  }

  /** What the client's own token permits. */
  token(options?: CallOptions): Promise<Wire.TokenInfo> {
    return read(this.#http, "/v1/token", {}, options);
  }

  /** Issues an access token; root token only. */
  issueToken(request: Wire.IssueTokenRequest, options?: CallOptions): Promise<Wire.IssuedToken> {
    // A second token that nobody holds does no harm.
    return bodyOf(this.#http, { method: "POST", path: "/v1/tokens", json: request, isRepeatable: true }, options);
  }

  /** Revokes an access token: it is refused everywhere within 10 seconds. Root token only. */
  async revokeToken(request: Wire.RevokeTokenRequest, options?: CallOptions): Promise<void> {
    const call: Call = { method: "POST", path: "/v1/tokens/revoke", json: request, isRepeatable: true };
    await this.#http.send(call, options);
  }

  /** Runs the scheduled work now, and reports on it. */
  runReaper(options?: CallOptions): Promise<Wire.ReaperRun> {
    return bodyOf(this.#http, { method: "POST", path: "/v1/reaper/run", isRepeatable: true }, options);
  }

  /** The reports of the last runs of the scheduled work, newest first. */
  async reaperRuns(options?: CallOptions): Promise<readonly Wire.ReaperRun[]> {
    return (await read<Wire.ReaperRuns>(this.#http, "/v1/reaper", {}, options)).runs;
  }

  /** What fires, the longest first. */
  async alerts(options?: CallOptions): Promise<readonly Wire.Alert[]> {
    return (await read<Wire.Alerts>(this.#http, "/v1/alerts", {}, options)).alerts;
  }

  /** The metrics in Prometheus' text format. */
  metrics(options?: CallOptions): Promise<string> {
    return bodyOf(this.#http, { method: "GET", path: "/metrics", isText: true, isRepeatable: true }, options);
  }

  /** Whether the process answers. */
  health(options?: CallOptions): Promise<Wire.Status> {
    return read(this.#http, "/healthz", {}, options);
  }

  /** Whether Redis answers. */
  readiness(options?: CallOptions): Promise<Wire.Status> {
    return read(this.#http, "/readyz", {}, options);
  }

  /** The OpenAPI document of the deployment. */
  openapi(options?: CallOptions): Promise<unknown> {
    return read(this.#http, "/openapi.json", {}, options);
  }
}
