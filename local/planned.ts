import type { Arg } from "./resp.ts";

/**
 * What goes to Redis for one command of a client, and how the replies become the one reply that the client expects.
 * Without `reply` there is one command, whose reply is the client's.
 */
export interface Planned {
  commands: readonly (readonly Arg[])[];
  reply?: (replies: readonly Buffer[]) => Buffer;
  /** What is sent afterwards where Redis refused these because it is full. */
  whenFull?: Planned;
}
