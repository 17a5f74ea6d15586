/** A piece of work to be traced, in the terms of OpenTelemetry's conventions for messaging. */
export interface Span {
  /** Such as `process orders`. */
  readonly name: string;
  readonly kind: "consumer";
  /** Of the message, as its producer handed it in; undefined: none, or there are several messages. */
  readonly traceparent: string | undefined;
  readonly attributes: Readonly<Record<string, string | number>>;
}

/**
 * Wraps each call of a handler. It has to call `run` once and return what that returns.
 *
 * @example
 * const telemetry: Telemetry = ({ name, attributes, traceparent }, run) =>
 *   tracer.startActiveSpan(name, { attributes }, extractContext(traceparent), (span) => run().finally(() => span.end()));
 */
export type Telemetry = (span: Span, run: () => Promise<void>) => Promise<void>;

/** @param messages those that are handled together */
export function spanOf(
  stream: string,
  group: string,
  messages: readonly { readonly id: string; readonly deliveries: number; readonly traceparent: string | undefined }[],
): Span {
  const [first] = messages;
  const only = messages.length === 1 ? first : undefined;
  return {
    name: `process ${stream}`,
    kind: "consumer",
    traceparent: only?.traceparent,
    attributes: {
      "messaging.system": "weir",
      "messaging.operation.type": "process",
      "messaging.destination.name": stream,
      "messaging.consumer.group.name": group,
      ...(only === undefined
        ? { "messaging.batch.message_count": messages.length }
        : { "messaging.message.id": only.id, "weir.deliveries": only.deliveries }),
    },
  };
}
