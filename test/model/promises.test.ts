import fc from "fast-check";
import { expect, test } from "vitest";
import { nativeClient, openRedis, type TransportName } from "../support/redis.ts";
import { type Plan, plans } from "./plans.ts";
import { runPlan } from "./run.ts";

/**
 * Random sequences of everything that producers, consumers, operators, native clients and time may do, checked against
 * the promises of the design. MODEL_RUNS runs that many of each kind; MODEL_SEED and MODEL_PATH, both printed with a
 * failure, repeat one (what was done at once may come out otherwise).
 */
const { MODEL_RUNS, MODEL_SEED, MODEL_PATH } = process.env;
const RUNS = MODEL_RUNS === undefined ? undefined : Number(MODEL_RUNS);

type Details = fc.RunDetails<[Plan]>;

const KINDS: { what: string; transport: TransportName; isConcurrent: boolean; runs: number; maxMs: number }[] = [
  { what: "one after the other", transport: "tcp", isConcurrent: false, runs: 500, maxMs: 13_000 },
  { what: "partly at once", transport: "tcp", isConcurrent: true, runs: 400, maxMs: 13_000 },
  { what: "partly at once", transport: "rest", isConcurrent: true, runs: 150, maxMs: 13_000 },
];

/** A failure with what repeats it, and the shortest plan found, a step a line. */
function reporter({
  failed,
  counterexample,
  seed,
  counterexamplePath,
  errorInstance,
  numRuns,
  numShrinks,
}: Details): void {
  if (!failed) return;
  const [plan] = counterexample ?? [];
  const { steps = [], ...rest } = plan ?? {};
  const lines = [
    `failed at run ${numRuns}, shrunk ${numShrinks} times: MODEL_SEED=${seed} MODEL_PATH=${counterexamplePath}`,
    String(errorInstance),
    JSON.stringify(rest),
    ...steps.map((step) => JSON.stringify(step)),
  ];
  throw new Error(lines.join("\n"), { cause: errorInstance });
}

test.each(KINDS)(
  "the promises hold whatever is done, $what, over $transport",
  async ({ transport, isConcurrent, runs, maxMs }) => {
    const surroundings = { redis: openRedis(transport), native: nativeClient() };
    let operations = 0;
    const property = fc.asyncProperty(plans(isConcurrent), async (plan) => {
      operations += await runPlan(surroundings, plan);
    });
    await fc.assert(property, {
      numRuns: RUNS ?? runs,
      reporter,
      ...(RUNS === undefined ? { interruptAfterTimeLimit: maxMs } : {}),
      ...(MODEL_SEED === undefined ? {} : { seed: Number(MODEL_SEED) }),
      ...(MODEL_PATH === undefined ? {} : { path: MODEL_PATH }),
    });
    expect(operations).toBeGreaterThan(0);
  },
  RUNS === undefined ? 60_000 : 3_600_000,
);
