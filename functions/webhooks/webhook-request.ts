/** A request as a provider made it; for a stored message, as far as verifying it again needs. */
export interface WebhookRequest {
  readonly method: string;
  /** As the provider knows it: the public one, with the query. */
  readonly url: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
}
