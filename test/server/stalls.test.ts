// Clients that give up while Redis stalls, through the whole stack: the Worker in workerd over REST and over TCP, and the
// server on Node. What they were to be handed reaches nobody, and must not count.
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { createTestHarness } from "wrangler";
import * as z from "zod";
import { startServer } from "../../functions/server/server.ts";
import { type OwnRedis, ownRedis } from "../support/own-redis.ts";
import { eventually } from "../support/wait.ts";

const TOKEN = "root-token-of-these-tests";

const Batch = z.object({ messages: z.array(z.object({ id: z.string(), deliveries: z.int() })) });

type Start = (own: OwnRedis) => Promise<string>;

const HOSTS: Record<string, Start> = {
  "workerd over REST": (own) =>
    startWorkerd({ UPSTASH_REDIS_REST_URL: own.upstash.url, UPSTASH_REDIS_REST_TOKEN: own.upstash.token }),
  "workerd over TCP": (own) => startWorkerd({ REDIS_URL: own.redis.url }),
  Node: async (own) => {
    const env = { REDIS_URL: own.redis.url, ROOT_TOKEN: TOKEN, REQUEST_LOG: "off" };
    const server = await startServer(env, { host: "127.0.0.1", port: 0, reaperIntervalMs: 3_600_000 });
    onTestFinished(() => server.stop());
    return server.url;
  },
};

async function startWorkerd(vars: Record<string, string>): Promise<string> {
  const workers = [{ configPath: "wrangler.toml", vars: { ...vars, ROOT_TOKEN: TOKEN } }];
  const harness = createTestHarness({ workers });
  onTestFinished(() => harness.close());
  return (await harness.listen()).url.origin;
}

test.each(Object.entries(HOSTS))(
  "three stalls of Redis of 3 s spend no delivery of what clients of %s gave up on",
  async (_, start) => {
    const own = await ownRedis();
    const url = await start(own);
    const send = (method: string, path: string, body: object, signal?: AbortSignal) =>
      fetch(`${url}/v1/streams/s${path}`, {
        method,
        headers: { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" },
        body: JSON.stringify(body),
        ...(signal && { signal }),
      });
    await send("PUT", "", {});
    await send("PUT", "/groups/g", { start: "earliest", maxDeliveries: 4, ackWaitMs: 1_000 });
    const messages = Array.from({ length: 12 }, (_, i) => ({ data: i }));
    expect((await send("POST", "/messages", { messages })).status).toBe(201);
    const consume = "/groups/g/consume";
    const first = await (await send("POST", consume, { consumer: "crashes", batchSize: 12 })).json();
    expect(first).toMatchObject({ messages: Array(12).fill({ deliveries: 1 }) });

    for (let stall = 0; stall < 3; stall++) {
      // The leases of the crashed consumer have ended.
      await sleep(1_100);
      const pid = own.redis.pid ?? 0;
      process.kill(pid, "SIGSTOP");
      try {
        const polls = Array.from({ length: 3 }, (_, i) =>
          send("POST", consume, { consumer: `c${i}`, batchSize: 4 }, AbortSignal.timeout(400)).catch(() => undefined),
        );
        expect(await Promise.all(polls)).toEqual([undefined, undefined, undefined]);
        await sleep(2_600);
      } finally {
        process.kill(pid, "SIGCONT");
      }
      await own.native.ping();
    }

    const letters = await (await fetch(`${url}/v1/streams/s/groups/g/dead-letters`, auth())).json();
    expect(letters).toEqual({ deadLetters: [], next: null });
    const found = new Set<string>();
    await eventually("all are handed out, as delivery 2", async () => {
      const answer = await send("POST", consume, { consumer: "next", batchSize: 12 });
      const { messages: handed } = Batch.parse(await answer.json());
      for (const { id, deliveries } of handed) {
        expect(deliveries).toBe(2);
        found.add(id);
      }
      return found.size === 12;
    });
  },
);

function auth(): RequestInit {
  return { headers: { authorization: `Bearer ${TOKEN}` } };
}
