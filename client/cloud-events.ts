import { bodyOf, type Call, type CallOptions, type Http } from "./http.ts";
import { Pages } from "./pages.ts";
import type { CloudEvent } from "./wire.ts";

const EVENT_TYPE = "application/cloudevents+json";
export const EVENT_BATCH_TYPE = "application/cloudevents-batch+json";

/** A page of messages as CloudEvents. On the wire it is a list, with `next` in the `Link` header. */
export interface EventPage {
  readonly events: readonly CloudEvent[];
  readonly next: string | null;
}

/** @param path of the stream's messages */
export function readEvents(
  http: Http,
  path: string,
  query: NonNullable<Call["query"]> & { readonly cursor?: string | undefined },
  options?: CallOptions,
): Pages<CloudEvent, EventPage> {
  return new Pages(
    async (cursor = query.cursor) => {
      const accept = { accept: EVENT_BATCH_TYPE };
      const call: Call = { method: "GET", path, query: { ...query, cursor }, headers: accept, isRepeatable: true };
      const { body, headers } = await http.send<readonly CloudEvent[]>(call, options);
      return { events: body, next: nextIn(headers.get("link")) };
    },
    ({ events }) => events,
  );
}

/** @param path of the message */
export function readEvent(http: Http, path: string, options?: CallOptions): Promise<CloudEvent> {
  return bodyOf(http, { method: "GET", path, headers: { accept: EVENT_TYPE }, isRepeatable: true }, options);
}

/** The cursor of the next page (RFC 8288); null: there is none. */
function nextIn(link: string | null): string | null {
  const query = /<[^>]*\?([^>]*)>\s*;\s*rel="?next\b/.exec(link ?? "")?.[1];
  return query === undefined ? null : new URLSearchParams(query).get("cursor");
}
