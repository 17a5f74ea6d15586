import { describe, expect, test } from "vitest";
import { runReaper } from "../../scheduled/reaper.ts";
import { alertsKey, reaperRunsKey } from "../../shared/keys.ts";
import { listAlerts } from "../../shared/reaper/alerts.ts";
import { lastRun, listRuns } from "../../shared/reaper/runs.ts";
import { groupInfo } from "../../shared/stream/inspect.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { trimNow } from "../../shared/stream/retention.ts";
import { nativeClient } from "../support/redis.ts";
import { leasesOf, makeStream, poll, produceNumbers } from "../support/streams.ts";

const BROKEN = ["garbage", "", "null", "[]", "17", '{"value":"many"}', '{"value":1,"recovered":7}'];

describe("what another client wrote over stored JSON", () => {
  test.each(BROKEN)("does not stop a run or the list of alerts, and is cleared away: %s", async (text) => {
    const stream = await makeStream(["g"]);
    await configureGroup(stream, "g", undefined, { alertLag: 0 });
    await produceNumbers(stream, 1);
    const native = nativeClient();
    const key = alertsKey(stream.prefix);
    await native.hset(key, JSON.stringify([stream.name, "g", "lag"]), text, text, text);
    const context = { redis: stream.redis, keyPrefix: stream.prefix, consumerIdleMs: 10 ** 9 };
    const list = () => listAlerts(stream.redis, stream.prefix, { nowMs: Date.now(), reaperLateMs: 600_000 });
    expect(await list()).toEqual([]);
    // The first run clears it away, the second finds what is to be told.
    for (let run = 0; run < 2; run++) {
      expect((await runReaper(context, { nowMs: Date.now(), everyStream: true })).errors).toEqual([]);
    }
    expect(await list()).toMatchObject([{ stream: stream.name, metric: "lag", value: 1 }]);
    expect(await native.hexists(key, text)).toBe(0);
  });

  test.each(BROKEN)("is no report and no gap: %s", async (text) => {
    const stream = await makeStream(["g"]);
    const native = nativeClient();
    await native.lpush(reaperRunsKey(stream.prefix), text);
    await native.hset(stream.keys.config, "gap:g", text);
    expect(await lastRun(stream.redis, stream.prefix)).toBeUndefined();
    for (const run of await listRuns(stream.redis, stream.prefix)) expect(JSON.parse(run)).toBeTypeOf("object");
    expect((await groupInfo(stream, "g", Date.now())).gap).toBeNull();
    await produceNumbers(stream, 1);
    const { messages } = await poll(stream, "g");
    expect(messages).toHaveLength(1);
    expect((await poll(stream, "g", { acks: leasesOf(messages) })).settled.acked).toBe(1);
    await configureStream(stream, { unfinished: "drop" }, 0);
    await produceNumbers(stream, 2);
    await trimNow(stream, { maxLength: 0, exact: true }, Date.now());
    expect((await groupInfo(stream, "g", Date.now())).gap).toMatchObject({ messages: 2 });
  });
});
