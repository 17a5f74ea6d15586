// Everything that is measured, started once and used by all measurements.
import { join } from "node:path";
import type { Program } from "../local/child-process.ts";
import { startRedis } from "../local/redis.ts";
import type { Job, Sample, Target } from "./load/job.ts";
import { Child } from "./rpc.ts";
import type { EndpointAnswer, EndpointQuestion } from "./servers/endpoint.ts";
import { type RunningNats, startNats } from "./servers/nats.ts";
import { hasServer, startNode } from "./servers/node.ts";
import { startWorkerd } from "./servers/workerd.ts";
import type { Version } from "./version.ts";

const TOKEN = "bench";
const REST_TOKEN = "bench-rest";

export type Runtime = "Node, TCP" | "workerd, REST" | "workerd, TCP";

/** One running Weir. */
export interface Server {
  runtime: Runtime;
  version: Version;
  target: Target;
  pid: number;
}

/** A job less what the stack knows. */
export type JobBody = Job extends infer Each ? (Each extends Job ? Omit<Each, "redisPort" | "watched"> : never) : never;

export interface Stack {
  redisPort: number;
  servers: readonly Server[];
  nats: RunningNats | undefined;
  /** @param server whose CPU time is measured too */
  load(job: JobBody, server?: Server): Promise<Sample>;
  /** Another Node server of this checkout, with its inspector on that port. */
  inspectedNode(inspectorPort: number): Promise<Target>;
  /** Another workerd with that bundle, over REST, with its inspector on that port. */
  inspectedWorkerd(bundle: string, inspectorPort: number): Promise<Target>;
  /** Of the REST endpoint, in ms a round trip. */
  setLatency(latencyMs: number): Promise<void>;
  /** The settings of a Worker that reaches Redis through the REST endpoint. */
  restSettings: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** @throws Error when a part does not start; what had been started is ended first */
export async function startStack(dir: string, versions: readonly Version[]): Promise<Stack> {
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const end of stops.splice(0).reverse()) await end();
  };
  try {
    const redis = await startRedis({ dir: join(dir, "redis") });
    stops.push(redis.stop);
    const endpoint = new Child<EndpointQuestion, EndpointAnswer>(file("servers/endpoint.ts"), [redis.url, REST_TOKEN]);
    stops.push(() => endpoint.stop());
    const { url } = await endpoint.ask({ latencyMs: 0 });
    const restSettings = {
      UPSTASH_REDIS_REST_URL: url,
      UPSTASH_REDIS_REST_TOKEN: REST_TOKEN,
      ROOT_TOKEN: TOKEN,
      REQUEST_LOG: "off",
    };
    const servers: Server[] = [];
    for (const version of versions) {
      servers.push(...(await startServers(version, redis.url, restSettings, stops)));
    }
    const nats = await startNats(dir);
    if (nats !== undefined) stops.push(nats.stop);
    const generator = new Child<Job, Sample>(file("load/main.ts"));
    stops.push(() => generator.stop());
    return {
      redisPort: redis.port,
      servers,
      nats,
      load: (job, server) => {
        const isRest = server?.runtime === "workerd, REST";
        const watched = {
          redis: redis.pid,
          ...(server && { server: server.pid }),
          ...(isRest && { endpoint: endpoint.pid }),
        };
        return generator.ask({ ...job, redisPort: redis.port, watched });
      },
      inspectedNode: async (inspectorPort) => {
        const [version] = versions;
        if (version === undefined) throw new Error("there is no version to profile");
        const env = { REDIS_URL: redis.url, ROOT_TOKEN: TOKEN, KEY_PREFIX: "inspected:", REQUEST_LOG: "off" };
        const inspect = [`--inspect=127.0.0.1:${inspectorPort}`, "--inspect-publish-uid=http"];
        const { port, stop } = await startNode(version.root, env, inspect);
        stops.push(stop);
        return { port, token: TOKEN, prefix: env.KEY_PREFIX };
      },
      inspectedWorkerd: async (bundle, inspectorPort) => {
        const env = { ...restSettings, KEY_PREFIX: "inspected-rest:" };
        const { port, stop } = await startWorkerd(bundle, env, "/healthz", inspectorPort);
        stops.push(stop);
        return { port, token: TOKEN, prefix: env.KEY_PREFIX };
      },
      setLatency: async (latencyMs) => void (await endpoint.ask({ latencyMs })),
      restSettings,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** All of a version's servers; one that has no server for Node yet has only its Worker. */
async function startServers(
  version: Version,
  redisUrl: string,
  restSettings: Readonly<Record<string, string>>,
  stops: (() => Promise<void>)[],
): Promise<Server[]> {
  const tcpSettings = { REDIS_URL: redisUrl, ROOT_TOKEN: TOKEN, REQUEST_LOG: "off" };
  const suffix = `${version.label.replace(/[^A-Za-z0-9._-]/g, "-")}:`;
  const servers: Server[] = [];
  const started = (runtime: Runtime, prefix: string, { port, pid, stop }: Program & { readonly port: number }) => {
    stops.push(stop);
    servers.push({ runtime, version, target: { port, token: TOKEN, prefix }, pid });
  };
  if (await hasServer(version.root)) {
    const prefix = `node${suffix}`;
    started("Node, TCP", prefix, await startNode(version.root, { ...tcpSettings, KEY_PREFIX: prefix }));
  }
  for (const [runtime, name, settings] of [
    ["workerd, REST", "rest", restSettings],
    ["workerd, TCP", "tcp", tcpSettings],
  ] as const) {
    const prefix = `${name}${suffix}`;
    started(runtime, prefix, await startWorkerd(version.bundle, { ...settings, KEY_PREFIX: prefix }));
  }
  return servers;
}

function file(path: string): string {
  return join(import.meta.dirname, path);
}
