import type { ColdStart } from "../sections/cold-start.ts";
import type { EndToEnd } from "../sections/end-to-end.ts";
import type { Growth } from "../sections/growth.ts";
import type { Distance } from "../sections/latency.ts";
import type { Memory } from "../sections/memory.ts";
import type { Profile } from "../sections/profile.ts";
import type { Throughput } from "../sections/throughput.ts";

/** All that a run measured: what is written as JSON. */
export interface Results {
  startedAt: string;
  arguments: readonly string[];
  surroundings: Record<string, string>;
  throughput: readonly Throughput[];
  distance: readonly Distance[];
  endToEnd: readonly EndToEnd[];
  growth: readonly Growth[];
  memory: Memory | undefined;
  coldStart: readonly ColdStart[];
  profile: readonly Profile[];
  aims: readonly Aim[];
}

/** One line of the table of aims, and what was measured; undefined when this run did not measure it. */
export interface Aim {
  about: string;
  aim: string;
  measured: string | undefined;
}
