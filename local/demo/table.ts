// The result as aligned plain text.
import type { Result } from "./scenario.ts";
import type { GroupTally, Outcome } from "./tally.ts";
import type { Usage } from "./usage.ts";

const LABEL_WIDTH = 26;
const COLUMN_WIDTH = 12;

/**
 * Lays out how it went: a column for the producer, then one for each group.
 *
 * @returns lines of less than 80 characters
 */
export function table({ tally, outcomes, durationMs }: Result): string[] {
  const produced = tally.payloads.size;
  const groups = [...outcomes.values()];
  const tallies = [...outcomes.keys()].map((group) => tally.group(group));
  const usages = [tally.producing, ...tallies.map(({ usage }) => usage)];
  const perMessage = (count: (usage: Usage) => number) => usages.map((usage) => (count(usage) / produced).toFixed(2));
  const ofGroups = (count: (outcome: Outcome) => number) => ["", ...groups.map((outcome) => String(count(outcome)))];
  const ofTallies = (count: (tally: GroupTally) => number) => ["", ...tallies.map((one) => String(count(one)))];
  return [
    row("", ["producer", ...outcomes.keys()]),
    "-".repeat(LABEL_WIDTH + COLUMN_WIDTH * (groups.length + 1)),
    row("produced", [String(produced)]),
    row(
      "handled",
      ofGroups(({ handled }) => handled.length),
    ),
    row(
      "  on their last delivery",
      ofTallies(({ saved }) => saved),
    ),
    row(
      "redelivered",
      ofTallies(({ redelivered }) => redelivered),
    ),
    row(
      "dead-lettered",
      ofGroups(({ deadLettered }) => deadLettered.length),
    ),
    row(
      "  of them innocent",
      ofGroups(({ innocent }) => innocent.length),
    ),
    row(
      "lost",
      ofGroups(({ lost }) => lost.length),
    ),
    row(
      "pending or lag at the end",
      ofGroups(({ leftOver }) => leftOver),
    ),
    row(
      "requests",
      usages.map(({ requests }) => String(requests)),
    ),
    row(
      "commands per message",
      perMessage(({ commands }) => commands),
    ),
    row(
      "round trips per message",
      perMessage(({ roundTrips }) => roundTrips),
    ),
    row("time", [`${(durationMs / 1_000).toFixed(1)} s`]),
  ];
}

function row(label: string, cells: readonly string[]): string {
  return (label.padEnd(LABEL_WIDTH) + cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join("")).trimEnd();
}
