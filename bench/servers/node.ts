// A version of Weir on Node: its app under @hono/node-server, with one kept connection. argv: its folder, then settings.
import { join } from "node:path";
import { serve } from "@hono/node-server";
import { answerParent } from "../rpc.ts";

export type NodeQuestion = "port";
export interface NodeAnswer {
  port: number;
}

const [, , root = "", settings = "{}"] = process.argv;
const env: Record<string, string> = JSON.parse(settings);
// Of the version that is measured, which may be another than the one that this file belongs to.
const { createApp }: typeof import("../../functions/app.ts") = await import(join(root, "functions/app.ts"));
const { parseConfig }: typeof import("../../shared/config.ts") = await import(join(root, "shared/config.ts"));
const { TcpConnection }: typeof import("../../shared/redis/tcp.ts") = await import(join(root, "shared/redis/tcp.ts"));
const { runReaper }: typeof import("../../scheduled/reaper.ts") = await import(join(root, "scheduled/reaper.ts"));

const config = parseConfig(env);
const connection = new TcpConnection({ url: config.redis.url, timeoutMs: config.redisTimeoutMs });
const invocation = { config, connection, end: async () => undefined };
const app = createApp({
  begin: () => invocation,
  runReaper: ({ keyPrefix, consumerIdleMs }, redis, nowMs) =>
    runReaper({ redis, keyPrefix, consumerIdleMs }, { nowMs, everyStream: true }),
});

const { promise: listening, resolve } = Promise.withResolvers<number>();
serve(
  {
    fetch: (request) => app.fetch(request, env),
    hostname: "127.0.0.1",
    port: 0,
    // The load generator keeps connections that it does not use for a while.
    serverOptions: { keepAliveTimeout: 120_000 },
  },
  ({ port }) => resolve(port),
);

answerParent<NodeQuestion, NodeAnswer>(async () => ({ port: await listening }));
