import fc from "fast-check";
import type { ApiDocument } from "../../functions/openapi.ts";
import { Api } from "./api.ts";
import { HttpClient } from "./http.ts";
import { nativeSteps } from "./native.ts";
import { plans } from "./plan.ts";
import { type Fault, Session, type Step } from "./session.ts";
import type { Target } from "./targets.ts";
import { makeTokens } from "./tokens.ts";

export interface FuzzOptions {
  readonly seed: number;
  readonly requests: number;
  /** When to stop (Unix ms), whatever is left. */
  readonly deadlineMs: number;
}

export interface FuzzReport {
  readonly requests: number;
  readonly faults: readonly Fault[];
  /** How often each operation answered each status: `produce 201`. */
  readonly answers: ReadonlyMap<string, number>;
  /** The most memory that was used, in words. */
  readonly memory: string;
}

/** How much is tried to make one failing request smaller. */
const MAX_SHRINKS = 150;
/** After so many different faults a run has said enough. */
const MAX_FAULTS = 60;

/** Fuzzes a target until its requests or its time are used up. Faults are told at once, and in the report. */
export async function fuzz(target: Target, { seed, requests, deadlineMs }: FuzzOptions): Promise<FuzzReport> {
  const client = new HttpClient(target.url);
  try {
    const response = await fetch(new URL("/openapi.json", target.url));
    const document: ApiDocument = JSON.parse(await response.text());
    const api = new Api(document);
    const session = new Session(target, client, api, await makeTokens());
    const faults = new Map<string, Fault>();
    const isOver = () => session.requests >= requests || Date.now() >= deadlineMs || faults.size >= MAX_FAULTS;
    // fast-check ends at a failure: what is left goes on under the next seed.
    for (let part = seed; !isOver(); part++) {
      const left = { seed: part, requests: requests - session.requests, deadlineMs };
      const fault = await nextFault(session, steps(api), new Set(faults.keys()), left);
      if (fault === undefined) continue;
      // The same again: the whole run with its seed. The part alone has another beginning, and mostly finds it too.
      const text = `${fault.signature} (${target.name}, --seed ${seed}, part ${part - seed})\n${fault.text}`;
      faults.set(fault.signature, { ...fault, text });
      console.error(`FAULT ${text}\n`);
    }
    return {
      requests: session.requests,
      faults: [...faults.values()],
      answers: session.answers,
      memory: session.memory,
    };
  } finally {
    client.close();
  }
}

function steps(api: Api): fc.Arbitrary<Step> {
  return fc.oneof(
    { arbitrary: plans(api).map((plan): Step => ({ plan })), weight: 12 },
    { arbitrary: nativeSteps.map((native): Step => ({ native })), weight: 1 },
  );
}

/**
 * Takes steps until there is a fault that is not known, and tries to make that step smaller; what it needs to have gone
 * before is told with it.
 */
async function nextFault(
  session: Session,
  step: fc.Arbitrary<Step>,
  known: ReadonlySet<string>,
  { seed, requests, deadlineMs }: FuzzOptions,
): Promise<Fault | undefined> {
  let found: { readonly signature: string; readonly text: string; readonly before: readonly string[] } | undefined;
  let broken: { readonly error: unknown } | undefined;
  let shrinks = 0;
  const property = fc.asyncProperty(step, async (one) => {
    if (broken !== undefined || (found !== undefined && ++shrinks > MAX_SHRINKS)) return;
    const before = session.last;
    const faults = await session.take(one).catch((error: unknown) => {
      broken = { error };
      return [];
    });
    const wanted = found?.signature;
    const fault = faults.find(({ signature }) => (wanted === undefined ? !known.has(signature) : signature === wanted));
    if (fault === undefined) return;
    found = { signature: fault.signature, text: fault.text, before: found?.before ?? before };
    throw new Error(fault.signature);
  });
  const { numRuns } = await fc.check(property, {
    seed,
    numRuns: requests,
    // A timer takes no more.
    interruptAfterTimeLimit: Math.min(Math.max(1, deadlineMs - Date.now()), 2 ** 31 - 1),
    markInterruptAsFailure: false,
  });
  // The fuzzer itself, not what it fuzzes.
  if (broken !== undefined) throw broken.error;
  if (found === undefined) return undefined;
  const before = found.before.map((line) => `    ${line}`).join("\n");
  return { signature: found.signature, text: `${found.text}\n  run ${numRuns} of this part, after:\n${before}` };
}
