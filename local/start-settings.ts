import { resolve } from "node:path";
import { parseConfig, SETTINGS, WEBHOOK_SETTING } from "../shared/config.ts";
import { WeirError } from "../shared/errors.ts";
import { parseLiberties } from "./liberties.ts";

/** What `npm start` reads from the environment. */
export interface StartSettings {
  readonly port: number;
  readonly rootToken: string;
  readonly reaperIntervalMs: number;
  readonly dataDir: string;
  readonly transport: "rest" | "tcp";
  readonly redisUrl?: string;
  /** The settings of Weir itself that are set, for the Worker. */
  readonly vars: Readonly<Record<string, string>>;
  /** The settings that are set and not used, since the stack has its own. */
  readonly ignored: readonly string[];
}

/** The stack decides where Redis is: what a shell holds for a deployment must not draw local traffic there. */
const HOSTED = ["UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"];

/**
 * Reads the settings, checked as a whole; what is not set, or empty, has its default.
 * @param env usually process.env
 * @returns the settings, or every fault there is, each a sentence
 */
export function parseStartSettings(env: NodeJS.ProcessEnv): StartSettings | { readonly faults: readonly string[] } {
  const faults: string[] = [];
  const port = integerAt(env, "PORT", { unlessSet: 8787, min: 1, max: 65_535 }, faults);
  const interval = { unlessSet: 60_000, min: 100, max: 86_400_000 };
  const reaperIntervalMs = integerAt(env, "REAPER_INTERVAL_MS", interval, faults);
  const transport = env.WEIR_TRANSPORT || "rest";
  if (transport !== "rest" && transport !== "tcp") faults.push(`WEIR_TRANSPORT must be rest or tcp, got ${transport}.`);
  const liberties = parseLiberties(env.UPSTASH_LIBERTIES);
  if (typeof liberties === "string") faults.push(liberties);
  const rootToken = env.ROOT_TOKEN || "weir-local";
  const { REDIS_URL, ROOT_TOKEN: _, ...vars } = weirSettings(env);
  faults.push(...configFaults({ ...vars, ROOT_TOKEN: rootToken, REDIS_URL: REDIS_URL ?? "redis://127.0.0.1" }));
  if (faults.length > 0) return { faults };
  return {
    port,
    rootToken,
    reaperIntervalMs,
    dataDir: resolve(env.WEIR_DATA_DIR || ".weir"),
    transport: transport === "tcp" ? "tcp" : "rest",
    vars,
    ignored: HOSTED.filter((name) => env[name]),
    ...(REDIS_URL !== undefined && { redisUrl: REDIS_URL }),
  };
}

/** Weir's own settings that are set, whatever there are: shared/config.ts names them. */
function weirSettings(env: NodeJS.ProcessEnv): Record<string, string> {
  const isOurs = (name: string) => (name in SETTINGS && !HOSTED.includes(name)) || WEBHOOK_SETTING.test(name);
  return Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => (isOurs(name) && value ? [[name, value]] : [])),
  );
}

/** What the Worker would say of these settings, at its first request. */
function configFaults(vars: Readonly<Record<string, string>>): string[] {
  try {
    parseConfig(vars);
    return [];
  } catch (error) {
    if (error instanceof WeirError) return [`${error.message}.`];
    throw error;
  }
}

interface Bounds {
  readonly unlessSet: number;
  readonly min: number;
  readonly max: number;
}

function integerAt(env: NodeJS.ProcessEnv, name: string, { unlessSet, min, max }: Bounds, faults: string[]): number {
  const text = env[name] || String(unlessSet);
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    faults.push(`${name} must be an integer from ${min} to ${max}, got ${JSON.stringify(text)}.`);
  }
  return value;
}
