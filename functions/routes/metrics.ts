import { timeOfId } from "../../shared/ids.ts";
import { lastCompleteRunAt } from "../../shared/reaper/alerts.ts";
import { lastRun, type RunSummary } from "../../shared/reaper/runs.ts";
import { type AllFigures, type GroupFigures, readAllFigures, type StreamFigures } from "../../shared/stream/figures.ts";
import { noBody, nothing, type Route, route } from "../http/endpoint.ts";

/** A figure, or null where there is none: then there is no sample either. */
type Figure = number | null;

interface Metric<Of> {
  readonly help: string;
  readonly of: (thing: Of, nowMs: number) => Figure;
}

/** By name. Where redis_exporter has a name for it, it is that one, with its meaning; everything is a gauge. */
type Metrics<Of> = Readonly<Record<string, Metric<Of>>>;

const OVERALL: Metrics<AllFigures> = {
  weir_streams: { help: "Registered streams", of: ({ registered }) => registered },
  weir_scrape_errors: {
    help: "Registered streams, and groups, that could not be read and are left out here",
    of: ({ errors }) => errors,
  },
};

const PER_STREAM: Metrics<StreamFigures> = {
  redis_stream_length: { help: "The number of elements of the stream", of: ({ length }) => length },
  redis_stream_groups: { help: "Groups count of stream", of: ({ groups }) => groups.length },
  redis_stream_first_entry_id: {
    help: "The epoch timestamp (ms) of the first message in the stream; none when it is empty",
    of: ({ firstId }) => timeOf(firstId),
  },
  redis_stream_last_entry_id: {
    help: "The epoch timestamp (ms) of the last message in the stream; none when it is empty",
    of: ({ lastId }) => timeOf(lastId),
  },
  redis_stream_last_generated_id: {
    help: "The epoch timestamp (ms) of the latest message that was ever on the stream; 0 before the first",
    of: ({ lastGeneratedId }) => timeOf(lastGeneratedId),
  },
  weir_stream_scheduled_messages: {
    help: "Messages that wait to be appended when they are due",
    of: ({ scheduled }) => scheduled,
  },
  weir_stream_scheduled_late_seconds: {
    help: "How long the first scheduled message is overdue; 0 when none is",
    of: ({ scheduledDueMs }, nowMs) => (scheduledDueMs === null ? 0 : Math.max(0, nowMs - scheduledDueMs) / 1_000),
  },
};

const PER_GROUP: Metrics<GroupFigures> = {
  redis_stream_group_consumers: {
    help: "Consumers count of stream group, those of Weir's own included",
    of: ({ consumers }) => consumers,
  },
  redis_stream_group_messages_pending: {
    help: "Pending number of messages in that stream group, as Redis counts them",
    of: ({ pending }) => pending,
  },
  redis_stream_group_last_delivered_id: {
    help: "The epoch timestamp (ms) of the last delivered message",
    of: ({ lastDeliveredId }) => timeOf(lastDeliveredId),
  },
  redis_stream_group_entries_read: {
    help: "Total number of entries read from the stream group; none where Redis does not know",
    of: ({ entriesRead }) => entriesRead,
  },
  redis_stream_group_lag: {
    help: "Messages waiting to be delivered to the group; none where unknown, see weir_group_lag_estimated",
    of: ({ lag }) => lag,
  },
  weir_group_lag_estimated: {
    help: "1 where redis_stream_group_lag is an estimate, 0 where it is exact; none where the lag is unknown",
    of: ({ lag, lagIs }) => (lag === null ? null : Number(lagIs === "estimated")),
  },
  weir_group_oldest_pending_age_seconds: {
    help: "Age of the oldest message that is pending in Redis; 0 when none is",
    of: ({ oldestPendingId }, nowMs) =>
      oldestPendingId === null ? 0 : Math.max(0, nowMs - timeOfId(oldestPendingId)) / 1_000,
  },
  weir_group_pending_again_messages: {
    help: "Messages that were retried, replayed or redriven, handed out again and not settled; pending besides Redis' own",
    of: ({ inHand }) => inHand,
  },
  weir_group_delayed_messages: {
    help: "Messages that were retried, replayed or redriven and wait to be handed out",
    of: ({ delayed }) => delayed,
  },
  weir_group_dead_letters: { help: "Dead letters of the group", of: ({ deadLetters }) => deadLetters },
};

const PER_RUN: Metrics<RunSummary & { readonly lastCompleteAt: number | null }> = {
  weir_reaper_last_complete_run_timestamp_seconds: {
    help: "When the reaper's last run that did all that was due started, as Unix time",
    of: ({ lastCompleteAt }) => (lastCompleteAt === null ? null : lastCompleteAt / 1_000),
  },
  weir_reaper_last_run_timestamp_seconds: {
    help: "When the reaper's last run started, as Unix time",
    of: ({ startedAt }) => startedAt / 1_000,
  },
  weir_reaper_last_run_duration_seconds: {
    help: "How long the reaper's last run took",
    of: ({ durationMs }) => durationMs / 1_000,
  },
  weir_reaper_last_run_complete: {
    help: "1 when the reaper's last run did all that was due, 0 when its budget ended it",
    of: ({ complete }) => Number(complete),
  },
  weir_reaper_last_run_backlog_streams: {
    help: "Streams that were due in the reaper's last run and not served to the end",
    of: ({ backlog }) => backlog,
  },
  weir_reaper_last_run_errors: {
    help: "Streams and groups where the reaper's last run met an error",
    of: ({ errorCount }) => errorCount,
  },
  weir_reaper_last_run_commands: {
    help: "Redis commands of the reaper's last run, as Upstash bills them",
    of: ({ redisCommands }) => redisCommands,
  },
};

const getMetricsRoute = route(
  { method: "get", path: "/metrics", permission: "metrics" },
  () => ({
    operationId: "getMetrics",
    tag: "Metrics",
    summary: "Figures of all streams, their groups and the reaper, for Prometheus (text format 0.0.4)",
    description: "A stream that cannot be read is left out and counted in `weir_scrape_errors`.",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "Prometheus text format 0.0.4", mediaType: "text/plain" } },
    errors: ["conflict"],
  }),
  async ({ context: { redis, config, now }, c }) => {
    const run = await lastRun(redis, config.keyPrefix);
    const lastCompleteAt = await lastCompleteRunAt(redis, config.keyPrefix);
    const figures = await readAllFigures(redis, config.keyPrefix);
    const nowMs = now();
    const text = [
      ...exposition(OVERALL, [{ labels: {}, thing: figures }], nowMs),
      ...exposition(PER_RUN, run === undefined ? [] : [{ labels: {}, thing: { ...run, lastCompleteAt } }], nowMs),
      ...exposition(PER_STREAM, figures.streams.map(labelled), nowMs),
      ...exposition(PER_GROUP, figures.streams.flatMap(labelledGroups), nowMs),
    ].join("");
    return c.body(text, 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  },
);

interface Labelled<Thing> {
  readonly labels: Readonly<Record<string, string>>;
  readonly thing: Thing;
}

function labelled(stream: StreamFigures): Labelled<StreamFigures> {
  return { labels: { stream: stream.name }, thing: stream };
}

function labelledGroups({ name, groups }: StreamFigures): Labelled<GroupFigures>[] {
  return groups.map((group) => ({ labels: { stream: name, group: group.name }, thing: group }));
}

/**
 * The lines of some metrics. All samples of one metric stand together below its HELP and TYPE
 * (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
 */
function exposition<Of>(metrics: Metrics<Of>, things: readonly Labelled<Of>[], nowMs: number): string[] {
  const labelTexts = things.map(({ labels }) => labelText(labels));
  return Object.entries(metrics).flatMap(([name, { help, of }]) => {
    const samples = things.flatMap(({ thing }, i) => {
      const value = of(thing, nowMs);
      return value === null ? [] : [`${name}${labelTexts[i]} ${value}\n`];
    });
    return samples.length === 0 ? [] : [`# HELP ${name} ${help}\n# TYPE ${name} gauge\n`, ...samples];
  });
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function timeOf(id: string | null): Figure {
  return id === null ? null : timeOfId(id);
}

export const metricsRoutes: readonly Route[] = [getMetricsRoute];
