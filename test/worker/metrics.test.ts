import { expect, test } from "vitest";
import { parseMetrics, sample } from "../support/metrics.ts";
import { nativeClient } from "../support/redis.ts";
import { startWorker } from "../support/worker.ts";

// Over TCP: the strictest Upstash does not tell all that there is a figure for.
const worker = startWorker({ transport: "tcp" });

async function scrape() {
  const answer = await worker.call("GET", "/metrics");
  expect(answer.status).toBe(200);
  return { ...answer, families: parseMetrics(answer.text) };
}

/** A stream with a group; each message is one of those numbers. */
async function makeStream(name: string, numbers: readonly number[] = []) {
  await worker.call("PUT", `/v1/streams/${name}`);
  await worker.call("PUT", `/v1/streams/${name}/groups/g`, { start: "earliest" });
  if (numbers.length === 0) return [];
  const messages = numbers.map((data) => ({ data }));
  const produced = await worker.call("POST", `/v1/streams/${name}/messages`, { messages });
  return produced.json.ids;
}

async function consume(name: string, body: object = {}): Promise<string[]> {
  const { json } = await worker.call("POST", `/v1/streams/${name}/groups/g/consume`, { consumer: "c", ...body });
  return json.messages.map(({ lease }: { lease: string }) => lease);
}

test("metrics are for those with the token, and of the text format's type", async () => {
  const refused = await worker.call("GET", "/metrics", undefined, { authorization: "Bearer wrong" });
  expect(refused).toMatchObject({ status: 401, json: { code: "unauthenticated" } });
  const { headers } = await scrape();
  expect(headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
});

test("every figure of a stream and its groups is what the API says, under redis_exporter's names where it has one", async () => {
  const ids = await makeStream("orders", [1, 2, 3, 4, 5]);
  const [retried, rejected, again] = await consume("orders", { batchSize: 4 });
  await worker.call("POST", "/v1/streams/orders/groups/g/settle", {
    retries: [
      { lease: retried, delayMs: 3_600_000 },
      { lease: again, delayMs: 0 },
    ],
    rejects: [{ lease: rejected }],
  });
  await consume("orders", { batchSize: 1 });

  const { json: group } = await worker.call("GET", "/v1/streams/orders/groups/g");
  const { families } = await scrape();
  const labels = { stream: "orders", group: "g" };
  const ms = (id: string) => Number(id.split("-")[0]);
  expect(sample(families, "redis_stream_length", { stream: "orders" })).toBe(5);
  expect(sample(families, "redis_stream_groups", { stream: "orders" })).toBe(1);
  expect(sample(families, "redis_stream_first_entry_id", { stream: "orders" })).toBe(ms(ids[0]));
  expect(sample(families, "redis_stream_last_entry_id", { stream: "orders" })).toBe(ms(ids[4]));
  expect(sample(families, "redis_stream_last_generated_id", { stream: "orders" })).toBe(ms(ids[4]));
  expect(sample(families, "redis_stream_group_last_delivered_id", labels)).toBe(ms(group.lastDeliveredId));
  expect(sample(families, "redis_stream_group_consumers", labels)).toBe(group.consumers);
  expect(sample(families, "redis_stream_group_entries_read", labels)).toBe(4);
  expect(sample(families, "redis_stream_group_lag", labels)).toBe(1);
  expect(sample(families, "weir_group_lag_estimated", labels)).toBe(0);
  // The one that was never settled lies in Redis' own list, the one that came back at once beside it.
  expect(group).toMatchObject({ lag: 1, pending: 2, delayed: 1, deadLetters: 1 });
  expect(sample(families, "redis_stream_group_messages_pending", labels)).toBe(1);
  expect(sample(families, "weir_group_pending_again_messages", labels)).toBe(1);
  expect(sample(families, "weir_group_delayed_messages", labels)).toBe(1);
  expect(sample(families, "weir_group_dead_letters", labels)).toBe(1);
});

test("the oldest pending message's age is in seconds, and 0 when nothing is pending", async () => {
  await makeStream("aged");
  const labels = { stream: "aged", group: "g" };
  expect(sample((await scrape()).families, "weir_group_oldest_pending_age_seconds", labels)).toBe(0);
  await nativeClient().xadd(`${worker.prefix}{aged}`, Date.now() - 90_000, "data", "1");
  await consume("aged");
  const age = sample((await scrape()).families, "weir_group_oldest_pending_age_seconds", labels);
  expect(age).toBeGreaterThanOrEqual(90);
  expect(age).toBeLessThan(150);
});

test("an estimated lag says that it is one, by time or within a millisecond", async () => {
  const native = nativeClient();
  const key = (name: string) => `${worker.prefix}{${name}}`;
  for (const name of ["estimated", "close"]) {
    await makeStream(name);
    // A hole behind what was read: Redis gives up counting.
    const idOf = (i: number) => (name === "close" ? `1000-${i}` : `${i}000-0`);
    for (let i = 1; i <= 10; i++) await native.xadd(key(name), idOf(i), "data", String(i));
    await consume(name, { batchSize: 5 });
    await native.xdel(key(name), idOf(8));
  }
  const { families } = await scrape();
  const lagOf = (name: string) => [
    sample(families, "redis_stream_group_lag", { stream: name, group: "g" }),
    sample(families, "weir_group_lag_estimated", { stream: name, group: "g" }),
  ];
  expect(lagOf("estimated")).toEqual([5, 1]);
  expect(lagOf("close")).toEqual([5, 1]);
});

test("names with odd characters, as native clients may choose them, come through a parser unharmed", async () => {
  await makeStream("odd");
  const native = nativeClient();
  const names = ['"quoted"', "back\\slash", "line\nbreak", '{brace="x"}', "ünï", "a b", "\\n", "tab\t", "cr\r", "a:b"];
  for (const name of names) await native.xgroup("CREATE", `${worker.prefix}{odd}`, name, "0");
  const { families } = await scrape();
  for (const group of names) {
    expect(sample(families, "redis_stream_group_lag", { stream: "odd", group }), JSON.stringify(group)).toBe(0);
  }
});

test("names that are no text make no two samples alike, which Prometheus would refuse", async () => {
  await makeStream("bytes");
  const before = sample((await scrape()).families, "weir_scrape_errors") ?? Number.NaN;
  const native = nativeClient();
  for (const byte of [0xfe, 0xff]) {
    await native.call("XGROUP", "CREATE", `${worker.prefix}{bytes}`, Buffer.from([byte]), "0");
  }
  const { families } = await scrape();
  expect(sample(families, "redis_stream_group_lag", { stream: "bytes", group: "\ufffd" })).toBe(0);
  expect(sample(families, "weir_scrape_errors")).toBe(before + 1);
});

test("a stream that cannot be read is left out and counted; a name without a stream is no error", async () => {
  await makeStream("broken");
  await makeStream("gone");
  const before = sample((await scrape()).families, "weir_scrape_errors") ?? Number.NaN;
  const native = nativeClient();
  await native.del(`${worker.prefix}{broken}`, `${worker.prefix}{gone}`);
  await native.set(`${worker.prefix}{broken}`, "a string");
  const { families } = await scrape();
  expect(sample(families, "redis_stream_length", { stream: "broken" })).toBeUndefined();
  expect(sample(families, "redis_stream_length", { stream: "gone" })).toBeUndefined();
  expect(sample(families, "redis_stream_length", { stream: "odd" })).toBe(0);
  expect(sample(families, "weir_scrape_errors")).toBe(before + 1);
});

test("the reaper's last run is there once there was one", async () => {
  expect((await scrape()).families.has("weir_reaper_last_run_complete")).toBe(false);
  const { json: run } = await worker.call("POST", "/v1/reaper/run");
  const { families } = await scrape();
  expect(sample(families, "weir_reaper_last_run_timestamp_seconds")).toBe(run.startedAt / 1_000);
  expect(sample(families, "weir_reaper_last_run_duration_seconds")).toBe(run.durationMs / 1_000);
  expect(sample(families, "weir_reaper_last_run_complete")).toBe(1);
  expect(sample(families, "weir_reaper_last_run_backlog_streams")).toBe(0);
  // The stream of another type.
  expect(sample(families, "weir_reaper_last_run_errors")).toBe(1);
  expect(sample(families, "weir_reaper_last_run_commands")).toBe(run.redisCommands);
});

test("600 streams with 1,800 groups are read in few round trips, without their payloads", async () => {
  const native = nativeClient();
  const pipeline = native.pipeline();
  for (let i = 0; i < 600; i++) {
    const key = `${worker.prefix}{many${i}}`;
    pipeline.xadd(key, "*", "data", "x".repeat(20_000));
    for (const group of ["a", "b", "c"]) pipeline.xgroup("CREATE", key, group, "0");
    pipeline.zadd(`${worker.prefix}streams`, 0, `many${i}`);
  }
  await pipeline.exec();
  const { families, headers } = await scrape();
  expect(families.get("redis_stream_group_lag")?.metrics.length).toBeGreaterThanOrEqual(1_800);
  const [, commands, roundTrips] = /"(\d+) commands, (\d+) round trips"/.exec(headers.get("server-timing") ?? "") ?? [];
  expect(Number(roundTrips)).toBeLessThanOrEqual(7);
  // A script, two XINFO and two EXISTS a stream; the groups of other tests have some more.
  expect(Number(commands)).toBeLessThan(610 * 5 + 100);
});
