/**
 * Stands in the Worker's bundle for the package `debug` (3 KiB gzip; see `[alias]` in wrangler.toml). ioredis asks it for
 * each of its loggers whether the environment variable DEBUG wants them; a Worker has no such variable.
 */
export default function noDebug(): { readonly enabled: false } {
  return { enabled: false };
}
