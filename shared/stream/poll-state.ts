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
}

/** At least every how many polls one looks for expired deliveries. */
export const POLLS_PER_RECLAIM = 10;

const LEAST_PAUSE_MS = 250;
/** Together with {@link POLLS_PER_RECLAIM} keeps an idle consumer below 250,000 commands a month. */
const MOST_PAUSE_MS = 15_000;

/** Writes the opaque text: a version, then fields that are only ever appended to. */
export function writePollState({ fastPolls, idlePolls, reclaimNext, hasGap }: PollState): string {
  return `1.${fastPolls}.${idlePolls}.${reclaimNext ? 1 : 0}.${hasGap ? 1 : 0}`;
}

/** @returns undefined for what this version cannot read, which counts as none */
export function readPollState(text: string | undefined): PollState | undefined {
  const match = /^1\.(\d{1,6})\.(\d{1,6})\.([01])(?:\.([01])(?:\.|$)|$)/.exec(text ?? "");
  if (match === null) return undefined;
  return {
    fastPolls: Number(match[1]),
    idlePolls: Number(match[2]),
    reclaimNext: match[3] === "1",
    hasGap: match[4] === "1",
  };
}

/** Without a state nothing is known, so everything is looked at: a plain curl finds what has expired. */
export function isReclaimPoll(state: PollState | undefined): boolean {
  return state === undefined || state.reclaimNext || state.hasGap || state.fastPolls >= POLLS_PER_RECLAIM - 1;
}

/** What a poll found. */
export interface PollResult {
  readonly wasReclaim: boolean;
  readonly handedOut: number;
  /** How many it could have handed out. */
  readonly room: number;
  /** Whether a reclaim poll left something behind that is to be handed out again. */
  readonly moreWaiting: boolean;
  readonly hasGap: boolean;
}

/** The state after a poll, and how long to wait before the next: 0 when there is more, ever longer when there is nothing. */
export function nextPoll(state: PollState | undefined, result: PollResult): { state: PollState; pollAfterMs: number } {
  const { wasReclaim, handedOut, room, moreWaiting, hasGap } = result;
  const idlePolls = handedOut > 0 ? 0 : Math.min((state?.idlePolls ?? 0) + 1, 999_999);
  const slack = handedOut < room;
  const next = {
    // More is waiting: one fast poll, then a reclaim poll, so that neither old nor new messages starve.
    fastPolls: wasReclaim ? (moreWaiting ? POLLS_PER_RECLAIM - 2 : 0) : (state?.fastPolls ?? 0) + 1,
    idlePolls,
    // A fast poll with slack has seen all new messages: time to look for expired ones, the first time at once.
    reclaimNext: !wasReclaim && slack && idlePolls <= 1,
    hasGap,
  };
  if (!slack || moreWaiting || next.reclaimNext) return { state: next, pollAfterMs: 0 };
  return { state: next, pollAfterMs: Math.min(LEAST_PAUSE_MS * 2 ** Math.min(idlePolls, 20), MOST_PAUSE_MS) };
}
