import { Webhook } from "standardwebhooks";
import type { AlertSettings } from "../shared/config.ts";
import {
  type AlertChange,
  type AlertRecord,
  type AlertState,
  type AlertSubject,
  alertField,
  latenessOf,
  type Message,
  nextMessage,
  nextRecord,
  type Reading,
  recordText,
  swapAlerts,
} from "../shared/reaper/alerts.ts";
import type { ReaperRun } from "../shared/reaper/runs.ts";
import { unregisteredOf } from "../shared/stream/registry.ts";
import type { JobContext } from "./context.ts";

const DEFAULTS: AlertSettings = { reaperLateMs: 600_000 };

/** What a run learned for alerts. */
export interface Watched {
  readonly readings: readonly Reading[];
  /** The streams that were looked at: an alert on one of them without a reading is not watched any more. */
  readonly streams: ReadonlySet<string>;
}

/** How long a post may take. */
const POST_TIMEOUT_MS = 5_000;
/** How long a run that died while it posted keeps others from it. */
const CLAIM_MS = 60_000;
/** Posts of one run: fewer when it has used up most of the free plan's 50 subrequests. */
const MAX_POSTS = 20;
const SUBREQUESTS = 45;

/**
 * Brings the alerts up to the run's figures and posts what has changed, each change by one run only. What could not be
 * posted waits for the next run.
 * @param state as it was before this run was noted as complete
 */
export async function announce(
  context: JobContext,
  state: AlertState,
  report: ReaperRun,
  watched: Watched,
): Promise<void> {
  const { redis, keyPrefix, alerts: { webhook, reaperLateMs } = DEFAULTS } = context;
  const readings = [...watched.readings, ...readReaper(state, report, reaperLateMs)];
  const unvisited = [...state.alerts.values()].flatMap(({ subject: { stream } }) =>
    stream === null || watched.streams.has(stream) ? [] : [stream],
  );
  const gone = await unregisteredOf(redis, keyPrefix, new Set(unvisited));
  const isOver = ({ stream }: AlertSubject) => stream !== null && (watched.streams.has(stream) || gone.has(stream));
  const plans = planChanges(state, readings, isOver, report.startedAt, webhook !== undefined);

  const room = Math.min(MAX_POSTS, Math.max(1, SUBREQUESTS - redis.usage.roundTrips));
  const posts = webhook === undefined ? [] : claimPosts(plans, room);
  const claimed = new Map(posts.map((post) => [post.field, post.claimed]));
  const cleared = [...state.broken].map(([field, before]): AlertChange => ({ field, before, after: undefined }));
  const changes = plans
    .map(({ field, before, after }) => ({ field, before, after: claimed.get(field) ?? after }))
    .filter(({ before, after }) => before !== (after && recordText(after)))
    .concat(cleared);
  const made = await swapAlerts(redis, keyPrefix, changes);
  const mine = new Set(changes.filter((_, i) => made[i]).map(({ field }) => field));
  if (webhook !== undefined) {
    const own = posts.filter(({ field }) => mine.has(field));
    await swapAlerts(redis, keyPrefix, await postAll(webhook, own));
  }
}

function readReaper(state: AlertState, { startedAt, backlog }: ReaperRun, reaperLateMs: number): Reading[] {
  const late = latenessOf(state.lastCompleteAt, startedAt, reaperLateMs);
  const incomplete = { stream: null, group: null, metric: "reaperIncomplete" } as const;
  return [...(late === undefined ? [] : [late]), { subject: incomplete, value: backlog, threshold: 0 }];
}

interface Plan extends AlertChange {
  readonly subject: AlertSubject;
}

/** What becomes of each alert that no other run is posting just now, changed or not. */
function planChanges(
  { alerts }: AlertState,
  readings: readonly Reading[],
  isOver: (subject: AlertSubject) => boolean,
  nowMs: number,
  hasReceiver: boolean,
): Plan[] {
  const clockMs = Date.now();
  const isFree = (field: string) => (alerts.get(field)?.record.claimedUntilMs ?? 0) <= clockMs;
  const read = readings.map((reading) => ({ field: alertField(reading.subject), reading }));
  const known = new Set(read.map(({ field }) => field));
  const plans = read.map(({ field, reading }): Plan => {
    const stored = alerts.get(field);
    const after = nextRecord(stored?.record, reading, nowMs, hasReceiver);
    return { field, subject: reading.subject, before: stored?.text, after };
  });
  for (const [field, { subject, record, text }] of alerts) {
    if (known.has(field)) continue;
    const after = isOver(subject) ? nextRecord(record, undefined, nowMs, hasReceiver) : record;
    plans.push({ field, subject, before: text, after });
  }
  return plans.filter(({ field }) => isFree(field));
}

/** A post that this run takes on, if it is the first to write the claim. */
interface Post {
  readonly field: string;
  readonly message: Message;
  readonly claimed: AlertRecord;
  readonly told: AlertRecord | undefined;
}

/** The posts that are to be made, those first that have waited longest. */
function claimPosts(plans: readonly Plan[], max: number): Post[] {
  const claimedUntilMs = Date.now() + CLAIM_MS;
  return plans
    .flatMap(({ field, subject, after }): Post[] => {
      const next = after && nextMessage(subject, after);
      return after && next ? [{ field, ...next, claimed: { ...after, claimedUntilMs } }] : [];
    })
    .sort((a, b) => a.claimed.since - b.claimed.since)
    .slice(0, max);
}

/** @returns the alerts as they are after posting, told or not */
async function postAll(webhook: NonNullable<AlertSettings["webhook"]>, posts: readonly Post[]): Promise<AlertChange[]> {
  const faults = await Promise.all(posts.map(({ message }) => post(webhook, message)));
  const reasons = faults.filter((fault) => fault !== undefined);
  if (reasons.length > 0) {
    const message = `${reasons.length} of ${posts.length} alerts could not be posted; the next run tries again`;
    console.error(JSON.stringify({ level: "error", message, reasons: [...new Set(reasons)] }));
  }
  return posts.map(({ field, claimed, told }, i) => ({
    field,
    before: recordText(claimed),
    after: faults[i] === undefined ? told : { ...claimed, claimedUntilMs: 0 },
  }));
}

/**
 * Posts one signed message (https://www.standardwebhooks.com).
 * @returns why it failed, or undefined
 */
async function post(
  { url, secret }: NonNullable<AlertSettings["webhook"]>,
  { id, body }: Message,
): Promise<string | undefined> {
  const sentAt = new Date();
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": String(Math.floor(sentAt.getTime() / 1_000)),
        "webhook-signature": new Webhook(secret).sign(id, sentAt, body),
      },
      body,
      redirect: "manual",
      signal: AbortSignal.timeout(POST_TIMEOUT_MS),
    });
    await response.body?.cancel();
    return response.ok ? undefined : `status ${response.status}`;
  } catch (error) {
    // By name only: a message may hold the URL, and that may hold a secret.
    return error instanceof Error ? error.name : "unknown";
  }
}
