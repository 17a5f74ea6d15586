import { ExpiringMap } from "../../shared/expiring-map.ts";
import { webhookSourcesKey } from "../../shared/keys.ts";
import { unwrap } from "../../shared/redis/redis.ts";
import { asArray } from "../../shared/redis/reply.ts";
import { decodeSource, noteCall, unreadable, type WebhookSource } from "../../shared/stream/webhook-sources.ts";
import type { RequestContext } from "../context.ts";
import type { Mapping } from "./mapping.ts";
import { PROVIDERS, type ProviderName } from "./providers.ts";
import { schemeSchema } from "./scheme.ts";

const KEPT_MS = 10_000;
/** For so long a name that there is not is known as such, and a source that was just made elsewhere may be missed. */
const NAMES_KEPT_MS = 2_000;
const NOTED_MS = 60_000;
const NAMES = "names";

/** What an isolate remembers of webhook sources, so that a webhook costs no look at their settings. */
export class WebhookMemory {
  readonly #sources: ExpiringMap<WebhookSource>;
  readonly #names: ExpiringMap<ReadonlySet<string>>;
  readonly #noted: ExpiringMap<true>;

  constructor(now: () => number) {
    this.#sources = new ExpiringMap(now, KEPT_MS);
    this.#names = new ExpiringMap(now, NAMES_KEPT_MS);
    this.#noted = new ExpiringMap(now, NOTED_MS);
  }

  /**
   * Anybody may ask for anything: whatever names they try, they cost two commands in two seconds.
   * @returns undefined when there is no such source
   * @throws {WeirError} `redis-unavailable`, `conflict`
   */
  async find({ redis, config }: RequestContext, name: string): Promise<WebhookSource | undefined> {
    const known = this.#sources.get(name);
    if (known !== undefined) return known;
    if (this.#names.get(NAMES)?.has(name) === false) return undefined;
    const key = webhookSourcesKey(config.keyPrefix);
    const [stored = null, names = null] = await redis.pipeline([
      ["HGET", key, name],
      ["HKEYS", key],
    ]);
    this.#names.set(NAMES, new Set(asArray(unwrap(names)).filter((one) => typeof one === "string")));
    const source = decodeSource(name, unwrap(stored));
    if (source !== undefined) this.#sources.set(name, source);
    return source;
  }

  /** After this isolate itself has changed or deleted it. */
  forget(name: string): void {
    this.#sources.delete(name);
    this.#names.delete(NAMES);
  }

  /**
   * Notes that the source has taken something, or why not; at most once a minute and kind, a command each. Never fails: it
   * only informs.
   */
  async note({ redis, config, now }: RequestContext, { name }: WebhookSource, refusedFor?: string): Promise<void> {
    const kind = `${refusedFor === undefined ? "received" : "refused"} ${name}`;
    if (this.#noted.get(kind)) return;
    this.#noted.set(kind, true);
    await redis.pipeline([noteCall(config.keyPrefix, name, now(), refusedFor)]).catch(() => undefined);
  }
}

/**
 * How a source's webhooks are verified and become messages.
 * @throws {WeirError} `conflict` when another version of Weir has stored what this one does not know
 */
export function mappingOf(source: WebhookSource): Mapping {
  const { name, typePrefix, key } = source;
  if (isProvider(source.provider)) {
    const provider = PROVIDERS[source.provider];
    const scheme = provider.scheme ?? schemeSchema().safeParse(source.scheme).data;
    if (scheme !== undefined) return { source: name, provider, scheme, typePrefix, key };
  }
  throw unreadable(name);
}

export function isProvider(name: string): name is ProviderName {
  return Object.hasOwn(PROVIDERS, name);
}
