import { leaseFormat } from "../lease.ts";
import { decodeEntry, type Entry } from "../message.ts";
import type { Reply, RunOptions } from "../redis/connection.ts";
import type { Call } from "../redis/redis.ts";
import { asArray, asArrayOrEmpty, asNumber } from "../redis/reply.ts";
import { reclaimPollScript } from "../scripts/reclaim-poll.lua.ts";
import { BATCH_BYTES, DeliveryReader, roomFor } from "./delivery.ts";
import { inTime, type Waiting } from "./in-time.ts";
import { adoptStream } from "./manage.ts";
import { groupError } from "./missing.ts";
import { isReclaimPoll, lookOf, nextPoll, readPollState, writePollState } from "./poll-state.ts";
import { promoteInPassing } from "./promote.ts";
import { decodeGap, type Gap, GROUP_DEFAULTS, newIncarnation, readIncarnation } from "./settings.ts";
import type { CachedGroup, SettingsCache } from "./settings-cache.ts";
import { latestAcked, planSettle, type Settled, type SettleRequest } from "./settle.ts";
import { Settling } from "./settling.ts";
import { type EventStream, groupKeys } from "./stream.ts";

export interface ConsumeRequest extends SettleRequest {
  readonly consumer: string;
  /** 1 to 1,000. */
  readonly batchSize: number;
  readonly pollState?: string | undefined;
  /** First what this consumer holds already: for one that restarts under its name. */
  readonly recover: boolean;
}

export interface Batch {
  /** Each message as JSON text, with its lease. */
  readonly messages: readonly string[];
  readonly settled: Settled;
  readonly ackWaitMs: number;
  readonly pollState: string;
  readonly pollAfterMs: number;
  /** What trimming took from the group, told until it has acknowledged something after that. */
  readonly gap?: Gap;
}

/** What a poll of either kind brings. */
interface Handed {
  readonly messages: readonly string[];
  readonly ackWaitMs: number;
  readonly room: number;
  readonly moreWaiting: boolean;
  readonly isUnfinished: boolean;
  readonly gap: Gap | null;
  /** From when on (Unix ms) something may have to be handed out again; 0: nothing known. */
  readonly againFromMs: number;
  /** Whether another client has made the stream, and Weir does not know it yet. */
  readonly isUnadopted: boolean;
  /** Since when a scheduled message of the stream is due; below 0: none is, as far as this poll knows. */
  readonly laterDueMs: number;
}

/** One of the two kinds of poll: the call to make, and how to read what it answers. */
interface Poll {
  readonly call: Call;
  readonly options?: RunOptions;
  decode(reply: Reply): Handed | Promise<Handed>;
}

/** What polls have besides the request. */
export interface PollContext extends Waiting {
  readonly cache: SettingsCache;
  /** Unix milliseconds; only a hint, Redis' own clock decides. */
  readonly nowMs: number;
}

/**
 * Settles the last batch and hands out the next one, in one round trip that never waits; in more where what is settled weighs
 * megabytes.
 * @throws {WeirError} `unknown-stream`, `unknown-group`; any other, such as `too-many-pending`, with what was settled all the
 *   same, where that is known
 */
export async function consume(
  stream: EventStream,
  group: string,
  request: ConsumeRequest,
  context: PollContext,
): Promise<Batch> {
  const { nowMs, cache } = context;
  const state = readPollState(request.pollState);
  const settings = cache.group(stream, group);
  // A fast poll must know the settings beforehand; the script of a reclaim poll reads them itself. And nothing keeps a
  // fast poll from running when nobody waits for it any more: it must not spend a message's only delivery.
  const mayBeFast = settings !== undefined && settings.maxDeliveries > 1 && !request.recover;
  const plan = planSettle(stream, group, request, settings);
  // What moves messages may be refused, and then a poll must hand out nothing that its answer cannot carry: only a script can
  // look first. And only a script can acknowledge by leases that may be of another group.
  const needsScript = plan.moving !== "" || plan.uncertain.argument !== "";
  const wasReclaim = !mayBeFast || needsScript || isReclaimPoll(state, nowMs);
  const look = lookOf(state, nowMs);

  const settling = new Settling(stream, group, plan);
  await settling.ahead(settings);
  const polling = wasReclaim
    ? reclaimInTime(stream, group, { request, context, look, settling })
    : sendPoll(stream, fastPoll(stream, group, request, settings, nowMs), settling);
  const handed = await polling.catch(async (error: unknown) => {
    throw settling.told(stream.redis.unread(await groupError(stream, group, error)));
  });
  const { settled } = settling;

  const { messages, room, isUnfinished, ackWaitMs, gap, againFromMs, laterDueMs } = handed;
  // What is appended now the next poll hands out.
  const appended = laterDueMs < 0 ? 0 : await promoteInPassing(stream, cache, laterDueMs, nowMs);
  const moreWaiting = handed.moreWaiting || appended > 0;
  const found = { wasReclaim, look, handedOut: messages.length, room, moreWaiting, isUnfinished, againFromMs };
  const next = nextPoll(state, { ...found, hasGap: gap !== null, hasRetried: settled.retried > 0 }, nowMs);
  // The messages are handed out: whatever becomes of this, they must reach their consumer. The next look tries again.
  if (handed.isUnadopted) await adoptStream(stream, nowMs).catch(() => undefined);
  const { pollAfterMs } = next;
  const batch = { messages, settled, ackWaitMs, pollState: writePollState(next.state), pollAfterMs };
  return gap === null ? batch : { ...batch, gap };
}

async function sendPoll({ redis }: EventStream, poll: Poll, settling: Settling): Promise<Handed> {
  return poll.decode(await settling.take(await redis.pipeline([...settling.calls, poll.call], poll.options)));
}

/** What a reclaim poll needs besides stream and group. */
interface Reclaim {
  readonly request: ConsumeRequest;
  readonly context: PollContext;
  readonly look: number;
  readonly settling: Settling;
}

/** Settles once, and polls once more where Redis came to the first poll too late. */
async function reclaimInTime(stream: EventStream, group: string, reclaim: Reclaim): Promise<Handed> {
  const { settling, context } = reclaim;
  const { poll, reply } = await inTime(stream.redis, context, async (untilMs) => {
    const poll = reclaimPoll(stream, group, reclaim, untilMs);
    const answer = await settling.take(await stream.redis.pipeline([...settling.calls, poll.call]));
    const [redisNowMs, acked, foreign, ...reply] = asArray(answer);
    settling.takeAcks(acked, foreign);
    return { redisNowMs: asNumber(redisNowMs), isLate: reply.length === 0, poll, reply };
  });
  return poll.decode(reply);
}

/** New messages only, by one plain command. */
function fastPoll(
  stream: EventStream,
  group: string,
  request: ConsumeRequest,
  settings: CachedGroup,
  nowMs: number,
): Poll {
  const room = roomFor(request.batchSize, settings.maxMessageBytes);
  const reader = new DeliveryReader(leaseFormat(stream.name, group, settings.incarnation), request.consumer);
  return {
    call: ["XREADGROUP", "GROUP", group, request.consumer, "COUNT", room, "STREAMS", stream.keys.stream, ">"],
    options: { mayReplaceBytes: true },
    async decode(reply) {
      const [, entries] = asArray(asArrayOrEmpty(reply)[0] ?? [null, []]);
      const messages = reader.first(await withExactBytes(stream, asArray(entries).map(decodeEntry)));
      const { ackWaitMs } = settings;
      // When what is handed out now expires, unless it is settled.
      const againFromMs = messages.length === 0 ? 0 : nowMs + ackWaitMs;
      const nothingMore = { moreWaiting: false, isUnfinished: false, gap: null, isUnadopted: false, laterDueMs: -1 };
      return { messages, ackWaitMs, room, againFromMs, ...nothingMore };
    },
  };
}

/** Stands for bytes that are not UTF-8, unless a message really holds this character. */
const REPLACEMENT = "\ufffd";

/**
 * Entries as they are in Redis: where one came with U+FFFD, they are read again, in a second round trip (which sees what
 * the poll saw on a replicated database too: Upstash's client sends the poll's sync token with it). Should that fail,
 * they are handed out again when their leases end, as when an answer is lost.
 * @param entries in the order of the stream, with nothing between them
 */
async function withExactBytes({ keys, redis }: EventStream, entries: readonly Entry[]): Promise<readonly Entry[]> {
  const unclear = entries.filter(({ fields }) => fields.some(isReplaced));
  const [first, last] = [unclear[0], unclear.at(-1)];
  if (first === undefined || last === undefined) return entries;
  const exact = asArray(await redis.send(["XRANGE", keys.stream, first.id, last.id])).map(decodeEntry);
  const byId = new Map(exact.map((entry) => [entry.id, entry]));
  // Deleted since: stays as it came.
  return entries.map((entry) => byId.get(entry.id) ?? entry);
}

function isReplaced(text: Reply): boolean {
  return typeof text === "string" && text.includes(REPLACEMENT);
}

/** Expired deliveries and what is due in the side store first, then new messages, by one script. */
function reclaimPoll(
  stream: EventStream,
  group: string,
  { request, context, look, settling }: Reclaim,
  untilMs: number,
): Poll {
  const { consumer, batchSize, recover } = request;
  const { cache, nowMs } = context;
  const { ackWaitMs, maxDeliveries } = GROUP_DEFAULTS;
  return {
    call: {
      script: reclaimPollScript,
      keys: groupKeys(stream, group),
      args: [
        group,
        consumer,
        batchSize,
        BATCH_BYTES,
        ackWaitMs,
        maxDeliveries,
        look,
        recover ? 1 : 0,
        latestAcked(stream, group, request),
        Math.floor(untilMs),
        newIncarnation(),
        settling.acks,
        settling.moving,
      ],
    },
    decode(reply) {
      const [
        ackWait,
        maxBytes,
        most,
        again,
        earlier,
        due,
        fresh,
        more,
        gap,
        againInMs,
        unfinished,
        incarnation,
        ofStream,
        laterDue,
      ] = asArray(reply);
      const settings = {
        ackWaitMs: asNumber(ackWait),
        maxMessageBytes: asNumber(maxBytes),
        maxDeliveries: asNumber(most),
        incarnation: readIncarnation(incarnation),
      };
      cache.setGroup(stream, group, settings);
      const reader = new DeliveryReader(leaseFormat(stream.name, group, settings.incarnation), consumer);
      return {
        messages: [
          ...reader.again(again, earlier),
          ...reader.fromSideStore(due),
          ...reader.first(asArray(fresh).map(decodeEntry)),
        ],
        ackWaitMs: settings.ackWaitMs,
        room: roomFor(batchSize, settings.maxMessageBytes),
        moreWaiting: more === 1,
        isUnfinished: unfinished === 1,
        gap: decodeGap(gap),
        againFromMs: asNumber(againInMs) < 0 ? 0 : nowMs + asNumber(againInMs),
        isUnadopted: ofStream === "",
        laterDueMs: asNumber(laterDue),
      };
    },
  };
}
