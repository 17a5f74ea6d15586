// What `npm start` reads from the environment, checked as a whole.
import { resolve } from "node:path";

/** The settings of a local stack. */
export type Settings = {
  port: number;
  rootToken: string;
  reaperIntervalMs: number;
  dataDir: string;
  transport: "rest" | "tcp";
  redisUrl?: string;
};

/**
 * Reads the settings; what is not set, or empty, has its default.
 *
 * @param env usually process.env
 * @returns the settings, or every fault there is, each a sentence
 */
export function parseSettings(env: NodeJS.ProcessEnv): { settings: Settings } | { faults: string[] } {
  const faults: string[] = [];
  const port = integer(env, "PORT", 8787, 1, 65_535, faults);
  const reaperIntervalMs = integer(env, "REAPER_INTERVAL_MS", 60_000, 100, 86_400_000, faults);
  const rootToken = env.ROOT_TOKEN || "weir-local";
  // It travels in an HTTP header.
  if (!/^[\x21-\x7e]+$/.test(rootToken)) faults.push("ROOT_TOKEN must be printable ASCII without spaces.");
  const transport = env.WEIR_TRANSPORT || "rest";
  if (transport !== "rest" && transport !== "tcp") faults.push(`WEIR_TRANSPORT must be rest or tcp, got ${transport}.`);
  const redisUrl = env.REDIS_URL || undefined;
  // The value is not repeated: it may hold a password.
  if (redisUrl !== undefined && !isRedisUrl(redisUrl)) faults.push("REDIS_URL must be a redis:// or rediss:// URL.");
  if (faults.length > 0) return { faults };
  const dataDir = resolve(env.WEIR_DATA_DIR || ".weir");
  const settings: Settings = {
    port,
    rootToken,
    reaperIntervalMs,
    dataDir,
    transport: transport === "tcp" ? "tcp" : "rest",
  };
  return { settings: redisUrl === undefined ? settings : { ...settings, redisUrl } };
}

function integer(env: NodeJS.ProcessEnv, name: string, or: number, min: number, max: number, faults: string[]): number {
  const text = env[name] || String(or);
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  faults.push(`${name} must be an integer from ${min} to ${max}, got ${JSON.stringify(text)}.`);
  return or;
}

function isRedisUrl(text: string): boolean {
  return /^rediss?:\/\/[^/]/.test(text) && URL.canParse(text);
}
