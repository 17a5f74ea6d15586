// `Symbol.asyncDispose` is in no yearly library: without this line the types need one of their own in who uses them.
/// <reference lib="esnext.disposable" preserve="true" />
export { WeirClient } from "./client.ts";
export * from "./errors.ts";
export { GroupClient } from "./group.ts";
export type { Attempt, CallOptions, ClientOptions, Fetch, FetchAnswer, FetchInit } from "./http.ts";
export { Pages, steps } from "./pages.ts";
export type { ProduceBodyOptions, ProduceOptions } from "./produce.ts";
export { StreamClient } from "./stream.ts";
export { WebhookClient } from "./webhook.ts";
export type * from "./wire.ts";
