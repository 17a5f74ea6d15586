import type { Pool, Scope } from "./pool.ts";
import type { Known } from "./values.ts";

/** What an answer teaches: ids, leases, cursors, poll states, by the names that the contract gives them. */

const MEMBERS: Readonly<Record<string, Known>> = {
  id: "id",
  ids: "id",
  firstId: "id",
  lastId: "id",
  lastDeliveredId: "id",
  fromId: "id",
  toId: "id",
  exampleId: "id",
  lease: "lease",
  pollState: "pollState",
  next: "cursor",
};

export function learn(pool: Pool, scope: Scope, json: unknown): void {
  for (const [name, text] of textsIn(json, "")) {
    const kind = MEMBERS[name];
    if (kind !== undefined) pool.learn(kind === "id" && isScheduled(text) ? "scheduledId" : kind, scope, text);
    if (kind === "id" && scope.path.includes("/dead-letters")) pool.learn("deadId", scope, text);
    if (name === "name" && scope.path.endsWith("/consumers")) pool.learn("anyConsumer", scope, text);
  }
}

/** Ids of produced messages may be of either kind. */
function isScheduled(id: string): boolean {
  return id.startsWith("later~");
}

/** Every text with the name that it, or the list that it is in, has. */
function* textsIn(json: unknown, name: string): Generator<readonly [name: string, text: string]> {
  if (typeof json === "string") yield [name, json];
  // A whole page teaches no more than its beginning.
  else if (Array.isArray(json)) for (const item of json.slice(0, 16)) yield* textsIn(item, name);
  else if (typeof json === "object" && json !== null) {
    for (const [member, value] of Object.entries(json)) yield* textsIn(value, member);
  }
}
