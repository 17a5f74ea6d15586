/** How a server of one's own listens and works; what Weir itself needs is in `shared/config.ts`. */
export interface ServerSettings {
  /** The address to listen on. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  readonly reaperIntervalMs: number;
}

/** The server's own settings: name, default and meaning; the table in docs/server.md is checked against this. */
export const SERVER_SETTINGS = {
  HOST: { default: "127.0.0.1", about: "The address to listen on; `0.0.0.0` in a container." },
  PORT: { default: "8787", about: "The port to listen on (0 to 65,535; 0: any that is free)." },
  REAPER_INTERVAL_MS: { default: "60000", about: "How often the reaper runs (1,000 to 86,400,000)." },
} as const;

type ServerEnvironment = { readonly [Name in keyof typeof SERVER_SETTINGS]?: string | undefined };

/**
 * Reads the server's settings from its environment; what is not set, or empty, has its default.
 * @returns the settings, or every fault there is
 */
export function parseServerSettings(env: ServerEnvironment): ServerSettings | { readonly faults: readonly string[] } {
  const faults: string[] = [];
  const settings = {
    host: env.HOST || SERVER_SETTINGS.HOST.default,
    port: integerAt(env, "PORT", 0, 65_535, faults),
    reaperIntervalMs: integerAt(env, "REAPER_INTERVAL_MS", 1_000, 86_400_000, faults),
  };
  return faults.length > 0 ? { faults } : settings;
}

function integerAt(
  env: ServerEnvironment,
  name: "PORT" | "REAPER_INTERVAL_MS",
  min: number,
  max: number,
  faults: string[],
): number {
  const text = env[name] || SERVER_SETTINGS[name].default;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max)) {
    faults.push(`${name} must be a whole number from ${min} to ${max}, got ${JSON.stringify(text.slice(0, 40))}`);
  }
  return value;
}
