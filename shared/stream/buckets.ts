import type { StreamKeys } from "../keys.ts";

/** The buckets that scheduled messages lie in, and their ids, which name them: see `scripts/parts/later.lua.ts`. */

export const HOUR_MS = 3_600_000;

/**
 * From so many bytes on a bucket takes no more: with all of the request that fills it, 8 MiB at most, it is far below the
 * 100 MB that one key may have on Upstash's small plans.
 */
export const FULL_BUCKET_BYTES = 32 * 1024 * 1024;

/** The name of a bucket: the hour since 1970, and a number within the hour. */
export function bucketName(hour: number, number = 0): string {
  return `${hour}.${number}`;
}

export function hourAt(ms: number): number {
  return Math.floor(ms / HOUR_MS);
}

/** @returns the hour and the number in a bucket's name */
export function readBucketName(name: string): { hour: number; number: number } {
  const [hour, number] = name.split(".").map(Number);
  return { hour: hour ?? 0, number: number ?? 0 };
}

/** The two keys of each bucket, as the scripts take them. */
export function bucketKeys(keys: StreamKeys, names: readonly string[]): string[] {
  return names.flatMap((name) => [keys.laterMessages(name), keys.laterDue(name)]);
}

/** A scheduled message, by its id. */
export interface ScheduledId {
  readonly bucket: string;
  readonly member: string;
}

const MEMBER = String.raw`\d{12,15}\.[0-9A-Za-z-]{0,8}`;
const SCHEDULED_ID = new RegExp(String.raw`^later~(\d{1,9}\.\d{1,6})~(${MEMBER})$`);
const CURSOR = new RegExp(String.raw`^(\d{1,15})~(${MEMBER})$`);

/** @returns undefined when the text was never the id of a scheduled message */
export function parseScheduledId(text: string): ScheduledId | undefined {
  const [, bucket, member] = SCHEDULED_ID.exec(text) ?? [];
  return bucket === undefined || member === undefined ? undefined : { bucket, member };
}

export function scheduledId({ bucket, member }: ScheduledId): string {
  return `later~${bucket}~${member}`;
}

/** Where a listing of scheduled messages goes on: after that time and member. */
export interface ScheduledCursor {
  readonly afterMs: string;
  readonly member: string;
}

/** @returns undefined when the text was never `next` of a page of scheduled messages */
export function parseScheduledCursor(text: string): ScheduledCursor | undefined {
  const [, afterMs, member] = CURSOR.exec(text) ?? [];
  return afterMs === undefined || member === undefined ? undefined : { afterMs, member };
}

export function scheduledCursor({ afterMs, member }: ScheduledCursor): string {
  return `${afterMs}~${member}`;
}
