import type { Reading } from "../shared/reaper/alerts.ts";
import type { Reply } from "../shared/redis/connection.ts";
import { adoptCall } from "../shared/stream/manage.ts";
import { decodePromoted, likelyBuckets, type Promoted, promoteCall } from "../shared/stream/promote.ts";
import type { EventStream } from "../shared/stream/stream.ts";
import type { Step, StepOutcome } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/** Messages of one step: they take Redis 7 ms, and up to 15 where they are large. */
const MESSAGES = 500;
/** Steps of one stream in one round trip. */
const AT_ONCE = 50;

/** How late a scheduled message may be before an alert fires: two runs of the reaper have not brought it. */
export const SCHEDULED_LATE_MS = 2 * 60_000;

/** The scheduled messages that are due. */
export interface Promotion {
  /** How late they are by what is noted: an alert must fire, too, where no step can be done. A step reads anew. */
  readonly readings: readonly Reading[];
  /** Those that append them. */
  readonly steps: readonly Step[];
}

/** Appends the scheduled messages that are due. A stream without any costs nothing. */
export function promote(streams: readonly SurveyedStream[], nowMs: number): Promotion {
  const due = streams.flatMap(({ stream, later: { laterDueMs } }) =>
    laterDueMs === undefined || laterDueMs > nowMs ? [] : [{ stream, laterDueMs }],
  );
  const adopting = streams.flatMap(({ stream, isAdopted }) => (isAdopted ? [] : [adoptStep(stream, nowMs)]));
  const steps = due.map(({ stream, laterDueMs }) => promoteStep(stream, likelyBuckets(laterDueMs), 1));
  return {
    readings: due.map(({ stream, laterDueMs }) => lateness(stream, nowMs - laterDueMs)),
    steps: [...adopting, ...steps],
  };
}

/** Another client has deleted the settings, and with them the note of what is scheduled: that is found again. */
function adoptStep(stream: EventStream, nowMs: number): Step {
  const done = (reply: Reply) => (reply === 2 ? { next: promoteStep(stream, likelyBuckets(nowMs), 1) } : {});
  return { stream: stream.name, call: adoptCall(stream), done };
}

/** @param buckets those that hold what is due, as far as that is known */
function promoteStep(stream: EventStream, buckets: readonly string[], atOnce: number): Step {
  return {
    stream: stream.name,
    atOnce,
    call: promoteCall(stream, buckets, MESSAGES),
    done(reply): StepOutcome {
      const promoted = decodePromoted(reply);
      return {
        counts: { promoted: promoted.appended },
        reading: lateness(stream, latenessIn(promoted)),
        // Another client has deleted what was to be appended, or has put something else there.
        fault: promoted.missing + promoted.unreadable > 0 ? "conflict" : undefined,
        // Where a step had its fill, there may be many more.
        ...(promoted.more && {
          next: promoteStep(stream, promoted.buckets, promoted.appended < MESSAGES ? 1 : AT_ONCE),
        }),
      };
    },
  };
}

function latenessIn({ nextDueMs, redisNowMs }: Promoted): number {
  return nextDueMs === undefined ? 0 : Math.max(0, redisNowMs - nextDueMs);
}

function lateness({ name }: EventStream, value: number): Reading {
  return { subject: { stream: name, group: null, metric: "scheduledLateMs" }, value, threshold: SCHEDULED_LATE_MS };
}
