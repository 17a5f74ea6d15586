/**
 * The types of Weir's HTTP contract: what requests and answers hold, to the letter. The server's schemas are checked
 * against them when it is compiled.
 *
 * Ids, leases, cursors and poll states are opaque text. Times are Unix milliseconds; durations are milliseconds, with `Ms`
 * in the name. A member of a request that is `undefined` is left out.
 */

/** A `code` of an error answer; stable. */
export type ErrorCode =
  | "invalid-request"
  | "stale-webhook"
  | "unauthenticated"
  | "bad-signature"
  | "forbidden"
  | "unknown-stream"
  | "unknown-group"
  | "unknown-consumer"
  | "unknown-message"
  | "unknown-dead-letter"
  | "not-found"
  | "method-not-allowed"
  | "conflict"
  | "payload-too-large"
  | "unsupported-media-type"
  | "idempotency-mismatch"
  | "too-many-pending"
  | "rate-limited"
  | "internal-error"
  | "misconfigured"
  | "not-available"
  | "redis-unavailable"
  | "outcome-unknown"
  | "stream-full"
  | "redis-full";

/** One invalid member of a request: where it is, what was expected and what came. */
export interface InvalidMember {
  /** Such as `messages[3].data`; empty: the body as a whole. */
  readonly path: string;
  readonly message: string;
}

/** The body of an error answer (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** What was expected and what came, for people. */
  readonly detail: string;
  readonly code: ErrorCode;
  /** Every invalid member at once. */
  readonly errors?: readonly InvalidMember[] | undefined;
  /** What the request settled all the same. */
  readonly settled?: Settled | undefined;
}

/** What every list takes. */
export interface PageQuery {
  /** `next` of the page before. */
  readonly cursor?: string | undefined;
  /** Items a page, 1 to 1,000; 100 unless set. */
  readonly limit?: number | undefined;
}

/** Where a range begins or ends: an id, Unix milliseconds, an ISO 8601 time, `-` (the first) or `+` (the last). */
export type RangeBound = string | number;

/** Where a group reads: `earliest`, `latest`, an id (reading goes on after it), Unix milliseconds or an ISO 8601 time. */
export type StartPosition = string | number;

// Streams

/** What happens on trimming with messages that a group has not finished. */
export type Unfinished = "keep" | "dead-letter" | "drop";

/** Absent is unchanged, null is back to the default. */
export interface StreamSettings {
  readonly retention?:
    | {
        /** Messages older than this go; none unless set. */
        readonly maxAgeMs?: number | null | undefined;
        /** So many messages stay at most; no limit unless set. */
        readonly maxLength?: number | null | undefined;
        /** `keep` unless set: trimming stops at what a group has not finished. */
        readonly unfinished?: Unfinished | null | undefined;
        /** Whether messages go as soon as every group has acknowledged them; false unless set. */
        readonly deleteAcknowledged?: boolean | null | undefined;
        /** How long dead letters are kept; 14 days unless set. */
        readonly deadLetterMaxAgeMs?: number | null | undefined;
      }
    | null
    | undefined;
  /** 1 KiB to 4 MiB; 64 KiB unless set. */
  readonly maxMessageBytes?: number | null | undefined;
  /** How long an `Idempotency-Key` is remembered; 5 minutes unless set. */
  readonly dedupeWindowMs?: number | null | undefined;
}

export interface Stream {
  readonly name: string;
  readonly length: number;
  readonly firstId: string | null;
  /** The last id given out; null before the first. */
  readonly lastId: string | null;
  /** How many groups there are. */
  readonly groups: number;
  /** How many messages wait to be appended when they are due. */
  readonly scheduled: number;
  readonly config: {
    readonly retention: {
      readonly maxAgeMs: number | null;
      readonly maxLength: number | null;
      readonly unfinished: Unfinished;
      readonly deleteAcknowledged: boolean;
      readonly deadLetterMaxAgeMs: number;
    };
    readonly maxMessageBytes: number;
    readonly dedupeWindowMs: number;
  };
}

/** A stream in the list of all. */
export interface StreamSummary {
  readonly name: string;
  readonly length: number;
  readonly scheduled: number;
}

export interface StreamPage {
  readonly streams: readonly StreamSummary[];
  readonly next: string | null;
}

/** One of `maxLength`, `minId` and `olderThanMs` is needed. */
export interface TrimRequest {
  readonly maxLength?: number | undefined;
  readonly minId?: string | undefined;
  readonly olderThanMs?: number | undefined;
  /** To the very message; else in whole nodes of Redis, about 100 messages. */
  readonly exact?: boolean | undefined;
  /** `next` of the request before. */
  readonly cursor?: string | undefined;
}

export interface TrimAnswer {
  readonly trimmed: number;
  /** The groups that hold back more, each done with all before `fromId`. */
  readonly keptFor: readonly { readonly group: string; readonly fromId: string }[];
  readonly next: string | null;
}

/** What the next trim would take, from whom, and which group holds it back since when. */
export interface RetentionForecast {
  readonly unfinished: Unfinished;
  readonly next: {
    readonly messages: number;
    readonly messagesAre: "exact" | "estimated";
    /** Messages below it would go; null: by length. */
    readonly belowId: string | null;
  };
  readonly takesFrom: readonly { readonly group: string; readonly fromId: string; readonly messages: number }[];
  readonly heldBackBy: readonly { readonly group: string; readonly fromId: string; readonly sinceMs: number }[];
  readonly scheduled: number;
  /** Since when the first scheduled message is due and waits; null: none does. */
  readonly overdueSince: number | null;
}

// Messages

/** A message to produce. */
export interface NewMessage {
  /** The event type, such as `order.paid`; up to 1,024 characters. */
  readonly type?: string | null | undefined;
  /** What the message is about, such as an order's number; up to 1,024 characters. */
  readonly key?: string | null | undefined;
  /** The payload: any JSON value; a string where `datacontenttype` is not JSON. JSON has no bigint: send it as a string. */
  readonly data?: unknown;
  /** A binary payload, in place of `data`. */
  readonly dataBase64?: string | undefined;
  /** The media type of the payload; JSON unless set. */
  readonly datacontenttype?: string | null | undefined;
  /** Up to 64 of your own. */
  readonly attributes?: Readonly<Record<string, string>> | null | undefined;
  /** Appended so much later; up to 30 days. */
  readonly delayMs?: number | undefined;
  /** Appended then, never earlier: Unix milliseconds or an ISO 8601 time, up to 30 days ahead. */
  readonly deliverAt?: number | string | undefined;
}

export interface ProduceRequest {
  /** 1 to 1,000. */
  readonly messages: readonly NewMessage[];
}

/** Only where the body is the payload of one message. */
export interface ProduceQuery {
  /** The message's `type`. */
  readonly type?: string | undefined;
  /** The message's `key`. */
  readonly key?: string | undefined;
}

export interface ProduceAnswer {
  /** In the order of the messages; of one that is appended later its scheduled id. */
  readonly ids: readonly string[];
}

/** A message of a stream. */
export interface Message {
  readonly id: string;
  readonly type: string | null;
  /**
   * The JSON value, or a string where `datacontenttype` is not JSON; absent when it came without. Weir keeps numbers
   * to the digit; JSON.parse rounds integers above 9,007,199,254,740,991: send such as strings.
   */
  readonly data?: unknown;
  /** Binary content. */
  readonly dataBase64?: string | undefined;
  readonly datacontenttype?: string | undefined;
  readonly attributes: Readonly<Record<string, string>>;
  /** Fields that another client wrote and that are not UTF-8. */
  readonly attributesBase64?: Readonly<Record<string, string>> | undefined;
  readonly key: string | null;
  readonly producedAt: number;
}

/** A message that was handed out. */
export interface Delivery extends Message {
  /** How often it was handed out, this time included. */
  readonly deliveries: number;
  /** What it is settled by. */
  readonly lease: string;
}

/**
 * A CloudEvent (1.0) in its JSON format. `type` and `partitionkey` are the message's `type` and `key`; the other attributes
 * are kept as its attributes, as `ce-<name>`.
 */
export interface CloudEvent {
  readonly specversion: "1.0";
  /** Kept, but no repeat is told by it. */
  readonly id: string;
  /** A URI or a relative reference. */
  readonly source: string;
  readonly type: string;
  readonly subject?: string | null | undefined;
  /** A time of RFC 3339, such as `2026-01-31T12:00:00Z`. */
  readonly time?: string | null | undefined;
  /** A URI. */
  readonly dataschema?: string | null | undefined;
  readonly partitionkey?: string | null | undefined;
  readonly datacontenttype?: string | null | undefined;
  /** As {@link Message.data}. */
  readonly data?: unknown;
  /** A binary payload, in place of `data`. */
  readonly data_base64?: string | null | undefined;
  /** The message's id, in what is read. */
  readonly weirid?: string | undefined;
  /** Extensions: text, whole numbers of 32 bits, true and false. */
  readonly [extension: string]: unknown;
}

export interface ReadQuery extends PageQuery {
  /** The first message unless set. */
  readonly start?: RangeBound | undefined;
  /** The last message unless set. */
  readonly end?: RangeBound | undefined;
  /** `asc` unless set. */
  readonly order?: "asc" | "desc" | undefined;
}

export interface MessagePage {
  readonly messages: readonly Message[];
  readonly next: string | null;
}

/** Where a group is with a message. */
export interface MessageState {
  readonly group: string;
  /** `done`: acknowledged, passed over, or its dead letter is gone. */
  readonly state: "waiting" | "pending" | "delayed" | "dead" | "done";
  /** Who has it in hand, or had it last. */
  readonly consumer: string | null;
  readonly deliveries: number | null;
  readonly leaseEndsAt: number | null;
  readonly dueAt: number | null;
  readonly deadLetterId: string | null;
  /** Why it is dead, or is to come back. */
  readonly reason: string | null;
}

export interface MessageStates {
  /** A row for each group; two where the message was replayed to it. */
  readonly states: readonly MessageState[];
}

/** A message that is to be appended later: it has no id and no time of its own yet. */
export type ScheduledMessage = Omit<Message, "id" | "producedAt">;

export interface Scheduled {
  /** The scheduled id, `later~…`. */
  readonly id: string;
  /** When it is due, by Redis' clock. */
  readonly deliverAt: number;
  readonly message: ScheduledMessage;
}

export interface ScheduledPage {
  readonly scheduled: readonly Scheduled[];
  readonly next: string | null;
}

// Groups

/** Absent is unchanged, null is back to the default. */
export interface GroupSettings {
  /** `latest` unless set. Counts when the group is made; another one later is a conflict. */
  readonly start?: StartPosition | null | undefined;
  /** How long a lease runs: 1 s to 12 h; 30 s unless set. */
  readonly ackWaitMs?: number | null | undefined;
  /** 1 to 100; 5 unless set. */
  readonly maxDeliveries?: number | null | undefined;
  /** A retry without a delay waits from `minMs` to `minMs` * 2^deliveries, at random; 1 s to 15 min unless set. */
  readonly backoff?:
    | { readonly minMs?: number | null | undefined; readonly maxMs?: number | null | undefined }
    | null
    | undefined;
  /** An alert fires while a figure is above its threshold. */
  readonly alerts?:
    | {
        readonly lag?: number | null | undefined;
        readonly pending?: number | null | undefined;
        readonly oldestPendingMs?: number | null | undefined;
        readonly deadLetters?: number | null | undefined;
      }
    | null
    | undefined;
}

/** What trimming took from a group that was not done with it. */
export interface Gap {
  readonly fromId: string;
  readonly toId: string;
  readonly messages: number;
}

export interface Group {
  readonly name: string;
  /** Messages not yet handed to the group; null: Redis cannot tell. */
  readonly lag: number | null;
  readonly lagIs: "exact" | "estimated" | "unknown";
  readonly pending: number;
  /** Messages that are to come back: retried, released, redriven, replayed. */
  readonly delayed: number;
  readonly lastDeliveredId: string;
  readonly consumers: number;
  /** Age of the oldest message that is pending. */
  readonly oldestPendingMs: number | null;
  readonly deadLetters: number;
  readonly gap: Gap | null;
  /** Messages that trimming took from it in all. */
  readonly dropped: number;
  readonly config: {
    readonly ackWaitMs: number;
    readonly maxDeliveries: number;
    readonly backoff: { readonly minMs: number; readonly maxMs: number };
    readonly alerts: {
      readonly lag: number | null;
      readonly pending: number | null;
      readonly oldestPendingMs: number | null;
      readonly deadLetters: number | null;
    };
  };
}

export interface GroupPage {
  readonly groups: readonly Group[];
  readonly next: string | null;
}

export interface SeekRequest {
  readonly to: StartPosition;
}

export interface SeekAnswer {
  /** Up to where the group has read now. */
  readonly lastDeliveredId: string;
}

/** Either `ids`, or a range: `start`, `end` or both. */
export interface ReplayRequest {
  /** 1 to 1,000. */
  readonly ids?: readonly string[] | undefined;
  readonly start?: RangeBound | undefined;
  readonly end?: RangeBound | undefined;
  readonly type?: string | undefined;
  /** At most so many a call, 1 to 1,000; 1,000 unless set. */
  readonly limit?: number | undefined;
  /** `next` of the request before. */
  readonly cursor?: string | undefined;
  /** Counts only. */
  readonly dryRun?: boolean | undefined;
}

export interface ReplayAnswer {
  readonly replayed: number;
  readonly next: string | null;
}

// Consuming

/** At most 1,000 leases in all lists, each in one of them. */
export interface SettleRequest {
  readonly acks?: readonly string[] | undefined;
  readonly retries?: readonly Retry[] | undefined;
  readonly rejects?: readonly Reject[] | undefined;
  /** Given back: not counted, and there for the next poll at once. */
  readonly releases?: readonly string[] | undefined;
  readonly extends?: readonly string[] | undefined;
}

export interface Retry {
  readonly lease: string;
  /** 0 to 12 hours; by the group's backoff unless set. */
  readonly delayMs?: number | undefined;
  /** Up to 1,024 characters. */
  readonly reason?: string | undefined;
}

export interface Reject {
  readonly lease: string;
  /** Up to 1,024 characters. */
  readonly reason?: string | undefined;
}

export interface Settled {
  /** Deliveries that this took off the pending ones. */
  readonly acked: number;
  readonly retried: number;
  readonly rejected: number;
  readonly released: number;
  readonly extended: number;
  readonly stale: readonly StaleLease[];
}

/** A lease by which nothing was settled. */
export interface StaleLease {
  readonly lease: string;
  /** `superseded`: another delivery holds the message. `settled`: nobody does. `foreign`: of another stream or group. */
  readonly outcome: "superseded" | "settled" | "foreign" | "malformed";
}

export interface SettleAnswer {
  readonly settled: Settled;
}

export interface ConsumeRequest extends SettleRequest {
  readonly consumer: string;
  /** 1 to 1,000; 10 unless set. */
  readonly batchSize?: number | undefined;
  /** Of the last batch. Without it every poll looks for expired deliveries, which costs more commands. */
  readonly pollState?: string | null | undefined;
  /** First what this consumer name still holds, each as another delivery. */
  readonly recover?: boolean | undefined;
}

export interface Batch {
  readonly messages: readonly Delivery[];
  readonly settled: Settled;
  /** How long the leases run. */
  readonly ackWaitMs: number;
  readonly pollState: string;
  /** When to poll again; 0: there is more. */
  readonly pollAfterMs: number;
  /** What trimming took from this group, until it has acknowledged something after that. */
  readonly gap?: Gap | undefined;
}

export interface PendingQuery extends PageQuery {
  readonly consumer?: string | undefined;
  readonly minIdleMs?: number | undefined;
}

/** A message that was handed out and not settled. */
export interface Pending {
  readonly id: string;
  readonly consumer: string;
  /** Since it was handed out, or extended. */
  readonly idleMs: number;
  readonly deliveries: number;
  /** By Redis' clock; in the past where it has ended. */
  readonly leaseEndsAt: number;
  readonly lease: string;
}

export interface PendingPage {
  readonly pending: readonly Pending[];
  readonly next: string | null;
}

/** A message that is to come back. */
export interface Delayed {
  readonly id: string;
  readonly dueAt: number;
  /** So far. */
  readonly deliveries: number;
  readonly from: "retry" | "redrive" | "replay";
  readonly reason: string | null;
  readonly type: string | null;
}

export interface DelayedPage {
  readonly delayed: readonly Delayed[];
  readonly next: string | null;
}

export interface ClaimRequest {
  readonly consumer: string;
  readonly ids?: readonly string[] | undefined;
  /** The group's `ackWaitMs` unless set; less than it needs `force`. */
  readonly minIdleMs?: number | undefined;
  readonly force?: boolean | undefined;
  /** 1 to 1,000; 100 unless set. */
  readonly limit?: number | undefined;
}

export interface ClaimAnswer {
  readonly messages: readonly Delivery[];
}

/** A consumer that Redis knows. */
export interface ConsumerInfo {
  readonly name: string;
  /** What it has in hand. */
  readonly pending: number;
  /** Since it was handed something, or asked for new messages. */
  readonly idleMs: number;
}

export interface ConsumerPage {
  readonly consumers: readonly ConsumerInfo[];
  readonly next: string | null;
}

export interface RemoveConsumerQuery {
  /** Who gets what it holds, by `recover`; absent: it is held to be handed out at once. */
  readonly handoverTo?: string | undefined;
}

export interface RemoveConsumerAnswer {
  readonly handedOver: number;
}

// Dead letters

/** `unknown`: another client has put it there. */
export type DeadLetterReason = "max-deliveries" | "rejected" | "payload-missing" | "trimmed" | "unknown";

export interface DeadLetter {
  readonly id: string;
  readonly message: Message;
  readonly reason: DeadLetterReason;
  /** The consumer's words. */
  readonly detail: string | null;
  readonly deliveries: number;
  /** Who was handed it last. */
  readonly consumer: string;
  readonly deadAt: number;
}

export interface DeadLetterQuery extends PageQuery {
  readonly reason?: DeadLetterReason | undefined;
  readonly type?: string | undefined;
}

export interface DeadLetterPage {
  readonly deadLetters: readonly DeadLetter[];
  readonly next: string | null;
}

/** Dead letters that are alike; its `reason`, `type` and `detail`, given to a redrive, take just these. */
export interface DeadLetterKind {
  readonly reason: DeadLetterReason;
  readonly type: string | null;
  /** The consumer's words. */
  readonly detail: string | null;
  readonly count: number;
  readonly oldestAt: number;
  readonly newestAt: number;
  /** The dead letter that died last. */
  readonly exampleId: string;
}

export interface DeadLetterSummary {
  /** Most first, at most 100. */
  readonly kinds: readonly DeadLetterKind[];
  /** false: there are more than were looked at, the newest 10,000 at the most, or more kinds. */
  readonly complete: boolean;
}

/** One of `ids`, `all: true`, or a filter by `reason`, `type` or `detail`. */
export interface RedriveRequest {
  /** 1 to 1,000. */
  readonly ids?: readonly string[] | undefined;
  readonly all?: true | undefined;
  readonly reason?: DeadLetterReason | undefined;
  /** null: those that have none. */
  readonly type?: string | null | undefined;
  /** The consumer's words; null: those that have none. */
  readonly detail?: string | null | undefined;
  /** At most so many a call, 1 to 1,000; 1,000 unless set. */
  readonly limit?: number | undefined;
  /** `next` of the request before. */
  readonly cursor?: string | undefined;
  /** Counts only. */
  readonly dryRun?: boolean | undefined;
}

export interface RedriveAnswer {
  readonly redriven: number;
  readonly next: string | null;
}

/** One of `ids`, `before` and `all: true`. */
export interface DeleteDeadLettersRequest {
  readonly ids?: readonly string[] | undefined;
  readonly before?: RangeBound | undefined;
  readonly all?: true | undefined;
  /** `next` of the request before. */
  readonly cursor?: string | undefined;
}

export interface DeleteDeadLettersAnswer {
  readonly deleted: number;
  readonly next: string | null;
}

// Webhooks

export type WebhookProvider =
  | "bitbucket"
  | "calendly"
  | "discord"
  | "generic"
  | "github"
  | "gitlab"
  | "hubspot"
  | "intercom"
  | "linear"
  | "meta"
  | "microsoft-graph"
  | "paddle"
  | "sendgrid"
  | "shopify"
  | "slack"
  | "square"
  | "standard-webhooks"
  | "stripe"
  | "svix"
  | "twilio"
  | "typeform"
  | "vercel"
  | "x"
  | "zoom";

/** Absent is unchanged, null is back to the default. */
export interface WebhookSettings {
  /** Where its webhooks go. Needed when the source is made. */
  readonly stream?: string | undefined;
  /** Needed when the source is made. */
  readonly provider?: WebhookProvider | undefined;
  /** Stands before the provider's event type; nothing unless set. */
  readonly typePrefix?: string | null | undefined;
  /** 0 (off) to 7 days; 24 hours unless set. */
  readonly dedupeWindowMs?: number | null | undefined;
  /** 1 s to 1 day; 5 minutes unless set. */
  readonly toleranceMs?: number | null | undefined;
  /** Answer 200, and keep nothing. */
  readonly paused?: boolean | null | undefined;
  /** What becomes the message's `key`: a header, or a member of a JSON body. Either of them. */
  readonly key?: { readonly header?: string | undefined; readonly pointer?: string | undefined } | null | undefined;
  /** How `generic` signs; for no other provider. */
  readonly scheme?: WebhookScheme | null | undefined;
}

/** A JSON pointer (RFC 6901) is into the body. */
export type WebhookPlace =
  | { readonly header: string }
  | { readonly pointer: string }
  | { readonly query: string }
  | { readonly form: string };

/** A header, or one of the items that it is made of. */
export interface WebhookHeaderItems {
  readonly header: string;
  readonly separator?: "," | ";" | " " | undefined;
  /** What an item starts with, such as `sha256=`, and what is taken off. */
  readonly prefix?: string | undefined;
}

/** What is signed, piece by piece. */
export type WebhookSignedPart =
  | "body"
  | "timestamp"
  | "id"
  | "method"
  | "url"
  | "form"
  | { readonly text: string }
  | { readonly header: string };

export type WebhookTimeUnit = "s" | "ms" | "iso";

export interface WebhookSigned {
  readonly signature: WebhookHeaderItems & { readonly encoding: "hex" | "base64" | "base64url" };
  /** 1 to 16 pieces, the body among them. */
  readonly signed: readonly WebhookSignedPart[];
  /** Where the time stands that was signed. */
  readonly time?:
    | (WebhookHeaderItems & { readonly unit: WebhookTimeUnit })
    | { readonly pointer: string; readonly unit: WebhookTimeUnit }
    | { readonly query: string; readonly unit: WebhookTimeUnit }
    | undefined;
  /** Where the delivery's id stands. */
  readonly id?: WebhookPlace | undefined;
}

/** How the requests of a `generic` source are verified. */
export type WebhookScheme =
  | (WebhookSigned & {
      readonly algorithm: "hmac-sha1" | "hmac-sha256" | "hmac-sha512";
      readonly secretForm?: "text" | "base64" | "hex" | "whsec" | undefined;
    })
  | (WebhookSigned & { readonly algorithm: "ed25519" | "rsa-sha256" })
  | (WebhookSigned & { readonly algorithm: "ecdsa-p256"; readonly signatureForm?: "der" | "raw" | undefined })
  | {
      readonly algorithm: "shared-secret";
      readonly secretAt: "bearer" | "basic" | { readonly header: string } | { readonly pointer: string };
      readonly id?: WebhookPlace | undefined;
    };

export interface WebhookSource {
  readonly name: string;
  /** Where the provider posts to. */
  readonly url: string;
  readonly stream: string;
  readonly provider: string;
  readonly typePrefix: string;
  readonly dedupeWindowMs: number;
  readonly toleranceMs: number;
  readonly paused: boolean;
  readonly key: Readonly<Record<string, string>> | null;
  /** Null unless the provider is `generic`. */
  readonly scheme: unknown;
  readonly secretIs: "set" | "missing";
  /** The deployment's setting that holds the secret. */
  readonly secretName: string;
  /** To the minute; null: never. */
  readonly lastReceivedAt: number | null;
  /** To the minute; null: never. */
  readonly lastRefused: { readonly at: number; readonly reason: string } | null;
}

export interface WebhookPage {
  readonly webhooks: readonly WebhookSource[];
  readonly next: string | null;
}

export interface VerifyWebhookRequest {
  /** Where the message is; the source's own stream unless set. */
  readonly stream?: string | undefined;
  readonly id: string;
}

export interface VerifyWebhookAnswer {
  readonly verified: boolean;
  /** Which secret verified it. */
  readonly secret: "current" | "previous" | null;
}

// Access tokens

export interface IssueTokenRequest {
  readonly subject: string;
  /** Such as `produce:orders`, `consume:orders/mail`, `read:*`, `metrics`. */
  readonly scope: readonly string[];
  readonly expiresInMs: number;
}

export interface IssuedToken {
  readonly token: string;
  /** By which it is revoked. */
  readonly id: string;
  readonly expiresAt: number;
}

export interface RevokeTokenRequest {
  readonly id: string;
  /** When the token ends by itself, as issuing it answered. */
  readonly expiresAt?: number | undefined;
}

/** What the caller's own token permits. */
export interface TokenInfo {
  /** Null: the root token. */
  readonly subject: string | null;
  /** `root` of the root token. */
  readonly scope: readonly string[];
  readonly expiresAt: number | null;
}

// Operations

/** The report of a run of the scheduled work. */
export interface ReaperRun {
  readonly startedAt: number;
  readonly durationMs: number;
  /** False when the budget ended the run: the next one goes on. */
  readonly complete: boolean;
  /** Streams that were due and not served to the end. */
  readonly backlog: number;
  readonly redisCommands: number;
  readonly groups: readonly {
    readonly stream: string;
    readonly group: string;
    readonly expired: number;
    readonly deadLettered: number;
    readonly payloadMissing: number;
    readonly consumersRemoved: number;
    readonly deadLettersExpired: number;
    /** What other clients' trims have taken from it unread. */
    readonly dropped: number;
  }[];
  readonly streams: readonly {
    readonly stream: string;
    /** Scheduled messages that were appended. */
    readonly promoted: number;
    readonly trimmed: number;
    readonly deadLettered: number;
    readonly dropped: number;
  }[];
  readonly errors: readonly {
    /** Null: what concerns all. */
    readonly stream: string | null;
    readonly group?: string | undefined;
    readonly code: string;
  }[];
}

export interface ReaperRuns {
  /** The last 100, newest first. */
  readonly runs: readonly ReaperRun[];
}

export interface Alert {
  /** Null: it is about the reaper. */
  readonly stream: string | null;
  /** Null: it is about the stream or the reaper. */
  readonly group: string | null;
  readonly metric:
    | "lag"
    | "pending"
    | "oldestPendingMs"
    | "deadLetters"
    | "scheduledLateMs"
    | "reaperLateMs"
    | "reaperIncomplete";
  readonly value: number;
  readonly threshold: number;
  /** When it was found above its threshold. */
  readonly since: number;
  /** Whether the webhook's receiver has been told. */
  readonly notified: boolean;
}

export interface Alerts {
  /** The longest first. */
  readonly alerts: readonly Alert[];
}

export interface Status {
  readonly status: "ok";
}
