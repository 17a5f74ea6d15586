import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  isReclaimPoll,
  nextPoll,
  POLLS_PER_RECLAIM,
  type PollResult,
  type PollState,
  readPollState,
  writePollState,
} from "../../shared/stream/poll-state.ts";

const MOST_PAUSE_MS = 15_000;
const state = fc.record({
  fastPolls: fc.nat(999_999),
  idlePolls: fc.nat(999_999),
  reclaimNext: fc.boolean(),
  hasGap: fc.boolean(),
  againFromMs: fc.nat(999_999_999),
  lookedMs: fc.nat(999_999_999),
});
const result = fc.record({
  wasReclaim: fc.boolean(),
  handedOut: fc.nat(20),
  room: fc.integer({ min: 1, max: 20 }),
  moreWaiting: fc.boolean(),
  hasGap: fc.boolean(),
});

/** One poll of a client that hands back what it was given. */
function poll(
  text: string | undefined,
  found: Pick<PollResult, "handedOut" | "room" | "moreWaiting" | "hasGap"> & Partial<PollResult>,
  nowMs = 0,
) {
  const result = { againFromMs: 0, hasRetried: false, isUnfinished: false, look: 250, ...found };
  const before = readPollState(text);
  const wasReclaim = isReclaimPoll(before, nowMs);
  const { state, pollAfterMs } = nextPoll(before, { ...result, wasReclaim }, nowMs);
  return { wasReclaim, text: writePollState(state), pollAfterMs };
}

describe("a poll state", () => {
  test("comes back as it was written", () => {
    fc.assert(
      fc.property(state, (written) => {
        expect(readPollState(writePollState(written))).toEqual(written);
      }),
    );
  });

  test("of a later release, with fields appended, is read by this one", () => {
    const read = { fastPolls: 3, idlePolls: 4, reclaimNext: true, hasGap: true, againFromMs: 5, lookedMs: 6 };
    expect(readPollState("1.3.4.1.1.5.6.anything.else")).toEqual(read);
  });

  test("of an earlier release, with a field less, is read by this one", () => {
    expect(readPollState("1.3.4.1")).toEqual({
      fastPolls: 3,
      idlePolls: 4,
      reclaimNext: true,
      hasGap: false,
      againFromMs: 0,
      lookedMs: 0,
    });
  });

  test.each([
    "",
    "1",
    "2.0.0.0",
    "1.a.0.0",
    "1.0.0.2",
    "1.0.0.01",
    "1.-1.0.0",
    "1.9999999.0.0",
    "1.0.0.0 ",
    "1.1e5.0.0",
    "NaN",
  ])("that reads %j counts as none: that poll looks at everything", (text) => {
    expect(readPollState(text)).toBeUndefined();
    expect(isReclaimPoll(readPollState(text), 0)).toBe(true);
  });

  test("however forged gives a whole state and a sane pause, and a reclaim poll within the usual number of polls", () => {
    const forged = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      state.map(writePollState),
      fc.stringMatching(/^1\.\d{1,7}\.\d{1,7}\.[012]/),
    );
    fc.assert(
      fc.property(forged, result, (text, found) => {
        const first = poll(text, found);
        expect(readPollState(first.text)).toBeDefined();
        expect(first.pollAfterMs).toBeGreaterThanOrEqual(0);
        expect(first.pollAfterMs).toBeLessThanOrEqual(MOST_PAUSE_MS);
        let current = first.text;
        const kinds = Array.from({ length: POLLS_PER_RECLAIM }, () => {
          const next = poll(current, { handedOut: 5, room: 5, moreWaiting: false, hasGap: false });
          current = next.text;
          return next.wasReclaim;
        });
        expect(kinds).toContain(true);
      }),
    );
  });

  test("however long a consumer polls stays one that can be read", () => {
    let current: PollState | undefined = {
      fastPolls: 999_999,
      idlePolls: 999_999,
      reclaimNext: false,
      hasGap: false,
      againFromMs: 0,
      lookedMs: 0,
    };
    const nothing = { handedOut: 0, room: 1, moreWaiting: false, hasGap: false, againFromMs: 0, hasRetried: false };
    for (let i = 0; i < 100; i++) {
      const wasReclaim = isReclaimPoll(current, 0);
      current = nextPoll(current, { ...nothing, wasReclaim, look: 250, isUnfinished: false }, 0).state;
      expect(readPollState(writePollState(current))).toEqual(current);
    }
  });
});

describe("the pace of a consumer", () => {
  test("that finds nothing for a month stays below 250,000 commands", () => {
    const MONTH_MS = 31 * 24 * 3_600_000;
    let [atMs, commands, text]: [number, number, string | undefined] = [0, 0, undefined];
    while (atMs < MONTH_MS) {
      const {
        wasReclaim,
        text: next,
        pollAfterMs,
      } = poll(text, { handedOut: 0, room: 10, moreWaiting: false, hasGap: false });
      commands += wasReclaim ? 5 : 1;
      atMs += pollAfterMs;
      text = next;
      if (commands > 1_000_000) break;
    }
    expect(atMs).toBeGreaterThanOrEqual(MONTH_MS);
    expect(commands).toBeLessThan(250_000);
  });

  test("is unbroken while there is more, and looks for expired deliveries every few polls then too", () => {
    let text: string | undefined;
    const kinds = Array.from({ length: 100 }, () => {
      const next = poll(text, { handedOut: 10, room: 10, moreWaiting: false, hasGap: false });
      expect(next.pollAfterMs).toBe(0);
      text = next.text;
      return next.wasReclaim;
    });
    expect(kinds.filter(Boolean)).toHaveLength(100 / POLLS_PER_RECLAIM);
  });

  test("alternates between old and new messages while more has expired than a poll takes", () => {
    let text: string | undefined;
    const kinds = Array.from({ length: 10 }, () => {
      const next = poll(text, { handedOut: 10, room: 10, moreWaiting: true, hasGap: false });
      expect(next.pollAfterMs).toBe(0);
      text = next.text;
      return next.wasReclaim;
    });
    expect(kinds.filter(Boolean).length).toBeGreaterThanOrEqual(5);
    expect(kinds.filter((wasReclaim) => !wasReclaim).length).toBeGreaterThanOrEqual(4);
  });

  test("slows down poll by poll when there is nothing, and is back at once when there is something", () => {
    let text = poll(undefined, { handedOut: 10, room: 10, moreWaiting: false, hasGap: false }).text;
    const pauses = Array.from({ length: 12 }, () => {
      const next = poll(text, { handedOut: 0, room: 10, moreWaiting: false, hasGap: false });
      text = next.text;
      return next.pollAfterMs;
    });
    expect(pauses).toEqual([...pauses].sort((a, b) => a - b));
    expect(pauses.at(-1)).toBe(MOST_PAUSE_MS);
    expect(poll(text, { handedOut: 10, room: 10, moreWaiting: false, hasGap: false }).pollAfterMs).toBe(0);
    const afterOne = poll(text, { handedOut: 1, room: 10, moreWaiting: false, hasGap: false });
    expect(afterOne.pollAfterMs).toBeLessThan(1_000);
  });
});
