import { WeirError } from "../errors.ts";
import { webhookSourcesKey, webhookStatesKey } from "../keys.ts";
import type { Command, Reply } from "../redis/connection.ts";
import { type Redis, unwrap } from "../redis/redis.ts";
import { asArray, asMap, asNumber, asText, asTextOrNull } from "../redis/reply.ts";
import { putWebhookScript } from "../scripts/put-webhook.lua.ts";
import { swapFieldsScript } from "../scripts/swap-fields.lua.ts";
import { isObject, parseStored } from "../stored-json.ts";
import { unknownStream } from "./missing.ts";
import type { EventStream } from "./stream.ts";

/**
 * Webhook sources: which provider's webhooks go to which stream. One hash holds the settings of all as JSON, by name;
 * another one what was last received and refused. Secrets are never in Redis.
 */

/** How many sources there may be: a list of all is one answer of Redis. */
export const MAX_WEBHOOK_SOURCES = 1_000;

export const WEBHOOK_DEFAULTS = { dedupeWindowMs: 24 * 3_600_000, toleranceMs: 5 * 60_000 } as const;

/** Where a message's key is in a webhook: in a header, or in a JSON body by a JSON pointer (RFC 6901). */
export type KeyPlace = { readonly header: string } | { readonly pointer: string };

/** A source's settings, complete. */
export interface WebhookSource {
  readonly name: string;
  /** Which memory of delivery ids is its. */
  readonly epoch: string;
  readonly stream: string;
  readonly provider: string;
  /** Stands before the provider's event type. */
  readonly typePrefix: string;
  /** For how long a delivery id is remembered; 0: not at all. */
  readonly dedupeWindowMs: number;
  /** How far the signed time may be off. */
  readonly toleranceMs: number;
  readonly paused: boolean;
  readonly key: KeyPlace | null;
  /** How `generic` verifies; the reader checks it. */
  readonly scheme: unknown;
}

/** What a PUT names: absent is unchanged, null is back to the default. */
export interface WebhookPatch {
  readonly stream?: string | undefined;
  readonly provider?: string | undefined;
  readonly typePrefix?: string | null | undefined;
  readonly dedupeWindowMs?: number | null | undefined;
  readonly toleranceMs?: number | null | undefined;
  readonly paused?: boolean | null | undefined;
  readonly key?: KeyPlace | null | undefined;
  readonly scheme?: unknown;
}

/** What was last seen of a source; times in Unix milliseconds. */
export interface WebhookState {
  readonly lastReceivedAt: number | null;
  readonly lastRefused: { readonly at: number; readonly reason: string } | null;
}

/**
 * Looks one up: a command.
 * @throws {WeirError} `redis-unavailable`; `conflict` when this version cannot read its settings
 */
export async function findSource(redis: Redis, keyPrefix: string, name: string): Promise<WebhookSource | undefined> {
  return decodeSource(name, await redis.send(["HGET", webhookSourcesKey(keyPrefix), name]));
}

/**
 * A source as Redis answers it.
 * @returns undefined when there is none
 * @throws {WeirError} `conflict` when this version cannot read its settings
 */
export function decodeSource(name: string, reply: Reply): WebhookSource | undefined {
  const stored = decodeStored(name, reply);
  if (stored === undefined || stored.source !== undefined) return stored?.source;
  throw unreadable(name);
}

/** Another version of Weir, or another client, has written it. */
export function unreadable(name: string): WeirError {
  return new WeirError("conflict", `the stored settings of the webhook source "${name}" cannot be read: PUT it anew`);
}

/** All sources by name, with their states: two commands. What cannot be read is left out. */
export async function listSources(redis: Redis, keyPrefix: string): Promise<readonly (WebhookSource & WebhookState)[]> {
  const [sources = null, states = null] = await redis.pipeline([
    ["HGETALL", webhookSourcesKey(keyPrefix)],
    ["HGETALL", webhookStatesKey(keyPrefix)],
  ]);
  const stateFields = asMap(unwrap(states));
  return [...asMap(unwrap(sources))].flatMap(([name, text]) => {
    const source = typeof text === "string" ? decode(name, parseStored(text)) : undefined;
    return source === undefined ? [] : [{ ...source, ...decodeState(name, stateFields) }];
  });
}

/**
 * What was last seen of a source: two commands.
 * @param stream the source's
 * @throws {WeirError} `unknown-stream` when that is gone
 */
export async function sourceState(stream: EventStream, keyPrefix: string, name: string): Promise<WebhookState> {
  const fields = stateFieldsOf(name);
  const [exists = null, values = null] = await stream.redis.pipeline([
    ["EXISTS", stream.keys.stream],
    ["HMGET", webhookStatesKey(keyPrefix), ...fields],
  ]);
  if (unwrap(exists) === 0) throw unknownStream(stream);
  const found = asArray(unwrap(values));
  return decodeState(name, new Map(fields.map((field, i) => [field, found[i] ?? null])));
}

/** How often a PUT looks again when others change the same source. */
const PUT_ATTEMPTS = 5;

/** What lies in Redis under a source's name. */
export interface StoredSource {
  /** Undefined: another version of Weir, or another client, has written what this one cannot read. */
  readonly source: WebhookSource | undefined;
}

/**
 * Makes a source, or changes its settings.
 * @param change makes the new settings of what is stored; it throws what the caller is to be told
 * @returns what it is now, and whether it was made
 * @throws {WeirError} `conflict` when there are too many, when another one has the same secret, or when others change it all
 *   the time
 */
export async function configureSource(
  redis: Redis,
  keyPrefix: string,
  name: string,
  change: (stored: StoredSource | undefined) => Promise<WebhookSource>,
): Promise<{ created: boolean; source: WebhookSource }> {
  const key = webhookSourcesKey(keyPrefix);
  for (let attempt = 0; attempt < PUT_ATTEMPTS; attempt++) {
    const stored = decodeStored(name, await redis.send(["HGET", key, name]));
    const source = await change(stored);
    const args = [name, stored?.text ?? "", encode(source), MAX_WEBHOOK_SOURCES];
    const outcome = await redis.send({ script: putWebhookScript, keys: [key], args });
    if (outcome === "put") {
      if (stored === undefined) await forgetOrphans(redis, keyPrefix, name);
      return { created: stored === undefined, source };
    }
    if (outcome === "full") {
      throw new WeirError("conflict", `there are ${MAX_WEBHOOK_SOURCES} webhook sources, as many as there may be`);
    }
    if (Array.isArray(outcome)) {
      const other = asText(outcome[0]);
      throw new WeirError("conflict", `the webhook source "${other}" has the same secret: another name is needed`);
    }
  }
  throw new WeirError("conflict", `others change the webhook source "${name}" at the same time`, { retryAfterS: 1 });
}

/**
 * Forgets the states of sources that are not there, and of the one that was just made: an isolate that had a source in its
 * cache may have noted something after it was deleted.
 */
async function forgetOrphans(redis: Redis, keyPrefix: string, made: string): Promise<void> {
  const key = webhookStatesKey(keyPrefix);
  const [sources = null, states = null] = await redis.pipeline([
    ["HKEYS", webhookSourcesKey(keyPrefix)],
    ["HKEYS", key],
  ]);
  const names = new Set(asArray(unwrap(sources)));
  const nameIn = (field: string) => field.slice(field.indexOf(":") + 1);
  const fields = asArray(unwrap(states)).filter((field) => typeof field === "string");
  const orphans = fields.filter((field) => !names.has(nameIn(field)) || nameIn(field) === made);
  if (orphans.length > 0) await redis.send(["HDEL", key, ...orphans]);
}

/** A source's settings with a patch; `stream` and `provider` must be there. */
export function patched(
  before: WebhookSource | undefined,
  patch: WebhookPatch & { readonly stream: string; readonly provider: string },
  name: string,
): WebhookSource {
  const or = <Value>(value: Value | null | undefined, was: Value | undefined, unlessSet: Value): Value =>
    value === null ? unlessSet : (value ?? was ?? unlessSet);
  return {
    name,
    // What was taken for another stream, or to be remembered otherwise, is forgotten.
    epoch: keepsMemory(before, patch) ? before.epoch : newEpoch(),
    stream: patch.stream,
    provider: patch.provider,
    typePrefix: or(patch.typePrefix, before?.typePrefix, ""),
    dedupeWindowMs: or(patch.dedupeWindowMs, before?.dedupeWindowMs, WEBHOOK_DEFAULTS.dedupeWindowMs),
    toleranceMs: or(patch.toleranceMs, before?.toleranceMs, WEBHOOK_DEFAULTS.toleranceMs),
    paused: or(patch.paused, before?.paused, false),
    key: patch.key === undefined ? (before?.key ?? null) : patch.key,
    scheme: patch.scheme === undefined ? (before?.scheme ?? null) : patch.scheme,
  };
}

function keepsMemory(
  before: WebhookSource | undefined,
  { stream, dedupeWindowMs }: WebhookPatch,
): before is WebhookSource {
  if (before?.stream !== stream) return false;
  return dedupeWindowMs === undefined || (dedupeWindowMs ?? WEBHOOK_DEFAULTS.dedupeWindowMs) === before?.dedupeWindowMs;
}

function newEpoch(): string {
  return crypto.randomUUID().slice(0, 8);
}

/**
 * Deletes a source, if it is still what was read.
 * @throws {WeirError} `conflict` when it was changed meanwhile
 */
export async function deleteSource(redis: Redis, keyPrefix: string, source: WebhookSource): Promise<void> {
  const { name } = source;
  const swap = { script: swapFieldsScript, keys: [webhookSourcesKey(keyPrefix)], args: [name, encode(source), ""] };
  const [gone = null, states = null] = await redis.pipeline([
    swap,
    ["HDEL", webhookStatesKey(keyPrefix), ...stateFieldsOf(name)],
  ]);
  unwrap(states);
  if (asNumber(asArray(unwrap(gone))[0]) === 1) return;
  throw new WeirError("conflict", `the webhook source "${name}" was changed or deleted at the same time`);
}

/** Notes that a source has taken something, or why it has not: a command. */
export function noteCall(keyPrefix: string, name: string, atMs: number, refusedFor?: string): Command {
  const [received, refused] = stateFieldsOf(name);
  return refusedFor === undefined
    ? ["HSET", webhookStatesKey(keyPrefix), received, atMs]
    : ["HSET", webhookStatesKey(keyPrefix), refused, `${atMs} ${refusedFor}`];
}

/** The name last: it may hold colons. */
function stateFieldsOf(name: string): [received: string, refused: string] {
  return [`received:${name}`, `refused:${name}`];
}

function decodeState(name: string, fields: ReadonlyMap<string, Reply>): WebhookState {
  const [received, refused] = stateFieldsOf(name).map((field) => fields.get(field));
  const lastReceivedAt = typeof received === "string" && /^\d{1,15}$/.test(received) ? Number(received) : null;
  const [, at, reason = ""] = /^(\d{1,15}) ([a-z-]{1,64})$/.exec(typeof refused === "string" ? refused : "") ?? [];
  return { lastReceivedAt, lastRefused: at === undefined ? null : { at: Number(at), reason } };
}

function encode({ name: _, ...settings }: WebhookSource): string {
  return JSON.stringify(settings);
}

function decodeStored(name: string, reply: Reply): (StoredSource & { readonly text: string }) | undefined {
  const text = asTextOrNull(reply);
  return text === null ? undefined : { text, source: decode(name, parseStored(text)) };
}

function decode(name: string, stored: unknown): WebhookSource | undefined {
  if (!isObject(stored)) return undefined;
  const { epoch, stream, provider, typePrefix, dedupeWindowMs, toleranceMs, paused, key, scheme = null } = stored;
  const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 0;
  if (typeof epoch !== "string" || !/^[0-9a-f]{8}$/.test(epoch)) return undefined;
  if (typeof stream !== "string" || typeof provider !== "string" || typeof typePrefix !== "string") return undefined;
  if (!isWhole(dedupeWindowMs) || !isWhole(toleranceMs) || typeof paused !== "boolean") return undefined;
  const place = decodeKey(key);
  if (place === undefined) return undefined;
  return { name, epoch, stream, provider, typePrefix, dedupeWindowMs, toleranceMs, paused, key: place, scheme };
}

function decodeKey(key: unknown): KeyPlace | null | undefined {
  if (key === null) return null;
  if (!isObject(key)) return undefined;
  if (typeof key.header === "string") return { header: key.header };
  return typeof key.pointer === "string" ? { pointer: key.pointer } : undefined;
}
