/** A moment, by both clocks that a runtime has. */
export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export function moment(): Moment {
  return { monotonicMs: performance.now(), wallMs: Date.now() };
}

/**
 * How long ago that was, in milliseconds: by the clock that says more. The monotonic one stands still while a machine
 * sleeps, the other may be set back.
 */
export function elapsedMs(since: Moment): number {
  return Math.max(performance.now() - since.monotonicMs, Date.now() - since.wallMs);
}
