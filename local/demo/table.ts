// The result as aligned plain text.
import type { Outcome, Tally } from "./tally.ts";
import type { Usage } from "./usage.ts";

const LABEL_WIDTH = 26;
const COLUMN_WIDTH = 12;

/**
 * Lays out how it went: a column for the producer, then one for each group.
 *
 * @param outcomes by group
 * @returns lines of less than 80 characters
 */
export function table(tally: Tally, outcomes: ReadonlyMap<string, Outcome>): string[] {
  const produced = tally.payloads.size;
  const groups = [...outcomes.values()];
  const usages = [tally.producing, ...[...outcomes.keys()].map((group) => tally.group(group).usage)];
  const perMessage = (count: (usage: Usage) => number) => usages.map((usage) => (count(usage) / produced).toFixed(2));
  const ofGroups = (count: (outcome: Outcome) => number) => ["", ...groups.map((outcome) => String(count(outcome)))];
  const redelivered = [...outcomes.keys()].map((group) => String(tally.group(group).redelivered));
  return [
    row("", ["producer", ...outcomes.keys()]),
    "-".repeat(LABEL_WIDTH + COLUMN_WIDTH * (groups.length + 1)),
    row("produced", [String(produced)]),
    row(
      "acknowledged",
      ofGroups(({ acknowledged }) => acknowledged.length),
    ),
    row("redelivered", ["", ...redelivered]),
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
  ];
}

function row(label: string, cells: readonly string[]): string {
  return (label.padEnd(LABEL_WIDTH) + cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join("")).trimEnd();
}
