import { describe, expect, test } from "vitest";
import { consume } from "../../shared/stream/consume.ts";
import { configureGroup, configureStream } from "../../shared/stream/manage.ts";
import { produce } from "../../shared/stream/produce.ts";
import { SettingsCache } from "../../shared/stream/settings-cache.ts";
import { openStream } from "../../shared/stream/stream.ts";
import { nativeClient, openRedis, type TransportName, uniquePrefix } from "../support/redis.ts";

describe.each<TransportName>(["tcp", "rest"])("over %s", (transport) => {
  test("a batch that was not acknowledged is handed out again after its lease, in order", async () => {
    const prefix = uniquePrefix();
    const stream = openStream(openRedis(transport), prefix, "orders");
    await configureStream(stream, prefix, {}, Date.now());
    await configureGroup(stream, "g", { kind: "first" }, {});
    const { ids } = await produce(
      stream,
      Array.from({ length: 5 }, (_, i) => ({ data: `{"i":${i}}` })),
    );
    expect(ids).toHaveLength(5);
    const cache = new SettingsCache();
    const req = { consumer: "c", batchSize: 10, acks: [] };
    const first = await consume(stream, "g", req, cache);
    const none = await consume(stream, "g", { ...req, pollState: first.pollState }, cache);
    expect(none.messages).toEqual([]);
    const native = nativeClient();
    await native.call("XCLAIM", stream.keys.stream, "g", "c", 0, ...ids, "IDLE", 60_000, "RETRYCOUNT", 1, "JUSTID");
    const again = await consume(stream, "g", { ...req, consumer: "d" }, cache);
    expect(again.messages.map((m) => JSON.parse(m).deliveries)).toEqual([2, 2, 2, 2, 2]);
    const acks = again.messages.map((m) => JSON.parse(m).lease);
    const done = await consume(stream, "g", { ...req, acks }, cache);
    expect(done.settled).toEqual({ acked: 5, stale: [] });
  });
});
