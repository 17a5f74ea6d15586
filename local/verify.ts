// `npm run verify`: proves a deployment of Weir, or a hosted Redis under Weir, by doing what users do.
import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { startServer } from "../functions/server/server.ts";
import { Redis } from "../shared/redis/redis.ts";
import { asArray, asText } from "../shared/redis/reply.ts";
import { UpstashConnection } from "../shared/redis/upstash.ts";
import { INTERRUPTED, interruptible } from "./signals.ts";
import { type Finding, findCapabilities } from "./verify/capabilities.ts";
import { Client } from "./verify/client.ts";
import { walk } from "./verify/walk.ts";

const USAGE = `usage:
  npm run verify -- --url https://… --token …                    a deployment of Weir, with its root token
  npm run verify -- --upstash-url https://… --upstash-token …    a hosted Redis, with Weir on this machine

WEIR_URL and ROOT_TOKEN, or UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN, stand for the arguments.
It creates a stream of its own, does what users do, and deletes it again.`;

/** All of it. */
const TIMEOUT_MS = 90_000;
const CLEAN_UP_TIMEOUT_MS = 15_000;

const stopping = interruptible();
process.exitCode = await main();
process.exit();

type Target = { readonly kind: "weir" | "upstash"; readonly url: string; readonly token: string };

async function main(): Promise<number> {
  const target = readTarget();
  if (target === undefined) {
    console.error(USAGE);
    return 2;
  }
  const timer = setTimeout(() => stopping.abort(new Error(`not done after ${TIMEOUT_MS / 1_000} s`)), TIMEOUT_MS);
  try {
    return (await (target.kind === "weir" ? verifyWeir(target.url, target.token) : verifyUpstash(target))) ? 0 : 1;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return stopping.signal.aborted ? INTERRUPTED : 1;
  } finally {
    clearTimeout(timer);
  }
}

/** @returns undefined where the arguments name no target, or two */
function readTarget(): Target | undefined {
  const text = { type: "string" } as const;
  const options = { url: text, token: text, "upstash-url": text, "upstash-token": text };
  try {
    const { values } = parseArgs({ options });
    const { env } = process;
    const isUpstash = values["upstash-url"] !== undefined || (values.url === undefined && env.WEIR_URL === undefined);
    if (isUpstash && values.url !== undefined) return undefined;
    const url = isUpstash ? (values["upstash-url"] ?? env.UPSTASH_REDIS_REST_URL) : (values.url ?? env.WEIR_URL);
    const token = isUpstash
      ? (values["upstash-token"] ?? env.UPSTASH_REDIS_REST_TOKEN)
      : (values.token ?? env.ROOT_TOKEN);
    if (!url || !token || !/^https?:\/\/./.test(url) || !URL.canParse(url)) return undefined;
    return { kind: isUpstash ? "upstash" : "weir", url, token };
  } catch {
    return undefined;
  }
}

/** Walks the contract's main paths. @returns whether all was well */
async function verifyWeir(url: string, token: string): Promise<boolean> {
  const name = `verify-${randomUUID().slice(0, 8)}`;
  const client = new Client(url, token, stopping.signal);
  console.log(`Weir at ${url}, in the stream ${name}\n`);
  const { isWell, leftOut } = await walk(client, name, ({ name: step, ms, fault }) => {
    console.log(`${fault === undefined ? "ok    " : "FAILED"} ${step.padEnd(78)} ${String(ms).padStart(6)} ms`);
    if (fault !== undefined) console.log(`       ${fault}`);
  });
  const isClean = await cleanUp(client, name);
  const median = [...client.roundTripMs].sort((a, b) => a - b)[Math.floor(client.roundTripMs.length / 2)];
  const trip = median === undefined ? "" : `; a round trip to Redis took ${median.toFixed(1)} ms (median)`;
  console.log(`\n${client.requests} requests, ${client.commands} Redis commands${trip}.`);
  if (leftOut > 0) console.log(`${leftOut} more steps were left out.`);
  console.log(isWell ? "All is as the contract says." : "NOT all is as the contract says.");
  return isWell && isClean;
}

/** Never throws, so that the first fault is the one reported. */
async function cleanUp(client: Client, name: string): Promise<boolean> {
  try {
    const { status } = await client
      .with(AbortSignal.timeout(CLEAN_UP_TIMEOUT_MS))
      .send("DELETE", `/v1/streams/${name}`);
    if (status === 204 || status === 404) return true;
    console.error(`the stream ${name} was not deleted: status ${status}`);
  } catch (error) {
    console.error(`the stream ${name} was not deleted: ${error instanceof Error ? error.message : String(error)}`);
  }
  return false;
}

/** Looks at what the Redis can do, then walks Weir on it. @returns whether all was well */
async function verifyUpstash({ url, token }: Target): Promise<boolean> {
  const prefix = `weir-verify-${randomUUID().slice(0, 8)}:`;
  const redis = new Redis(new UpstashConnection({ url, token, timeoutMs: 15_000 }));
  const rootToken = randomUUID();
  try {
    const findings = await findCapabilities(redis, prefix);
    console.log(`Redis at ${url}, under the prefix ${prefix}\n\n${table(findings)}\n`);
    const env = {
      UPSTASH_REDIS_REST_URL: url,
      UPSTASH_REDIS_REST_TOKEN: token,
      ROOT_TOKEN: rootToken,
      KEY_PREFIX: prefix,
      REQUEST_LOG: "off",
    };
    const server = await startServer(env, { host: "127.0.0.1", port: 0, reaperIntervalMs: 3_600_000 });
    const isWell = await verifyWeir(server.url, rootToken).finally(() => server.stop());
    const missing = findings.filter(({ use, found }) => use === "needed" && found === "no");
    for (const { name, seen } of missing) console.log(`Weir needs what this Redis lacks: ${name} (${seen})`);
    return isWell && missing.length === 0;
  } finally {
    const left = await deleteAll(redis, prefix);
    console.log(
      `${redis.usage.commands} further commands looked at the Redis and cleaned up; ${left} keys were left to delete.`,
    );
  }
}

/** Deletes every key of a prefix. @returns how many there were */
async function deleteAll(redis: Redis, prefix: string): Promise<number> {
  let [cursor, deleted] = ["0", 0];
  do {
    const [next, keys] = asArray(await redis.send(["SCAN", cursor, "MATCH", `${prefix}*`, "COUNT", 1_000]));
    cursor = asText(next);
    const names = asArray(keys).map(asText);
    if (names.length > 0) await redis.send(["UNLINK", ...names]);
    deleted += names.length;
  } while (cursor !== "0");
  return deleted;
}

function table(findings: readonly Finding[]): string {
  const rows = findings.map(({ name, use, found, seen }) => [found, name.padEnd(48), use.padEnd(14), seen].join("  "));
  return [
    "     capability                                        Weir            seen",
    ...rows.map((row) => row.replace(/^(yes|no) /, (word) => word.padEnd(4))),
  ].join("\n");
}
