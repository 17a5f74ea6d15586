import { timeOfId } from "../shared/ids.ts";
import type { Reading } from "../shared/reaper/alerts.ts";
import type { Reply } from "../shared/redis/connection.ts";
import type { Call } from "../shared/redis/redis.ts";
import { asNumber, asTextOrNull } from "../shared/redis/reply.ts";
import { oldestPendingScript } from "../shared/scripts/oldest-pending.lua.ts";
import { decodeFigures, figuresCall } from "../shared/stream/figures.ts";
import { GROUP_METRICS, type GroupMetric } from "../shared/stream/settings.ts";
import type { EventStream } from "../shared/stream/stream.ts";
import type { Step } from "./collector.ts";
import type { SurveyedGroup, SurveyedStream } from "./survey.ts";

/** The figures of groups that have thresholds. */
export interface Watch {
  /** What is known already; what must be asked for has no value yet. */
  readonly readings: readonly Reading[];
  /** Those that bring the rest. */
  readonly steps: readonly Step[];
}

/**
 * Watches the groups that have thresholds. Those without cost nothing. Pending is in the survey already, and so is lag
 * while it is low; the oldest pending message and the dead letters cost a command each where they are watched, and a lag
 * that seems too high, or that Redis does not know, costs a script.
 */
export function watch(streams: readonly SurveyedStream[], nowMs: number): Watch {
  const figures = streams.flatMap(({ stream, groups }) =>
    groups.flatMap((group) => GROUP_METRICS.flatMap((metric) => watchOne(stream, group, metric, nowMs))),
  );
  return {
    readings: figures.map(({ reading }) => reading),
    steps: figures.flatMap(({ step }) => step ?? []),
  };
}

/** A figure that is known, or the step that asks for it; nothing where it has no threshold. */
function watchOne(
  stream: EventStream,
  group: SurveyedGroup,
  metric: GroupMetric,
  nowMs: number,
): { reading: Reading; step?: Step }[] {
  const threshold = group.alerts[metric];
  if (threshold === null) return [];
  const subject = { stream: stream.name, group: group.name, metric };
  const known = knownFigure(group, metric, threshold);
  if (known !== undefined) return [{ reading: { subject, value: known, threshold } }];
  const { call, read } = question(stream, group, metric, nowMs);
  const done = (reply: Reply) => ({ reading: { subject, value: read(reply), threshold } });
  return [
    { reading: { subject, value: null, threshold }, step: { stream: stream.name, group: group.name, call, done } },
  ];
}

/** What the survey tells already. */
function knownFigure(group: SurveyedGroup, metric: GroupMetric, threshold: number): number | undefined {
  switch (metric) {
    case "lag":
      // Redis counts too many after trims and nothing after deletes: look closer at what seems too much.
      return group.lag !== null && group.lag <= threshold ? group.lag : undefined;
    case "pending":
      return group.hasSideStore ? undefined : group.pending;
    case "oldestPendingMs":
      return group.pending === 0 && !group.hasSideStore ? 0 : undefined;
    case "deadLetters":
      return undefined;
  }
}

interface Question {
  readonly call: Call;
  read(reply: Reply): number | null;
}

function question(stream: EventStream, group: SurveyedGroup, metric: GroupMetric, nowMs: number): Question {
  const { keys } = stream;
  switch (metric) {
    case "lag":
      return { call: figuresCall(keys), read: (reply) => lagIn(stream.name, reply, group) };
    case "pending":
      return {
        // What was handed out of the side store has negative scores.
        call: ["ZCOUNT", keys.againDue(group.name), "-inf", "(0"],
        read: (reply) => group.pending + asNumber(reply),
      };
    case "oldestPendingMs":
      return {
        call: { script: oldestPendingScript, keys: [keys.stream, keys.againDue(group.name)], args: [group.name] },
        read: (reply) => ageOf(asTextOrNull(reply), nowMs),
      };
    case "deadLetters":
      return { call: ["XLEN", keys.dead(group.name)], read: asNumber };
  }
}

function lagIn(stream: string, reply: Reply, { name }: SurveyedGroup): number | null {
  return decodeFigures(stream, reply).groups.find((group) => group.name === name)?.lag ?? null;
}

function ageOf(id: string | null, nowMs: number): number {
  return id === null ? 0 : Math.max(0, nowMs - timeOfId(id));
}

/** The streams that have a group above a threshold. */
export function firingStreams(readings: readonly Reading[]): Set<string> {
  return new Set(
    readings.flatMap(({ subject, value, threshold }) => ((value ?? 0) > threshold ? [subject.stream ?? ""] : [])),
  );
}
