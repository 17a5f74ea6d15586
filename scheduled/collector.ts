import { alertField, type Reading } from "../shared/reaper/alerts.ts";
import type { GroupUpkeep, StreamUpkeep, UpkeepError } from "../shared/reaper/runs.ts";
import { type Reply, ReplyError } from "../shared/redis/connection.ts";
import { asWeirError, type Call, type Redis } from "../shared/redis/redis.ts";
import type { Budget } from "./context.ts";

/** Calls of one round trip. Redis serves others between them; one HTTP request of that many ends within a second. */
const CALLS_PER_ROUND_TRIP = 500;

/** One call for a stream, or for a group of it, and how its answer counts. */
export interface Step {
  readonly stream: string;
  readonly group?: string;
  readonly call: Call;
  done(reply: Reply): StepOutcome;
}

/** What a step did. */
export interface StepOutcome {
  /** What it adds to the report: to the group's row, or to the stream's where the step names no group. */
  readonly counts?: Partial<Record<GroupCount | StreamCount, number>>;
  /** A figure that it read for alerts. */
  readonly reading?: Reading;
  /** The step to do next for the same thing, if there is more. */
  readonly next?: Step;
}

type GroupCount = Exclude<keyof GroupUpkeep, "stream" | "group">;
type StreamCount = Exclude<keyof StreamUpkeep, "stream">;

const NO_UPKEEP = { expired: 0, deadLettered: 0, payloadMissing: 0, consumersRemoved: 0, deadLettersExpired: 0 };
const NOTHING_TRIMMED = { trimmed: 0, deadLettered: 0, dropped: 0 };

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

  /** Whether the budget allows another round trip. */
  allows(): boolean {
    return this.#budget.allows();
  }

  /**
   * Does steps, and what follows from them, until nothing is left or the budget is used up. An error of one step is kept
   * and stops none of the others.
   * @returns whether all was done
   * @throws {WeirError} when Redis cannot be reached
   */
  async run(steps: readonly Step[]): Promise<boolean> {
    let waiting = [...steps];
    while (waiting.length > 0) {
      if (!this.allows()) return false;
      const batch = waiting.slice(0, CALLS_PER_ROUND_TRIP);
      const outcomes = await this.#redis.pipeline(batch.map(({ call }) => call));
      const following = batch.flatMap((step, i) => this.#take(step, outcomes[i] ?? null) ?? []);
      // Next steps queue at the end: one large group does not hold up the others.
      waiting = [...waiting.slice(batch.length), ...following];
    }
    return true;
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
      (row) => row.expired + row.payloadMissing + row.consumersRemoved + row.deadLettersExpired > 0,
    );
  }

  /** A row for each stream that was trimmed. */
  get streams(): StreamUpkeep[] {
    return [...this.#streams.values()].filter(({ trimmed }) => trimmed > 0);
  }

  get readings(): Reading[] {
    return [...this.#readings.values()];
  }

  get errors(): UpkeepError[] {
    return [...this.#errors];
  }

  #take(step: Step, outcome: Reply | ReplyError): Step | undefined {
    const { stream, group } = step;
    if (outcome instanceof ReplyError) {
      this.fail([{ stream, ...(group === undefined ? {} : { group }), code: asWeirError(outcome).code }]);
      return undefined;
    }
    const { counts, reading, next } = step.done(outcome);
    if (counts !== undefined) this.#count(stream, group, counts);
    if (reading !== undefined) this.read([reading]);
    return next;
  }

  #count(stream: string, group: string | undefined, counts: NonNullable<StepOutcome["counts"]>): void {
    if (group === undefined) {
      const row = this.#streams.get(stream) ?? { stream, ...NOTHING_TRIMMED };
      this.#streams.set(stream, { stream, ...added(NOTHING_TRIMMED, row, counts) });
      return;
    }
    const key = JSON.stringify([stream, group]);
    const row = this.#groups.get(key) ?? { stream, group, ...NO_UPKEEP };
    this.#groups.set(key, { stream, group, ...added(NO_UPKEEP, row, counts) });
  }
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
