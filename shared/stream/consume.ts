import { type LeaseFormat, leaseFormat } from "../lease.ts";
import { decodeEntry, messageJson } from "../message.ts";
import { type Outcome, type Reply, ReplyError } from "../redis/connection.ts";
import type { Call } from "../redis/redis.ts";
import { asArray, asArrayOrEmpty, asNumber, asText } from "../redis/reply.ts";
import { reclaimPollScript } from "../scripts/reclaim-poll.lua.ts";
import { isReclaimPoll, nextPoll, readPollState, writePollState } from "./poll-state.ts";
import { GROUP_DEFAULTS, STREAM_DEFAULTS } from "./settings.ts";
import type { CachedSettings, SettingsCache } from "./settings-cache.ts";
import { acknowledgeCall, readLeases, type Settled } from "./settle.ts";
import { type EventStream, groupError } from "./stream.ts";

/** How much one batch may hold, by the stream's `maxMessageBytes`: Upstash refuses to send a reply above 10 MB. */
const BATCH_BYTES = 8 * 1024 * 1024;

export interface ConsumeRequest {
  readonly consumer: string;
  /** 1 to 1,000. */
  readonly batchSize: number;
  /** Leases of what was done with since the last poll. */
  readonly acks: readonly string[];
  readonly pollState?: string | undefined;
}

export interface Batch {
  /** Each message as JSON text, with its lease. */
  readonly messages: readonly string[];
  readonly settled: Settled;
  readonly ackWaitMs: number;
  readonly pollState: string;
  readonly pollAfterMs: number;
}

/** What a poll of either kind brings. */
interface Handed {
  readonly messages: readonly string[];
  readonly ackWaitMs: number;
  readonly room: number;
  readonly moreExpired: boolean;
}

/** One of the two kinds of poll: the call to make, and how to read what it answers. */
interface Poll {
  readonly call: Call;
  decode(reply: Reply): Handed;
}

/**
 * Acknowledges the last batch and hands out the next one, in one round trip that never waits.
 * @throws {WeirError} `unknown-stream`, `unknown-group`; `too-many-pending` (the acks were applied)
 */
export async function consume(
  stream: EventStream,
  group: string,
  request: ConsumeRequest,
  cache: SettingsCache,
): Promise<Batch> {
  const state = readPollState(request.pollState);
  const settings = cache.get(stream, group);
  // A fast poll must know the settings beforehand; the script of a reclaim poll reads them itself.
  const wasReclaim = settings === undefined || isReclaimPoll(state);
  const poll = wasReclaim ? reclaimPoll(stream, group, request, cache) : fastPoll(stream, group, request, settings);

  const leases = readLeases(stream, group, request.acks);
  const acknowledge = acknowledgeCall(stream, group, leases);
  const outcomes = await stream.redis.pipeline(acknowledge === undefined ? [poll.call] : [acknowledge, poll.call]);
  const acked = acknowledge === undefined ? 0 : (outcomes[0] ?? null);
  if (acked instanceof ReplyError) throw await groupError(stream, group, acked);
  const handed = await decodePoll(stream, group, poll, outcomes.at(-1) ?? null);

  const { messages, room, moreExpired, ackWaitMs } = handed;
  const next = nextPoll(state, { wasReclaim, handedOut: messages.length, room, moreExpired });
  return {
    messages,
    settled: { acked: asNumber(acked), stale: leases.stale },
    ackWaitMs,
    pollState: writePollState(next.state),
    pollAfterMs: next.pollAfterMs,
  };
}

async function decodePoll(stream: EventStream, group: string, poll: Poll, outcome: Outcome): Promise<Handed> {
  // A script that was refused new messages hands Redis' words on, so that its commands are still counted.
  const refused = Array.isArray(outcome) && outcome[0] === "refused" ? new ReplyError(asText(outcome[1])) : outcome;
  if (refused instanceof ReplyError) throw await groupError(stream, group, refused);
  return poll.decode(refused);
}

/** New messages only, by one plain command. */
function fastPoll(stream: EventStream, group: string, request: ConsumeRequest, settings: CachedSettings): Poll {
  const room = roomFor(request.batchSize, settings.maxMessageBytes);
  const lease = leaseFormat(stream.name, group);
  return {
    call: ["XREADGROUP", "GROUP", group, request.consumer, "COUNT", room, "STREAMS", stream.keys.stream, ">"],
    decode: (reply) => ({
      messages: firstDeliveries(asArray(asArrayOrEmpty(reply)[0] ?? [null, []])[1], lease, request.consumer),
      ackWaitMs: settings.ackWaitMs,
      room,
      moreExpired: false,
    }),
  };
}

/** Expired deliveries first, then new messages, by one script. */
function reclaimPoll(stream: EventStream, group: string, request: ConsumeRequest, cache: SettingsCache): Poll {
  const { consumer, batchSize } = request;
  const lease = leaseFormat(stream.name, group);
  return {
    call: {
      script: reclaimPollScript,
      keys: [stream.keys.stream, stream.keys.config, stream.keys.dead(group)],
      args: [
        group,
        consumer,
        batchSize,
        BATCH_BYTES,
        GROUP_DEFAULTS.ackWaitMs,
        GROUP_DEFAULTS.maxDeliveries,
        STREAM_DEFAULTS.maxMessageBytes,
      ],
    },
    decode(reply) {
      const [ackWait, maxBytes, again, earlier, fresh, more] = asArray(reply);
      const settings = { ackWaitMs: asNumber(ackWait), maxMessageBytes: asNumber(maxBytes) };
      cache.set(stream, group, settings);
      const counts = asArray(earlier).map(asNumber);
      const redelivered = asArray(again).map((entry, i) => delivery(entry, lease, consumer, (counts[i] ?? 0) + 1));
      return {
        messages: [...redelivered, ...firstDeliveries(fresh, lease, consumer)],
        ackWaitMs: settings.ackWaitMs,
        room: roomFor(batchSize, settings.maxMessageBytes),
        moreExpired: more === 1,
      };
    },
  };
}

/** How many messages a batch may have: COUNT cannot limit bytes, so the largest message that there may be does. */
function roomFor(batchSize: number, maxMessageBytes: number): number {
  return Math.max(1, Math.min(batchSize, Math.floor(BATCH_BYTES / maxMessageBytes)));
}

function firstDeliveries(entries: Reply | undefined, lease: LeaseFormat, consumer: string): string[] {
  return asArray(entries).map((entry) => delivery(entry, lease, consumer, 1));
}

function delivery(reply: Reply, lease: LeaseFormat, consumer: string, deliveries: number): string {
  const { id, fields } = decodeEntry(reply);
  return messageJson(id, fields, { deliveries, lease: lease.write({ id, deliveries, consumer }) });
}
