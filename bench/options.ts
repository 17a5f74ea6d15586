import { parseArgs } from "node:util";

export const SECTIONS = ["throughput", "latency", "end-to-end", "growth", "memory", "cold-start", "profile"] as const;
export type Section = (typeof SECTIONS)[number];

export interface Options {
  quick: boolean;
  rounds: number;
  sections: readonly Section[];
  /** Only throughput measurements whose name matches. */
  only: RegExp | undefined;
  against: string | undefined;
}

export const USAGE = `npm run bench -- [options]     about half an hour without options
  --quick            about a minute and a half: fewer rounds, only the measurements that the aims need
  --rounds <n>       interleaved rounds of throughput measurements (7; quick 3)
  --against <ref>    measure that git ref in the same run, and compare
  --profile          only profile Node and workerd, by V8's profiler, and print where their time goes
  --sections <a,b>   some of: ${SECTIONS.join(", ")} (without this: all but the profile)
  --only <pattern>   only throughput measurements whose name matches, such as "produce 100 x 16"
  --help`;

/** @throws Error that says what is wrong with the arguments */
export function parseOptions(args: readonly string[]): Options | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      against: { type: "string" },
      sections: { type: "string" },
      only: { type: "string" },
      profile: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const { quick, against, only } = values;
  const rounds = Number(values.rounds ?? (quick ? 3 : 7));
  if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= 50)) throw new Error("--rounds: expected 1 to 50");
  const sections =
    values.sections?.split(",").map(asSection) ?? SECTIONS.filter((name) => (name === "profile") === values.profile);
  return {
    quick,
    rounds,
    sections,
    only: only === undefined ? undefined : new RegExp(only),
    against,
  };
}

function asSection(name: string): Section {
  const section = SECTIONS.find((known) => known === name);
  if (section === undefined) throw new Error(`--sections: expected some of ${SECTIONS.join(", ")}, got "${name}"`);
  return section;
}
