import { WeirError } from "./errors.ts";

/** How the deployment reaches its Redis. */
export type RedisConfig =
  | { readonly kind: "upstash"; readonly url: string; readonly token: string }
  | { readonly kind: "tcp"; readonly url: string };

/** The deployment's settings for alerts. */
export interface AlertSettings {
  /** Where changes are posted; without it alerts are only listed. */
  readonly webhook?: { readonly url: string; readonly secret: string };
  /** After how long without a complete run the reaper counts as late. */
  readonly reaperLateMs: number;
}

export interface Config {
  readonly redis: RedisConfig;
  /** The secret that may do everything. */
  readonly rootToken: string;
  /** What access tokens are signed with; undefined: there are none. */
  readonly tokenSecret: string | undefined;
  /** What they were signed with before, and may be still; never there without the other. */
  readonly previousTokenSecret: string | undefined;
  /** What every Redis key starts with. */
  readonly keyPrefix: string;
  /** How long one round trip to Redis may take. */
  readonly redisTimeoutMs: number;
  /** After how long without work a consumer that holds nothing is removed. */
  readonly consumerIdleMs: number;
  readonly alerts: AlertSettings;
  /** The origins whose pages may call; `*` alone: any; none: no page of another origin. */
  readonly corsOrigins: readonly string[];
  /** What the deployment's rate limit is, as callers above it are told; undefined: they are told no numbers. */
  readonly rateLimit: RateLimitPolicy | undefined;
  /** Whether each request is logged. */
  readonly requestLog: boolean;
  /** Where providers reach this deployment; undefined: as the request says. */
  readonly publicUrl: string | undefined;
  /** The secrets of webhook sources, by the variable's name. */
  readonly webhookSecrets: ReadonlyMap<string, string>;
}

/** So many requests in so long. */
export interface RateLimitPolicy {
  readonly quota: number;
  readonly windowS: number;
}

/** The settings of a deployment: name, default and meaning; the table in docs/configuration.md is checked against this. */
export const SETTINGS = {
  ROOT_TOKEN: { default: "(none: must be set)", about: "Secret. The bearer token that may do everything." },
  TOKEN_SECRET: { default: "(none)", about: "Secret. Signs access tokens; at least 32 characters." },
  TOKEN_SECRET_PREVIOUS: {
    default: "(none)",
    about: "Secret. The `TOKEN_SECRET` before, while it is rotated: tokens that it signed stay valid.",
  },
  UPSTASH_REDIS_REST_URL: { default: "(none)", about: "Upstash's REST URL. Wins over `REDIS_URL`." },
  UPSTASH_REDIS_REST_TOKEN: { default: "(none)", about: "Secret. Upstash's REST token." },
  REDIS_URL: { default: "(none)", about: "Secret. `redis://` or `rediss://`, for a Redis over TCP." },
  KEY_PREFIX: { default: "weir:", about: "What every Redis key starts with." },
  REDIS_TIMEOUT_MS: { default: "10000", about: "How long one round trip to Redis may take (100 to 60,000)." },
  CONSUMER_IDLE_MS: {
    default: "86400000",
    about: "After how long without work a consumer that holds nothing is removed (60,000 and up).",
  },
  ALERT_WEBHOOK_URL: {
    default: "(none)",
    about: "Where alerts are posted, without user and password. Without it they are only listed.",
  },
  ALERT_WEBHOOK_SECRET: {
    default: "(none)",
    about: "Secret. Signs what is posted: `whsec_` and the base64 of 24 to 64 bytes.",
  },
  REAPER_LATE_MS: {
    default: "600000",
    about: "After how long without a complete run the reaper counts as late (60,000 and up).",
  },
  PUBLIC_URL: {
    default: "(as the request says)",
    about: "Where webhooks' providers reach Weir, such as `https://events.example.com`: some sign the URL.",
  },
  CORS_ORIGINS: {
    default: "(none)",
    about: "The origins whose pages may call, such as `https://app.example.com`, with commas between; `*`: any.",
  },
  RATE_LIMIT_POLICY: {
    default: "(none)",
    about: "What the binding `RATE_LIMIT` is set to, for answers to tell: `100;w=60` is 100 requests in 60 seconds.",
  },
  REQUEST_LOG: { default: "on", about: "`on` or `off`: whether each request is logged, as one line." },
} as const;

/**
 * Settings by the name of a webhook source, in upper case, with `_` for what is no letter or digit: its secret
 * (`WEBHOOK_SECRET_<SOURCE>`, and `…_PREVIOUS` while rotating), and what Meta asks for (`WEBHOOK_VERIFY_TOKEN_<SOURCE>`).
 */
export const WEBHOOK_SETTING = /^WEBHOOK_(?:SECRET|VERIFY_TOKEN)_./;

export type Settings = { readonly [Name in keyof typeof SETTINGS]?: string | undefined };

/**
 * Reads the deployment's settings from its environment.
 * @throws {WeirError} `misconfigured`, naming every fault at once, and no value
 */
export function parseConfig(env: Settings): Config {
  const faults: string[] = [];
  const config = {
    redis: parseRedis(env, faults),
    rootToken: env.ROOT_TOKEN ?? "",
    ...parseTokenSecrets(env, faults),
    keyPrefix: env.KEY_PREFIX ?? SETTINGS.KEY_PREFIX.default,
    redisTimeoutMs: parseMs(env, "REDIS_TIMEOUT_MS", 100, 60_000, faults),
    consumerIdleMs: parseMs(env, "CONSUMER_IDLE_MS", 60_000, Number.MAX_SAFE_INTEGER, faults),
    alerts: {
      ...parseAlertWebhook(env, faults),
      reaperLateMs: parseMs(env, "REAPER_LATE_MS", 60_000, Number.MAX_SAFE_INTEGER, faults),
    },
    publicUrl: parsePublicUrl(env, faults),
    webhookSecrets: webhookSecrets(env),
    corsOrigins: parseOrigins(env, faults),
    rateLimit: parseRateLimit(env, faults),
    requestLog: parseSwitch(env, "REQUEST_LOG", faults),
  };
  if (config.rootToken === "") faults.push("ROOT_TOKEN is not set");
  // An Authorization header carries nothing else; a line break at the end would silently lock everybody out.
  else if (!/^[!-~]+$/.test(config.rootToken)) faults.push("ROOT_TOKEN must be visible ASCII without spaces");
  // Braces would replace the stream's name as hash tag.
  if (!/^[A-Za-z0-9._:-]{0,64}$/.test(config.keyPrefix)) faults.push("KEY_PREFIX must match [A-Za-z0-9._:-]{0,64}");
  if (faults.length > 0) throw new WeirError("misconfigured", faults.join("; "));
  return config;
}

function parseTokenSecrets(
  { TOKEN_SECRET, TOKEN_SECRET_PREVIOUS }: Settings,
  faults: string[],
): Pick<Config, "tokenSecret" | "previousTokenSecret"> {
  const secrets = { TOKEN_SECRET, TOKEN_SECRET_PREVIOUS };
  for (const [name, secret] of Object.entries(secrets)) {
    if (secret && secret.length < 32) faults.push(`${name} must have at least 32 characters`);
  }
  if (TOKEN_SECRET_PREVIOUS && !TOKEN_SECRET) faults.push("TOKEN_SECRET is not set, though TOKEN_SECRET_PREVIOUS is");
  return { tokenSecret: TOKEN_SECRET || undefined, previousTokenSecret: TOKEN_SECRET_PREVIOUS || undefined };
}

function parseRedis(env: Settings, faults: string[]): RedisConfig {
  const { UPSTASH_REDIS_REST_URL: restUrl, UPSTASH_REDIS_REST_TOKEN: token = "", REDIS_URL: url = "" } = env;
  if (restUrl) {
    if (!/^https?:\/\/\S+$/.test(restUrl)) faults.push("UPSTASH_REDIS_REST_URL must start with https:// or http://");
    if (hasCredentials(restUrl)) faults.push(`UPSTASH_REDIS_REST_URL ${NO_CREDENTIALS}`);
    if (token === "") faults.push("UPSTASH_REDIS_REST_TOKEN is not set, though UPSTASH_REDIS_REST_URL is");
    return { kind: "upstash", url: restUrl, token };
  }
  if (url === "") faults.push("set UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN, or REDIS_URL");
  else if (!/^rediss?:\/\/\S+$/.test(url)) faults.push("REDIS_URL must start with redis:// or rediss://");
  return { kind: "tcp", url };
}

function parseAlertWebhook(env: Settings, faults: string[]): Pick<AlertSettings, "webhook"> {
  const { ALERT_WEBHOOK_URL: url = "", ALERT_WEBHOOK_SECRET: secret = "" } = env;
  if (url !== "" && !(/^https?:\/\//.test(url) && URL.canParse(url))) {
    faults.push("ALERT_WEBHOOK_URL must start with https:// or http://");
  }
  if (hasCredentials(url)) faults.push(`ALERT_WEBHOOK_URL ${NO_CREDENTIALS}`);
  if (secret !== "" && !isWebhookSecret(secret)) {
    faults.push("ALERT_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes");
  }
  if (url !== "" && secret === "") faults.push("ALERT_WEBHOOK_SECRET is not set, though ALERT_WEBHOOK_URL is");
  return url === "" ? {} : { webhook: { url, secret } };
}

function parsePublicUrl({ PUBLIC_URL: url = "" }: Settings, faults: string[]): string | undefined {
  if (url === "") return undefined;
  const { origin, pathname = "" } = URL.parse(url) ?? {};
  if (!/^https?:\/\/[^\s?#]+$/.test(url) || origin === undefined || hasCredentials(url)) {
    faults.push("PUBLIC_URL must be an https:// or http:// URL without user, query and fragment");
  }
  return `${origin}${pathname}`.replace(/\/{1,8}$/, "");
}

function webhookSecrets(env: Settings): ReadonlyMap<string, string> {
  const given: readonly [string, unknown][] = Object.entries(env);
  const secrets = given.filter((entry): entry is [string, string] => {
    const [name, value] = entry;
    return WEBHOOK_SETTING.test(name) && typeof value === "string" && value !== "";
  });
  return new Map(secrets);
}

/** And its error, which may be logged, quotes the URL. */
const NO_CREDENTIALS = "must hold no user and no password: fetch refuses such a URL";

function hasCredentials(url: string): boolean {
  const { username = "", password = "" } = URL.parse(url) ?? {};
  return username !== "" || password !== "";
}

/** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#signature-scheme */
function isWebhookSecret(secret: string): boolean {
  const base64 = /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/.exec(secret)?.[1];
  if (base64 === undefined) return false;
  const { length } = atob(base64);
  return length >= 24 && length <= 64;
}

function parseOrigins({ CORS_ORIGINS }: Settings, faults: string[]): readonly string[] {
  if (!CORS_ORIGINS) return [];
  const origins = CORS_ORIGINS.split(",").map((origin) => origin.trim());
  if (origins.length === 1 && origins[0] === "*") return origins;
  // As a browser writes it: no path, no slash at the end, lower case, no port that goes without saying.
  if (!origins.every((origin) => /^https?:\/\/[^*]+$/.test(origin) && URL.parse(origin)?.origin === origin)) {
    faults.push("CORS_ORIGINS must be origins such as https://app.example.com with commas between, or * alone");
  }
  return origins;
}

function parseRateLimit({ RATE_LIMIT_POLICY }: Settings, faults: string[]): RateLimitPolicy | undefined {
  if (!RATE_LIMIT_POLICY) return undefined;
  const [, quota = "", windowS = ""] = /^([1-9]\d{0,8});w=([1-9]\d{0,4})$/.exec(RATE_LIMIT_POLICY) ?? [];
  if (quota === "") faults.push("RATE_LIMIT_POLICY must be requests and seconds, such as 100;w=60");
  return { quota: Number(quota), windowS: Number(windowS) };
}

function parseSwitch(env: Settings, name: "REQUEST_LOG", faults: string[]): boolean {
  const text = env[name] || SETTINGS[name].default;
  if (text !== "on" && text !== "off") faults.push(`${name} must be on or off`);
  return text === "on";
}

function parseMs(
  env: Settings,
  name: "REDIS_TIMEOUT_MS" | "CONSUMER_IDLE_MS" | "REAPER_LATE_MS",
  min: number,
  max: number,
  faults: string[],
): number {
  const text = env[name] ?? SETTINGS[name].default;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) faults.push(`${name} must be a whole number from ${min} to ${max}`);
  return value;
}
