import type { WeirClient } from "../client.ts";
import { pause } from "../pause.ts";
import { Consumer } from "./consumer.ts";
import type { ConsumerCounters } from "./intake.ts";
import type { ConsumerOptions } from "./options.ts";
import type { NoSchemas, Schemas } from "./schemas.ts";

export type ConsumeOnceOptions<S extends Schemas = NoSchemas> = ConsumerOptions<S> & {
  /** How long it may take, in milliseconds; 25,000 unless set. The last quarter is for handlers that still run, and to settle. */
  readonly budgetMs?: number | undefined;
  /**
   * How many polls it may make; any number unless set. A few more requests settle and leave. Cloudflare's documents allow a
   * Worker 32 calls of service bindings a run: those after it fail, settlements among them.
   */
  readonly maxPolls?: number | undefined;
};

/** What was done. */
export interface ConsumedOnce extends ConsumerCounters {
  /** Whether nothing was left to hand out. */
  readonly drained: boolean;
  /** How many messages come again only when their leases end. */
  readonly unsettled: number;
}

const DEFAULT_BUDGET_MS = 25_000;
/** The part of the budget in which polls may begin. */
const POLLING_PART = 0.75;
/** The part in which handlers may end; the rest is to settle. */
const GRACE_PART = 0.125;

/**
 * Consumes until nothing is left or the budget or the polls are over, settles, and leaves: for cron triggers.
 *
 * @returns what was done
 * @throws the first error, where no poll was answered: it is tried again until polls may not begin any more
 * @example
 * export default {
 *   async scheduled(_, env) {
 *     const weir = new WeirClient({ url: "https://weir", token: env.WEIR_TOKEN, fetch: env.WEIR });
 *     await consumeOnce(weir, { stream: "orders", group: "mail", handler, budgetMs: 20_000 });
 *   },
 * };
 */
export async function consumeOnce<S extends Schemas = NoSchemas>(
  client: WeirClient,
  { budgetMs = DEFAULT_BUDGET_MS, maxPolls = Number.POSITIVE_INFINITY, ...options }: ConsumeOnceOptions<S>,
): Promise<ConsumedOnce> {
  const consumer = new Consumer(client, options);
  const over = new AbortController();
  let failure: { readonly error: unknown } | undefined;
  consumer.on("error", (error) => {
    failure ??= { error };
  });
  const look = () => {
    if (consumer.isDrained || consumer.counters.polls >= maxPolls) over.abort();
  };
  for (const name of ["batch", "idle", "settled", "error"] as const) consumer.on(name, look);
  consumer.start();
  await pause(budgetMs * POLLING_PART, over.signal);
  const drained = consumer.isDrained;
  const { unsettled } = await consumer.stop({
    graceMs: budgetMs * GRACE_PART,
    timeoutMs: Math.min(client.timeoutMs, budgetMs * (1 - POLLING_PART - GRACE_PART)),
  });
  const { counters } = consumer;
  if (failure !== undefined && counters.received === 0 && counters.emptyPolls === 0) throw failure.error;
  return { ...counters, drained, unsettled };
}
