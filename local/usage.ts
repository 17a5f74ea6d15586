// What Upstash would bill, read from Redis' own statistics: they count the commands inside of scripts too.

// What connections and this endpoint itself run: `client`, `hello`, `auth` and `select` at connecting (ioredis too),
// `multi`, `exec` and `watch` around transactions, `info` for this very question.
const NOT_BILLED = new Set([
  "info",
  "multi",
  "exec",
  "discard",
  "watch",
  "unwatch",
  "hello",
  "auth",
  "select",
  "client",
]);

/**
 * Billed commands since the server's start: every command, those inside pipelines, transactions and scripts, and the
 * scripts themselves. Commands that Redis refused to run (unknown, wrong number of arguments) are not among them.
 *
 * @param commandStats the text of `INFO commandstats`
 */
export function billedCommands(commandStats: string): number {
  let billed = 0;
  for (const [, name, calls] of commandStats.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)) {
    if (name === undefined || NOT_BILLED.has(name.split("|", 1)[0] ?? name)) continue;
    // LASTSAVE marks the checks of pending-limit.ts: itself is counted nowhere, the command that it announces was.
    billed += name === "lastsave" ? -Number(calls) : Number(calls);
  }
  return billed;
}
