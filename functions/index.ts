import type { Settings } from "../shared/config.ts";
import { Redis } from "../shared/redis/redis.ts";
import { createApp } from "./app.ts";
import { WorkerConnections } from "./host.ts";
import { reap } from "./reap.ts";

const connections = new WorkerConnections();

const app = createApp({
  begin: (env) => connections.begin(env),
  runReaper: (config, redis, nowMs) => reap(config, redis, { nowMs, everyStream: true }),
});

/** The Worker: HTTP functions, and the scheduled work that the cron triggers. */
export default {
  fetch: app.fetch,

  async scheduled(controller: { readonly scheduledTime: number }, env: Settings): Promise<void> {
    const { config, connection, end } = connections.begin(env);
    try {
      await reap(config, new Redis(connection), { nowMs: controller.scheduledTime, everyStream: false });
    } finally {
      await end();
    }
  },
};
