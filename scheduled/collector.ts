import { type ErrorCode, WeirError } from "../shared/errors.ts";
import { alertField, type Reading } from "../shared/reaper/alerts.ts";
import type { GroupUpkeep, StreamUpkeep, UpkeepError } from "../shared/reaper/runs.ts";
import { type Reply, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, type Call, type Redis } from "../shared/redis/redis.ts";
import type { Budget } from "./context.ts";

/** Calls of one round trip. Redis serves others between them; one HTTP request of that many ends within a second. */
const CALLS_PER_ROUND_TRIP = 500;
/** What of them may be further steps of jobs that come before sweeping, while both have some. */
const URGENT_CALLS = 250;

/** One call for a stream, or for a group of it, and how its answer counts. */
export interface Step {
  readonly stream: string;
  readonly group?: string;
  readonly call: Call;
  /** Whether it may wait for all others: sweeping. */
  readonly isPatient?: true;
  /** How many steps of the same kind one round trip may do, one after the other; 1 unless it says so. */
  readonly atOnce?: number;
  done(reply: Reply): StepOutcome;
}

/** What a step did. */
export interface StepOutcome {
  /** What it adds to the report: to the group's row, or to the stream's where the step names no group. */
  readonly counts?: Partial<Record<GroupCount | StreamCount, number>>;
  /** A figure that it read for alerts. */
  readonly reading?: Reading;
  /** What it could not do, beside what it did. */
  readonly fault?: ErrorCode | undefined;
  /** The step to do next for the same thing, if there is more: it begins where this one ended, by what Redis keeps. */
  readonly next?: Step;
}

type GroupCount = Exclude<keyof GroupUpkeep, "stream" | "group">;
type StreamCount = Exclude<keyof StreamUpkeep, "stream">;

const NO_UPKEEP = {
  expired: 0,
  deadLettered: 0,
  payloadMissing: 0,
  consumersRemoved: 0,
  deadLettersExpired: 0,
  dropped: 0,
};
const NOTHING_DONE = { promoted: 0, trimmed: 0, deadLettered: 0, dropped: 0 };

/** Does the steps of a run's jobs, many a round trip, within one budget; counts what they did, and keeps what went wrong. */
export class Collector {
  readonly #redis: Redis;
  readonly #budget: Budget;
  readonly #groups = new Map<string, GroupUpkeep>();
  readonly #streams = new Map<string, StreamUpkeep>();
  readonly #readings = new Map<string, Reading>();
  readonly #errors: UpkeepError[] = [];

  constructor(redis: Redis, budget: Budget) {
    this.#redis = redis;
    this.#budget = budget;
  }

  /**
   * Does each of these steps once, in their order. An error of one step is kept and stops none of the others.
   * @returns what follows from them, and those that the budget left undone
   * @throws {WeirError} when Redis cannot be reached
   */
  async first(steps: readonly Step[]): Promise<Step[]> {
    const following: Step[] = [];
    for (let i = 0; i < steps.length; i += CALLS_PER_ROUND_TRIP) {
      if (!this.#budget.allows()) return [...following, ...steps.slice(i)];
      following.push(
        ...(await this.#send(steps.slice(i, i + CALLS_PER_ROUND_TRIP).map((step) => ({ step, times: 1 })))),
      );
    }
    return following;
  }

  /**
   * Goes on with steps, and with what follows from them, until nothing is left or the budget is used up. They take turns;
   * where few are left, each does several a round trip. Sweeping never keeps the others waiting, nor they it.
   * @returns what is left
   * @throws {WeirError} when Redis cannot be reached
   */
  async finish(steps: readonly Step[]): Promise<Step[]> {
    let [urgent, patient] = [steps.filter(({ isPatient }) => !isPatient), steps.filter(({ isPatient }) => isPatient)];
    while (urgent.length + patient.length > 0 && this.#budget.allows()) {
      const forUrgent = Math.max(URGENT_CALLS, CALLS_PER_ROUND_TRIP - patient.length);
      const now = inTurns(urgent, forUrgent);
      const room = CALLS_PER_ROUND_TRIP - now.reduce((sum, { times }) => sum + times, 0);
      const later = inTurns(patient, room);
      const following = await this.#send([...now, ...later]);
      // Next steps queue at the end: one large group does not hold up the others.
      urgent = [...urgent.slice(now.length), ...following.filter(({ isPatient }) => !isPatient)];
      patient = [...patient.slice(later.length), ...following.filter(({ isPatient }) => isPatient)];
    }
    return [...urgent, ...patient];
  }

  /** Keeps figures that need no step. A later one of the same subject replaces an earlier one. */
  read(readings: readonly Reading[]): void {
    for (const reading of readings) this.#readings.set(alertField(reading.subject), reading);
  }

  /** Keeps errors that no step met. */
  fail(errors: readonly UpkeepError[]): void {
    this.#errors.push(...errors);
  }

  /** A row for each group where something was done. */
  get groups(): GroupUpkeep[] {
    return [...this.#groups.values()].filter(
      (row) => row.expired + row.payloadMissing + row.consumersRemoved + row.deadLettersExpired + row.dropped > 0,
    );
  }

  /** A row for each stream that was trimmed, or that scheduled messages were appended to. */
  get streams(): StreamUpkeep[] {
    return [...this.#streams.values()].filter(({ promoted, trimmed }) => promoted + trimmed > 0);
  }

  get readings(): Reading[] {
    return [...this.#readings.values()];
  }

  get errors(): UpkeepError[] {
    return [...this.#errors];
  }

  /** One round trip. @returns what follows */
  async #send(turns: readonly Turn[]): Promise<Step[]> {
    const outcomes = await this.#redis.pipeline(
      turns.flatMap(({ step, times }) => Array.from({ length: times }, () => step.call)),
    );
    let next = 0;
    return turns.flatMap(({ step, times }) => {
      const own = outcomes.slice(next, next + times);
      next += times;
      return this.#take(step, own) ?? [];
    });
  }

  /** @param outcomes of the same call, one after the other: once there is no more, the rest found nothing */
  #take(step: Step, outcomes: readonly (Reply | ReplyError)[]): Step | undefined {
    let next: Step | undefined;
    for (const outcome of outcomes) {
      next = this.#takeOne(step, outcome);
      if (next === undefined) return undefined;
    }
    return next;
  }

  #takeOne(step: Step, outcome: Reply | ReplyError): Step | undefined {
    const { stream, group } = step;
    const where = { stream, ...(group === undefined ? {} : { group }) };
    if (outcome instanceof ReplyError) {
      this.fail([{ ...where, code: asWeirError(outcome).code }]);
      return undefined;
    }
    try {
      const { counts, reading, fault, next } = step.done(outcome);
      if (counts !== undefined) this.#count(stream, group, counts);
      if (reading !== undefined) this.read([reading]);
      if (fault !== undefined) this.fail([{ ...where, code: fault }]);
      return next;
    } catch (error) {
      // What another client wrote must not end the run.
      if (!(error instanceof TypeError)) throw error;
      const told = this.#redis.unread(error);
      this.fail([{ ...where, code: told instanceof WeirError ? told.code : "internal-error" }]);
      return undefined;
    }
  }

  #count(stream: string, group: string | undefined, counts: NonNullable<StepOutcome["counts"]>): void {
    if (group === undefined) {
      const row = this.#streams.get(stream) ?? { stream, ...NOTHING_DONE };
      this.#streams.set(stream, { stream, ...added(NOTHING_DONE, row, counts) });
      return;
    }
    const key = JSON.stringify([stream, group]);
    const row = this.#groups.get(key) ?? { stream, group, ...NO_UPKEEP };
    this.#groups.set(key, { stream, group, ...added(NO_UPKEEP, row, counts) });
  }
}

/** A step, and how often one round trip does it. */
interface Turn {
  readonly step: Step;
  readonly times: number;
}

/** As many steps as there is room for; where that is more than there are, each several times. */
function inTurns(steps: readonly Step[], room: number): Turn[] {
  const some = steps.slice(0, room);
  const each = Math.max(1, Math.floor(room / Math.max(1, some.length)));
  return some.map((step) => ({ step, times: Math.min(each, step.atOnce ?? 1) }));
}

/** The sums of some counts, by name. */
function added<Name extends string>(
  zeros: Readonly<Record<Name, number>>,
  row: Readonly<Record<NoInfer<Name>, number>>,
  counts: Readonly<Partial<Record<string, number>>>,
): Record<Name, number> {
  const sums: Record<Name, number> = { ...zeros };
  for (const name in zeros) sums[name] = row[name] + (counts[name] ?? 0);
  return sums;
}
