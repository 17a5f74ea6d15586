import { readFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { parseMetrics } from "../support/metrics.ts";
import { startWorker } from "../support/worker.ts";

// Over TCP: the strictest Upstash does not tell all that there is a figure for.
const worker = startWorker({ transport: "tcp" });
let served = new Set<string>();

/** Everything there is a metric of: a group that has read something, and a run of the reaper. */
beforeAll(async () => {
  await worker.call("PUT", "/v1/streams/orders");
  await worker.call("PUT", "/v1/streams/orders/groups/mail", { start: "earliest" });
  await worker.call("POST", "/v1/streams/orders/messages", { messages: [{ data: 1 }] });
  await worker.call("POST", "/v1/streams/orders/groups/mail/consume", { consumer: "a" });
  await worker.call("POST", "/v1/reaper/run");
  served = new Set(parseMetrics((await worker.call("GET", "/metrics")).text).keys());
});

function metricsIn(text: string): string[] {
  return [...new Set(text.match(/\b(?:redis_stream|weir)_\w+/g))];
}

test.each(["docs/grafana-dashboard.json", "docs/alert-rules.yml", "docs/operations.md"])(
  "every metric named in %s is served",
  async (path) => {
    const named = metricsIn(await readFile(path, "utf8"));
    expect(named.length).toBeGreaterThan(4);
    expect(named.filter((name) => !served.has(name))).toEqual([]);
  },
);

test("every metric that is served is in the page, the dashboard or the rules", async () => {
  const paths = ["docs/grafana-dashboard.json", "docs/alert-rules.yml", "docs/operations.md"];
  const texts = await Promise.all(paths.map((path) => readFile(path, "utf8")));
  const named = metricsIn(texts.join("\n"));
  expect([...served].filter((name) => !named.includes(name))).toEqual([]);
});

test("the dashboard's panels have an id and queries of their own, and do not lie on each other", async () => {
  const { panels } = JSON.parse(await readFile("docs/grafana-dashboard.json", "utf8"));
  const taken = new Set<string>();
  for (const { type, title, targets = [], gridPos } of panels) {
    if (type !== "row") expect(targets.length, title).toBeGreaterThan(0);
    for (const { expr } of targets) expect(metricsIn(expr).length, title).toBeGreaterThan(0);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        expect(taken.has(`${x} ${y}`), title).toBe(false);
        taken.add(`${x} ${y}`);
      }
    }
  }
  expect(new Set(panels.map(({ id }: { id: number }) => id)).size).toBe(panels.length);
});
