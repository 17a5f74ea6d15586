// `Symbol.asyncDispose` is in no yearly library: without this line the types need one of their own in who uses them.
/// <reference lib="esnext.disposable" preserve="true" />
export { WeirClient } from "./client.ts";
export type { EventPage } from "./cloud-events.ts";
export { type ConsumedOnce, type ConsumeOnceOptions, consumeOnce } from "./consumer/consume-once.ts";
export { Consumer, type StopOptions, type Stopped } from "./consumer/consumer.ts";
export type { ConsumerCounters, ConsumerEvents } from "./consumer/intake.ts";
export type { MessagesOptions } from "./consumer/messages.ts";
export type { BatchContext, ConsumerOptions, HandlerContext } from "./consumer/options.ts";
export { type ErrorDecision, RejectError, RetryError, type RetryOptions } from "./consumer/outcome.ts";
export type { ReceivedMessage } from "./consumer/received.ts";
export type { Issues, MessageOf, NoSchemas, OtherType, Schemas } from "./consumer/schemas.ts";
export { stopOnSignals } from "./consumer/signals.ts";
export type { Span, Telemetry } from "./consumer/telemetry.ts";
export * from "./errors.ts";
export { GroupClient } from "./group.ts";
export type { Attempt, CallOptions, ClientOptions, Fetch, FetchAnswer, FetchInit } from "./http.ts";
export { Pages, steps } from "./pages.ts";
export type { ProduceBodyOptions, ProduceOptions } from "./produce.ts";
export { type CloseOptions, Producer, type ProducerOptions, type SendOptions } from "./producer.ts";
export { StreamClient } from "./stream.ts";
export { WebhookClient } from "./webhook.ts";
export type * from "./wire.ts";
