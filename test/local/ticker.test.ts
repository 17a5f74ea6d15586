import { once } from "node:events";
import { createServer, type Server, type ServerResponse } from "node:http";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { startTicker, type Ticker } from "../../local/ticker.ts";
import { eventually } from "../support/wait.ts";

vi.setConfig({ testTimeout: 60_000 });

let server: Server;
let workerUrl: string;
let ticker: Ticker | undefined;
let waiting: ServerResponse[];
let urls: string[];

beforeEach(async () => {
  waiting = [];
  urls = [];
  server = createServer((request, response) => {
    urls.push(request.url ?? "");
    waiting.push(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  workerUrl = `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
});

afterEach(async () => {
  await ticker?.stop();
  server.closeAllConnections();
  server.close();
});

async function answer(status: number, body: string): Promise<void> {
  const response = await eventually("the next run", () => waiting.shift());
  response.writeHead(status).end(body);
}

const ok = () => answer(200, '{"outcome":"ok","noRetry":false}');

it("fires the cron handler again and again", async () => {
  ticker = startTicker({ workerUrl, intervalMs: 5, log: () => undefined });
  for (let i = 0; i < 3; i++) await ok();
  expect(urls[0]).toBe("/cdn-cgi/handler/scheduled?cron=*+*+*+*+*&format=json");
});

it("does not start a run while another is under way", async () => {
  ticker = startTicker({ workerUrl, intervalMs: 1, log: () => undefined });
  for (let run = 1; run <= 5; run++) {
    await eventually("a run", () => waiting.length > 0);
    // Twenty intervals in which an overlapping run would have come.
    const started = performance.now();
    await eventually("time to pass", () => performance.now() - started > 20);
    expect(urls).toHaveLength(run);
    await ok();
  }
});

it("says once that runs fail, and that they succeed again", async () => {
  const said: string[] = [];
  ticker = startTicker({ workerUrl, intervalMs: 1, log: (line) => said.push(line) });
  await ok();
  await answer(500, "no");
  await answer(200, '{"outcome":"exception"}');
  await answer(500, "no");
  await ok();
  await eventually("the recovery", () => said.length === 2);
  await answer(500, "no again");
  await eventually("the next failure", () => said.length === 3);
  expect(said).toEqual([
    "the reaper's run failed (said once until it succeeds): HTTP 500: no",
    "the reaper runs again",
    "the reaper's run failed (said once until it succeeds): HTTP 500: no again",
  ]);
});

it("stops without a word in the middle of a run, and fires no more", async () => {
  const said: string[] = [];
  const stopped = startTicker({ workerUrl, intervalMs: 1, log: (line) => said.push(line) });
  await eventually("a run", () => waiting.length > 0);
  await stopped.stop();
  expect(said).toEqual([]);
  expect(urls).toHaveLength(1);
});
