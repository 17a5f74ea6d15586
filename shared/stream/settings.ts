import type { Reply } from "../redis/connection.ts";
import { isObject, parseStored } from "../stored-json.ts";

/**
 * What trimming does with messages that some group has not finished: stop there, move them to that group's dead letters,
 * or drop them and tell the group.
 */
export const UNFINISHED = ["keep", "dead-letter", "drop"] as const;
export type Unfinished = (typeof UNFINISHED)[number];

/** Settings of a stream, complete. Times in ms; null is no limit. */
export interface StreamConfig {
  readonly retention: {
    readonly maxAgeMs: number | null;
    readonly maxLength: number | null;
    readonly unfinished: Unfinished;
    /** Whether messages go as soon as every group has acknowledged them; never while there is no group. */
    readonly deleteAcknowledged: boolean;
    readonly deadLetterMaxAgeMs: number;
  };
  readonly maxMessageBytes: number;
  readonly dedupeWindowMs: number;
}

/** Whether there is ever anything to trim. */
export function isTrimmed({ retention }: StreamConfig): boolean {
  return retention.maxAgeMs !== null || retention.maxLength !== null || retention.deleteAcknowledged;
}

/** Whether a group has a threshold. */
export function isWatched(thresholds: AlertThresholds): boolean {
  return Object.values(thresholds).some((threshold) => threshold !== null);
}

/** Settings of a group, complete. Times in ms. */
export interface GroupConfig {
  readonly ackWaitMs: number;
  readonly maxDeliveries: number;
  /** Between which delays a retry without one comes back. */
  readonly backoff: { readonly minMs: number; readonly maxMs: number };
  /** An alert fires above this figure; null: never. */
  readonly alerts: AlertThresholds;
}

/** What a group can be watched for, each with its field in the config hash. */
export const ALERT_FIELDS = {
  lag: "alertLag",
  pending: "alertPending",
  oldestPendingMs: "alertOldestPendingMs",
  deadLetters: "alertDeadLetters",
} as const satisfies Readonly<Record<GroupMetric, string>>;
export const GROUP_METRICS = ["lag", "pending", "oldestPendingMs", "deadLetters"] as const;
export type GroupMetric = (typeof GROUP_METRICS)[number];
export type AlertThresholds = { readonly [Metric in GroupMetric]: number | null };

export const STREAM_DEFAULTS: StreamConfig = {
  retention: {
    maxAgeMs: null,
    maxLength: null,
    unfinished: "keep",
    deleteAcknowledged: false,
    deadLetterMaxAgeMs: 14 * 24 * 3_600_000,
  },
  maxMessageBytes: 64 * 1024,
  dedupeWindowMs: 5 * 60_000,
};

export const GROUP_DEFAULTS: GroupConfig = {
  ackWaitMs: 30_000,
  maxDeliveries: 5,
  backoff: { minMs: 1_000, maxMs: 15 * 60_000 },
  alerts: { lag: null, pending: null, oldestPendingMs: null, deadLetters: null },
};

/** Fields of the config hash that belong to a group, each followed by `:<group>`; deleted with it. */
export const GROUP_FIELDS = [
  "start",
  "ackWaitMs",
  "maxDeliveries",
  "backoffMinMs",
  "backoffMaxMs",
  ...Object.values(ALERT_FIELDS),
  "ackWaitBefore",
  "look",
  // What an earlier version wrote.
  "cursor",
  "held",
  "swept",
  "pruned",
  "againDue",
  "againSequence",
  "deadSince",
  "gap",
  "dropped",
  "counted",
  "incarnation",
] as const;

/** Tells streams and groups of one name apart: 8 characters, since every lease carries them. */
export function newIncarnation(): string {
  return crypto.randomUUID().slice(0, 8);
}

/** An incarnation as a script read it; "" for none, and for what another client has written there. */
export function readIncarnation(reply: Reply | undefined): string {
  return typeof reply === "string" && /^[0-9a-f]{8}$/.test(reply) ? reply : "";
}

/** What a PUT names: absent is unchanged, null is back to the default. */
export type Patch<Fields extends string> = { readonly [Field in Fields]?: string | number | null | undefined };

/** A patch as the scripts take it: `[number of fields to remove, those, fields and values to set]`. */
export function patchArguments(patch: Patch<string>): (string | number)[] {
  const removals: string[] = [];
  const updates: (string | number)[] = [];
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) removals.push(field);
    else if (value !== undefined) updates.push(field, value);
  }
  return [removals.length, ...removals, ...updates];
}

type ConfigHash = ReadonlyMap<string, Reply>;

export function decodeStreamConfig(hash: ConfigHash): StreamConfig {
  return {
    retention: {
      maxAgeMs: numberAt(hash, "maxAgeMs", null),
      maxLength: numberAt(hash, "maxLength", null),
      unfinished: UNFINISHED.find((mode) => mode === hash.get("unfinished")) ?? STREAM_DEFAULTS.retention.unfinished,
      deleteAcknowledged: hash.get("deleteAcknowledged") === "1",
      deadLetterMaxAgeMs: numberAt(hash, "deadLetterMaxAgeMs", STREAM_DEFAULTS.retention.deadLetterMaxAgeMs),
    },
    maxMessageBytes: numberAt(hash, "maxMessageBytes", STREAM_DEFAULTS.maxMessageBytes),
    dedupeWindowMs: numberAt(hash, "dedupeWindowMs", STREAM_DEFAULTS.dedupeWindowMs),
  };
}

export function decodeGroupConfig(hash: ConfigHash, group: string): GroupConfig {
  return {
    ackWaitMs: numberAt(hash, `ackWaitMs:${group}`, GROUP_DEFAULTS.ackWaitMs),
    maxDeliveries: numberAt(hash, `maxDeliveries:${group}`, GROUP_DEFAULTS.maxDeliveries),
    backoff: {
      minMs: numberAt(hash, `backoffMinMs:${group}`, GROUP_DEFAULTS.backoff.minMs),
      maxMs: numberAt(hash, `backoffMaxMs:${group}`, GROUP_DEFAULTS.backoff.maxMs),
    },
    alerts: decodeThresholds(hash, group),
  };
}

export function decodeThresholds(hash: ConfigHash, group: string): AlertThresholds {
  const at = (metric: GroupMetric) => numberAt(hash, `${ALERT_FIELDS[metric]}:${group}`, null);
  return {
    lag: at("lag"),
    pending: at("pending"),
    oldestPendingMs: at("oldestPendingMs"),
    deadLetters: at("deadLetters"),
  };
}

/** What trimming took from a group that was not done with it, until the group has acknowledged something after it. */
export interface Gap {
  readonly fromId: string;
  readonly toId: string;
  readonly messages: number;
}

/** Reads a gap as a script wrote it; anything else counts as none. */
export function decodeGap(text: Reply | undefined): Gap | null {
  const gap = typeof text === "string" ? parseStored(text) : undefined;
  if (!isObject(gap)) return null;
  const { fromId, toId, messages } = gap;
  const isWhole = typeof fromId === "string" && typeof toId === "string" && typeof messages === "number";
  return isWhole ? { fromId, toId, messages } : null;
}

export function decodeGroupGap(hash: ConfigHash, group: string): { gap: Gap | null; dropped: number } {
  return { gap: decodeGap(hash.get(`gap:${group}`)), dropped: numberAt(hash, `dropped:${group}`, 0) };
}

/** What the config says of scheduled messages. */
export interface LaterFacts {
  /** How many there are. */
  readonly scheduled: number;
  /** When the first one is due, or sooner; undefined: there is none. */
  readonly laterDueMs: number | undefined;
}

export function decodeLaterFacts(hash: ConfigHash): LaterFacts {
  const laterDueMs = numberAt(hash, "laterDue", undefined);
  return { scheduled: laterDueMs === undefined ? 0 : countOr0(hash.get("scheduled")), laterDueMs };
}

/** A count as a script wrote it; what another client has written there is 0. */
export function countOr0(value: Reply | undefined): number {
  const count = typeof value === "string" ? Number(value) : Number.NaN;
  return Number.isSafeInteger(count) && count >= 0 ? count : 0;
}

function numberAt<Default>(hash: ConfigHash, field: string, fallback: Default): number | Default {
  const value = hash.get(field);
  const number = value === undefined ? Number.NaN : Number(value);
  // Another client may have written anything there.
  return Number.isFinite(number) ? number : fallback;
}
