import { decodeTrimmed, trimCall } from "../shared/stream/retention.ts";
import { isTrimmed } from "../shared/stream/settings.ts";
import type { EventStream } from "../shared/stream/stream.ts";
import type { Step } from "./collector.ts";
import type { SurveyedStream } from "./survey.ts";

/** Steps of one stream in one round trip: each takes Redis up to 20 ms. */
const AT_ONCE = 25;

/** Trims every stream whose settings say so; they also say what becomes of messages that a group has not finished. */
export function trim(streams: readonly SurveyedStream[], nowMs: number): Step[] {
  return streams
    .filter(({ config }) => isTrimmed(config))
    .map(({ stream, groups }) => {
      const names = groups.map(({ name }) => name);
      return trimStep(stream, names, nowMs);
    });
}

function trimStep(stream: EventStream, groups: readonly string[], nowMs: number): Step {
  const step: Step = {
    stream: stream.name,
    atOnce: AT_ONCE,
    call: trimCall(stream, groups, nowMs),
    done(reply) {
      const { trimmed, deadLettered, dropped, more, unnamed } = decodeTrimmed(reply);
      // Groups that came since the survey.
      const next = unnamed.length === 0 ? step : trimStep(stream, [...groups, ...unnamed], nowMs);
      return { counts: { trimmed, deadLettered, dropped }, ...(more && { next }) };
    },
  };
  return step;
}
