import { alertsKey, streamKeys } from "../keys.ts";
import type { Command, Reply } from "../redis/connection.ts";
import { type Call, type Redis, unwrap } from "../redis/redis.ts";
import { asArray, asMap, asText } from "../redis/reply.ts";
import { swapFieldsScript } from "../scripts/swap-fields.lua.ts";
import { isObject, parseStored } from "../stored-json.ts";
import { ALERT_FIELDS, GROUP_METRICS, type GroupMetric } from "../stream/settings.ts";

/** What the reaper itself is watched for: no complete run for too long, and streams that its last run left undone. */
const REAPER_METRICS = ["reaperLateMs", "reaperIncomplete"] as const;
export type ReaperMetric = (typeof REAPER_METRICS)[number];

/** What a stream is watched for: how late the first of its scheduled messages is. */
const STREAM_METRICS = ["scheduledLateMs"] as const;
export type StreamMetric = (typeof STREAM_METRICS)[number];

/** What an alert is about: a figure of a group, of a stream, or of the reaper. */
export type AlertSubject =
  | { readonly stream: string; readonly group: null; readonly metric: StreamMetric }
  | { readonly stream: string; readonly group: string; readonly metric: GroupMetric }
  | { readonly stream: null; readonly group: null; readonly metric: ReaperMetric };

/** A figure that is watched. */
export interface Reading {
  readonly subject: AlertSubject;
  /** Null when it could not be read this time. */
  readonly value: number | null;
  /** An alert fires while the value is above. */
  readonly threshold: number;
}

export interface FiringAlert {
  readonly stream: string | null;
  readonly group: string | null;
  readonly metric: GroupMetric | StreamMetric | ReaperMetric;
  readonly value: number;
  readonly threshold: number;
  /** When it was found above the threshold. */
  readonly since: number;
  /** Whether the webhook's receiver has been told. */
  readonly notified: boolean;
}

/** An alert in Redis, as JSON: it fires, or it has recovered and its receiver still has to be told. */
export interface AlertRecord {
  /** The last one above the threshold. */
  readonly value: number;
  readonly threshold: number;
  readonly since: number;
  /** Made anew for each crossing. */
  readonly id: string;
  /** Whether the receiver was told that it fires. */
  readonly notified: boolean;
  /** A null value: it is not watched any more. */
  readonly recovered?: { readonly at: number; readonly value: number | null };
  /** Until then one run posts it and no other touches it; a run that died holds it no longer. */
  readonly claimedUntilMs: number;
}

export interface StoredAlert {
  readonly subject: AlertSubject;
  readonly record: AlertRecord;
  /** As it was read, to change it only if it still is so. */
  readonly text: string;
}

/** All that is kept of alerts, by field. */
export interface AlertState {
  readonly alerts: ReadonlyMap<string, StoredAlert>;
  /** Fields that hold something else than an alert, with what they hold: to be removed. */
  readonly broken: ReadonlyMap<string, string>;
  readonly lastCompleteAt: number | undefined;
}

export interface Message {
  readonly id: string;
  readonly body: string;
}

const LAST_COMPLETE = "lastCompleteAt";

export function alertField({ stream, group, metric }: AlertSubject): string {
  return JSON.stringify([stream, group, metric]);
}

export function alertStateCall(keyPrefix: string): Command {
  return ["HGETALL", alertsKey(keyPrefix)];
}

/** Notes that a run of the reaper has done all that was due. */
export function noteCompleteCall(keyPrefix: string, nowMs: number): Command {
  return ["HSET", alertsKey(keyPrefix), LAST_COMPLETE, nowMs];
}

export function decodeAlertState(reply: Parameters<typeof asMap>[0]): AlertState {
  const hash = asMap(reply);
  const alerts = new Map<string, StoredAlert>();
  const broken = new Map<string, string>();
  for (const [field, value] of hash) {
    if (field === LAST_COMPLETE) continue;
    const text = asText(value);
    const [subject, record] = [decodeSubject(parseStored(field)), decodeRecord(parseStored(text))];
    if (subject !== undefined && record !== undefined) alerts.set(field, { subject, record, text });
    else broken.set(field, text);
  }
  return { alerts, broken, lastCompleteAt: readTime(hash.get(LAST_COMPLETE)) };
}

/** Another client may have written anything there: that counts as never. */
function readTime(reply: Reply | undefined): number | undefined {
  const ms = typeof reply === "string" && reply !== "" ? Number(reply) : Number.NaN;
  return Number.isSafeInteger(ms) ? ms : undefined;
}

function decodeSubject(value: unknown): AlertSubject | undefined {
  if (!Array.isArray(value)) return undefined;
  const [stream, group, metric]: unknown[] = value;
  if (stream === null && group === null) {
    const own = REAPER_METRICS.find((known) => known === metric);
    return own && { stream, group, metric: own };
  }
  if (typeof stream === "string" && group === null) {
    const own = STREAM_METRICS.find((one) => one === metric);
    return own && { stream, group, metric: own };
  }
  const known = GROUP_METRICS.find((one) => one === metric);
  const isNamed = typeof stream === "string" && typeof group === "string";
  return isNamed && known !== undefined ? { stream, group, metric: known } : undefined;
}

function decodeRecord(record: unknown): AlertRecord | undefined {
  if (!isObject(record)) return undefined;
  const { value, threshold, since, id, notified, recovered, claimedUntilMs } = record;
  if (typeof value !== "number" || typeof threshold !== "number" || typeof since !== "number") return undefined;
  if (typeof id !== "string" || typeof notified !== "boolean" || typeof claimedUntilMs !== "number") return undefined;
  const whole = { value, threshold, since, id, notified, claimedUntilMs };
  if (recovered === undefined) return whole;
  if (!isObject(recovered) || typeof recovered.at !== "number") return undefined;
  const last = recovered.value;
  if (last !== null && typeof last !== "number") return undefined;
  return { ...whole, recovered: { at: recovered.at, value: last } };
}

/** When the reaper last did all that was due. */
export async function lastCompleteRunAt(redis: Redis, keyPrefix: string): Promise<number | null> {
  const [last = null] = asArray(await redis.send(["HMGET", alertsKey(keyPrefix), LAST_COMPLETE]));
  return readTime(last) ?? null;
}

/**
 * What a new figure makes of an alert.
 * @param reading undefined when it is no longer watched
 * @param hasReceiver without one, nobody need be told of what is over
 * @returns the record as it is to be, the same object when nothing changes; undefined for none
 */
export function nextRecord(
  record: AlertRecord | undefined,
  reading: { readonly value: number | null; readonly threshold: number } | undefined,
  nowMs: number,
  hasReceiver: boolean,
): AlertRecord | undefined {
  if (reading?.value === null) return record;
  if (reading !== undefined && reading.value > reading.threshold) {
    const { value, threshold } = reading;
    if (record === undefined || record.recovered !== undefined) {
      return { value, threshold, since: nowMs, id: crypto.randomUUID(), notified: false, claimedUntilMs: 0 };
    }
    return record.value === value && record.threshold === threshold ? record : { ...record, value, threshold };
  }
  if (record === undefined || !hasReceiver) return undefined;
  if (record.recovered !== undefined) return record;
  const threshold = reading?.threshold ?? record.threshold;
  return { ...record, threshold, recovered: { at: nowMs, value: reading?.value ?? null } };
}

/** What to tell the receiver next about an alert, if anything; and the record once that was told. */
export function nextMessage(
  { stream, group, metric }: AlertSubject,
  record: AlertRecord,
): { message: Message; told: AlertRecord | undefined } | undefined {
  const { value, threshold, since, id, notified, recovered } = record;
  const data = { stream, group, metric, value, threshold, since };
  const told = { ...record, notified: true, claimedUntilMs: 0 };
  const write = (type: string, at: number, more = {}) =>
    JSON.stringify({ type, timestamp: new Date(at).toISOString(), data: { ...data, ...more } });
  // It recovered before its receiver could be told: first tell that it fired.
  if (!notified) return { message: { id: `msg_${id}_firing`, body: write("alert.firing", since) }, told };
  if (recovered === undefined) return undefined;
  const body = write("alert.recovered", recovered.at, { value: recovered.value });
  return { message: { id: `msg_${id}_recovered`, body }, told: undefined };
}

/** A change of one alert: what it was when it was read, and what it becomes; undefined for none. */
export interface AlertChange {
  readonly field: string;
  readonly before: string | undefined;
  readonly after: AlertRecord | undefined;
}

/** How a record is written; what a change compares with. */
export function recordText(record: AlertRecord): string {
  return JSON.stringify(record);
}

const CHANGES_AT_ONCE = 1_000;

/**
 * Makes changes, each only if nobody else has changed that alert since it was read.
 * @returns whether each was made
 */
export async function swapAlerts(redis: Redis, keyPrefix: string, changes: readonly AlertChange[]): Promise<boolean[]> {
  const calls: Call[] = [];
  for (let i = 0; i < changes.length; i += CHANGES_AT_ONCE) {
    const args = changes
      .slice(i, i + CHANGES_AT_ONCE)
      .flatMap(({ field, before, after }) => [field, before ?? "", after === undefined ? "" : recordText(after)]);
    calls.push({ script: swapFieldsScript, keys: [alertsKey(keyPrefix)], args });
  }
  const outcomes = await redis.pipeline(calls);
  return outcomes.flatMap((outcome) => asArray(unwrap(outcome)).map((made) => made === 1));
}

/** How late the reaper is, as a figure that is watched; undefined before its first complete run. */
export function latenessOf(
  lastCompleteAt: number | undefined,
  nowMs: number,
  reaperLateMs: number,
): Reading | undefined {
  if (lastCompleteAt === undefined) return undefined;
  const subject = { stream: null, group: null, metric: "reaperLateMs" } as const;
  return { subject, value: Math.max(0, nowMs - lastCompleteAt), threshold: reaperLateMs };
}

/**
 * Lists what fires, the longest first. What was deleted or is not watched any more is left out at once, and a reaper
 * that does not run is in the list although it cannot notice that itself.
 */
export async function listAlerts(
  redis: Redis,
  keyPrefix: string,
  { nowMs, reaperLateMs }: { nowMs: number; reaperLateMs: number },
): Promise<FiringAlert[]> {
  const { alerts, lastCompleteAt } = decodeAlertState(await redis.send(alertStateCall(keyPrefix)));
  const stored = [...alerts.values()].filter(({ record }) => record.recovered === undefined);
  const thresholds = await redis.pipeline(stored.map(({ subject }) => thresholdCall(keyPrefix, subject)));
  const firing = stored.flatMap(({ subject, record }, i): FiringAlert[] => {
    const { value, threshold, since, notified } = record;
    const isWatched = subject.stream === null || asArray(unwrap(thresholds[i] ?? null))[0] !== null;
    return isWatched ? [{ ...subject, value, threshold, since, notified }] : [];
  });
  const late = latenessOf(lastCompleteAt, nowMs, reaperLateMs);
  if (late?.value != null && late.value > late.threshold && !alerts.has(alertField(late.subject))) {
    const { subject, value, threshold } = late;
    firing.push({ ...subject, value, threshold, since: nowMs - value + threshold, notified: false });
  }
  const fieldOf = ({ stream, group, metric }: FiringAlert) => JSON.stringify([stream, group, metric]);
  return firing.sort((a, b) => a.since - b.since || (fieldOf(a) < fieldOf(b) ? -1 : 1));
}

/** One field for each alert, so that answers are found by place; those of the reaper have nothing to look up. */
function thresholdCall(keyPrefix: string, subject: AlertSubject): Command {
  if (subject.stream === null) return ["HMGET", alertsKey(keyPrefix), LAST_COMPLETE];
  const { config } = streamKeys(keyPrefix, subject.stream);
  // It is not late any more where there is none.
  if (subject.group === null) return ["HMGET", config, "laterDue"];
  return ["HMGET", config, `${ALERT_FIELDS[subject.metric]}:${subject.group}`];
}
