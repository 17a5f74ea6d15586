/** What a consumer hands back with its next poll: a hint for choosing its kind and pace. It can be lost or forged without harm. */
export interface PollState {
  /** Fast polls since the last reclaim poll. */
  readonly fastPolls: number;
  /** Polls without a message since the last one with. */
  readonly idlePolls: number;
  /** Whether the next poll should be a reclaim poll. */
  readonly reclaimNext: boolean;
  /** Whether the group was told of a gap: only reclaim polls tell it, and end it. */
  readonly hasGap: boolean;
  /** From when on (Unix ms) something may have to be handed out again; 0: nothing known. */
  readonly againFromMs: number;
  /** When this consumer last looked through many pending messages (Unix ms); 0: never. */
  readonly lookedMs: number;
}

/** At least one in so many polls looks for expired deliveries. */
export const POLLS_PER_RECLAIM = 10;

/**
 * Pending messages that a reclaim poll looks through: 5,000 take Redis 3.4 ms. A consumer that is busy looks so far once a
 * second only, so that looking stays a small part of Redis' work.
 */
const LOOK = { far: 5_000, near: 250, everyMs: 1_000 } as const;

const MIN_PAUSE_MS = 250;
/** Together with {@link POLLS_PER_RECLAIM} keeps an idle consumer below 250,000 commands a month. */
const MAX_PAUSE_MS = 15_000;

/** Writes the opaque text: a version, then fields that are only ever appended to. */
export function writePollState(state: PollState): string {
  const { fastPolls, idlePolls, reclaimNext, hasGap, againFromMs, lookedMs } = state;
  return ["1", fastPolls, idlePolls, reclaimNext ? 1 : 0, hasGap ? 1 : 0, againFromMs, lookedMs].join(".");
}

const STATE = /^1\.(\d{1,6})\.(\d{1,6})\.([01])(?:\.([01])(?:\.(\d{1,15})(?:\.(\d{1,15})(?:\..*)?)?)?)?$/s;

/** @returns undefined for what this version cannot read, which counts as none */
export function readPollState(text: string | undefined): PollState | undefined {
  const match = STATE.exec(text ?? "");
  if (match === null) return undefined;
  return {
    fastPolls: Number(match[1]),
    idlePolls: Number(match[2]),
    reclaimNext: match[3] === "1",
    hasGap: match[4] === "1",
    againFromMs: Number(match[5] ?? 0),
    lookedMs: Number(match[6] ?? 0),
  };
}

/** Without a state nothing is known, so everything is looked at: a plain curl finds what has expired. */
export function isReclaimPoll(state: PollState | undefined, nowMs: number): boolean {
  if (state === undefined || state.reclaimNext || state.hasGap) return true;
  return state.fastPolls >= POLLS_PER_RECLAIM - 1 || (state.againFromMs > 0 && nowMs >= state.againFromMs);
}

/** How many pending messages a reclaim poll is to look through for those whose leases have ended. */
export function lookOf(state: PollState | undefined, nowMs: number): number {
  const isFar = state === undefined || state.idlePolls > 0 || Math.abs(nowMs - state.lookedMs) >= LOOK.everyMs;
  return isFar ? LOOK.far : LOOK.near;
}

/** What a poll found. */
export interface PollResult {
  readonly wasReclaim: boolean;
  readonly handedOut: number;
  /** How many it could have handed out. */
  readonly room: number;
  /** Whether a reclaim poll left something behind that is to be handed out again. */
  readonly moreWaiting: boolean;
  /** How many pending messages it was to look through. */
  readonly look: number;
  /** Whether there are more that it has not looked through. */
  readonly isUnfinished: boolean;
  readonly hasGap: boolean;
  /** From when on something may have to be handed out again, as far as this poll knows; 0: nothing known. */
  readonly againFromMs: number;
  /** Whether the request sent something back for a retry. */
  readonly hasRetried: boolean;
}

/** The state after a poll, and how long to wait before the next: 0 when there is more, ever longer when there is nothing. */
export function nextPoll(
  state: PollState | undefined,
  result: PollResult,
  nowMs: number,
): { state: PollState; pollAfterMs: number } {
  const { wasReclaim, handedOut, room, hasGap } = result;
  // A consumer that is busy with new messages looks on at its usual pace; one that is not, at once.
  const looksOn = result.isUnfinished && handedOut < room;
  const moreWaiting = result.moreWaiting || looksOn;
  const idlePolls = handedOut > 0 ? 0 : Math.min((state?.idlePolls ?? 0) + 1, 999_999);
  const known = wasReclaim ? [result.againFromMs] : [result.againFromMs, state?.againFromMs ?? 0];
  const times = known.filter((ms) => ms > 0);
  // The first poll without a message: time to look for what others left behind, at once.
  const goesIdle = !wasReclaim && idlePolls === 1;
  const next = {
    // More is waiting: one fast poll, then a reclaim poll, so that neither old nor new messages starve.
    fastPolls: wasReclaim ? (moreWaiting ? POLLS_PER_RECLAIM - 2 : 0) : (state?.fastPolls ?? 0) + 1,
    idlePolls,
    // Only Redis knows when a retry is due. Without new messages nothing is lost by looking on at once.
    reclaimNext: goesIdle || result.hasRetried || looksOn,
    hasGap,
    againFromMs: times.length === 0 ? 0 : Math.min(...times),
    lookedMs: wasReclaim && result.look === LOOK.far ? nowMs : (state?.lookedMs ?? 0),
  };
  if (handedOut >= room || moreWaiting || goesIdle) return { state: next, pollAfterMs: 0 };
  const pauseMs = Math.min(MIN_PAUSE_MS * 2 ** Math.min(idlePolls, 20), MAX_PAUSE_MS);
  const untilAgainMs = next.againFromMs === 0 ? pauseMs : Math.max(next.againFromMs - nowMs, MIN_PAUSE_MS);
  return { state: next, pollAfterMs: Math.min(pauseMs, untilAgainMs) };
}
