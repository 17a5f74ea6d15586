/** Names that a client may choose for streams, groups and consumers; `@` starts Weir's own. */
export const NAME = /^(?!\.{1,2}$)[A-Za-z0-9._:-]{1,128}$/;

/**
 * The Redis keys of one stream. All carry the stream's name as hash tag, so that one script may touch all of them on
 * Redis Cluster. A group's name or a client's key always stands last, since it may hold colons.
 */
export interface StreamKeys {
  /** The stream itself: an ordinary Redis stream. */
  readonly stream: string;
  /** A hash: the stream's and its groups' settings and cursors; a group's name follows the field's (`ackWaitMs:<group>`). */
  readonly config: string;
  /** A stream: the dead letters of one group. */
  dead(group: string): string;
  /** A hash: payloads of one group's retries, redrives and replays. */
  again(group: string): string;
  /** A sorted set: when each of those is to be handed out (next). See `scripts/parts/side-store.lua.ts`. */
  againDue(group: string): string;
  /** A sorted set, by text: which messages the group's dead letters are of. See `scripts/parts/dead-letter.lua.ts`. */
  deadIndex(group: string): string;
  /** A key that lives until a known time, by which scripts tell Redis' time. See `scripts/parts/redis-time.lua.ts`. */
  readonly clock: string;
  /** A sorted set: the buckets of scheduled messages, by when their first one is due. See `scripts/parts/later.lua.ts`. */
  readonly later: string;
  /** A hash: how many messages each bucket holds, and how many bytes. */
  readonly laterSizes: string;
  /** A hash: the scheduled messages of one bucket. */
  laterMessages(bucket: string): string;
  /** A sorted set: when each of them is due. */
  laterDue(bucket: string): string;
  /** A string with a time to live: what an Idempotency-Key was answered. */
  once(idempotencyKey: string): string;
  /** A string with a time to live: delivery ids of one webhook source. See `stream/delivery-ids.ts`. */
  deliveries(epoch: string, generation: number, shard: number): string;
}

/** @param prefix the deployment's key prefix, `weir:` by default */
export function streamKeys(prefix: string, stream: string): StreamKeys {
  const base = `${prefix}{${stream}}`;
  return {
    stream: base,
    config: `${base}:config`,
    dead: (group) => `${base}:dead:${group}`,
    again: (group) => `${base}:again:${group}`,
    againDue: (group) => `${base}:again-due:${group}`,
    deadIndex: (group) => `${base}:dead-index:${group}`,
    clock: `${base}:clock`,
    later: `${base}:later`,
    laterSizes: `${base}:later-sizes`,
    laterMessages: (bucket) => `${base}:later-messages:${bucket}`,
    laterDue: (bucket) => `${base}:later-due:${bucket}`,
    once: (idempotencyKey) => `${base}:once:${idempotencyKey}`,
    deliveries: (epoch, generation, shard) => `${base}:ids:${epoch}:${generation}:${shard}`,
  };
}

/** A sorted set: every stream's name, by the time (ms) of the reaper's next visit. */
export function registryKey(prefix: string): string {
  return `${prefix}streams`;
}

/** A list of JSON texts: the reports of the reaper's last runs, newest first. */
export function reaperRunsKey(prefix: string): string {
  return `${prefix}reaper:runs`;
}

/** A hash: alerts that fire or are still to be told, and when the reaper last did all its work. */
export function alertsKey(prefix: string): string {
  return `${prefix}alerts`;
}

/** A hash: the settings of webhook sources as JSON, by name. */
export function webhookSourcesKey(prefix: string): string {
  return `${prefix}webhooks`;
}

/** A hash: when each webhook source last received something, and when and why it last refused something. */
export function webhookStatesKey(prefix: string): string {
  return `${prefix}webhooks:states`;
}

/** A sorted set: the ids of revoked access tokens, by the time (ms) when each would have ended. */
export function revokedTokensKey(prefix: string): string {
  return `${prefix}revoked-tokens`;
}
