import { forgetDeliveriesCalls } from "../../shared/stream/delivery-ids.ts";
import { type EventStream, openStream } from "../../shared/stream/stream.ts";
import { listSources, type WebhookSource } from "../../shared/stream/webhook-sources.ts";
import type { RequestContext } from "../context.ts";

/** Forgets which deliveries a source has had: what comes again is taken again. */
export async function forgetDeliveries({ redis, config, now }: RequestContext, source: WebhookSource): Promise<void> {
  const memory = { source: source.name, windowMs: source.dedupeWindowMs };
  await redis.pipeline(forgetDeliveriesCalls(openStream(redis, config.keyPrefix, source.stream), memory, now()));
}

/** After a stream was deleted: one made anew under its name must not take for repeats what its predecessor had. */
export async function forgetDeliveriesTo(context: RequestContext, { name }: EventStream): Promise<void> {
  const sources = await listSources(context.redis, context.config.keyPrefix);
  for (const source of sources.filter(({ stream }) => stream === name)) await forgetDeliveries(context, source);
}
