import { Redis as IoRedis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { startRedis } from "../../local/redis.ts";
import { defineReadingScript } from "../../shared/redis/script.ts";
import { temporaryDir } from "../support/folder.ts";
import { openAt } from "../support/own-redis.ts";
import { SLOW_LOG_ARGS, SlowLog, TEST_CLIENT, tooSlow } from "../support/slow-log.ts";

/** Keeps Redis busy for so many turns of a loop. */
const busy = defineReadingScript("busy", [], "local sum = 0 for i = 1, ARGV[1] do sum = sum + i end return reply(sum)");
const LONG = 30_000_000;

test("a script of Weir's that holds Redis up is told; what a test sends on its own connection, or is quick, is not", async () => {
  const redis = await startRedis({ dir: await temporaryDir(), args: [...SLOW_LOG_ARGS] });
  onTestFinished(() => redis.stop());
  const slowLog = new SlowLog(redis);
  const native = new IoRedis(redis.url, { protocol: 2, connectionName: TEST_CLIENT });
  onTestFinished(() => native.disconnect());
  await native.eval(busy.source, 0, LONG);
  const weir = openAt("tcp", redis.port);
  await weir.send({ script: busy, keys: [], args: [1] });
  await weir.send({ script: busy, keys: [], args: [LONG] });

  const slow = await slowLog.end();

  expect(slow.map(({ what }) => what)).toEqual([expect.stringContaining(busy.sha1)]);
  expect(tooSlow(slow)).toEqual(slow);
});
