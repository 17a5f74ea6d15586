import { spawn } from "node:child_process";
import { getEventListeners } from "node:events";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { Consumer, type Fetch, stopOnSignals, WeirClient } from "../../client/index.ts";
import { startApp } from "../support/app.ts";
import { filled } from "../support/consumers.ts";
import { eventually } from "../support/wait.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

describe("starts and stops", () => {
  const app = startApp();
  /** The app in this process answers. */
  const fetch: Fetch = async (url, { method, body, headers }) => {
    const { pathname, search } = new URL(url);
    const sent = typeof body === "string" ? body : undefined;
    const { status, headers: got, text } = await app.call(method, pathname + search, sent, headers);
    return { status, headers: got, text: async () => text };
  };

  test("10,000 of them leave no memory, timer, listener or name behind", async () => {
    setFlagsFromString("--expose-gc");
    const collect: unknown = runInNewContext("gc");
    if (typeof collect !== "function") throw new Error("there is no gc()");
    const weir = new WeirClient({ url: "http://weir.test", token: ROOT_TOKEN, fetch });
    const stream = weir.stream("s");
    await stream.put();
    await stream.group("g").put({ start: "earliest" });
    const outer = new AbortController();
    const live = async (i: number) => {
      const consumer = new Consumer(weir, { stream: "s", group: "g", handler: () => undefined });
      const polled = new Promise<void>((resolve) => void consumer.on("idle", () => resolve()));
      consumer.start();
      // Some are stopped before their first poll is sent, some while it is under way.
      if (i % 5 > 1) await polled;
      else if (i % 5 === 1) await null;
      expect(await consumer.stop()).toEqual({ unsettled: 0 });
    };
    const loop = async () => {
      const ending = new AbortController();
      const stop = () => ending.abort();
      outer.signal.addEventListener("abort", stop);
      setImmediate(stop);
      for await (const _ of stream.group("g").messages({ signal: ending.signal })) throw new Error("there is none");
      outer.signal.removeEventListener("abort", stop);
      expect(getEventListeners(ending.signal, "abort")).toHaveLength(0);
    };
    const lives = async (count: number) => {
      for (let done = 0; done < count; done += 50) {
        await Promise.all(Array.from({ length: 50 }, (_, i) => (i === 49 ? loop() : live(i))));
      }
      collect();
      await sleep(10);
      collect();
      return process.memoryUsage().heapUsed;
    };
    await lives(500);
    const timersBefore = timers();
    const before = await lives(500);
    const after = await lives(9_000);
    expect((after - before) / 9_000).toBeLessThan(200);
    expect(timers()).toBeLessThanOrEqual(timersBefore);
    expect(await stream.group("g").get()).toMatchObject({ consumers: 0 });
  });
});

function timers(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
}

describe("signals", () => {
  const worker = startWorker();
  const index = JSON.stringify(new URL("../../client/index.ts", import.meta.url).href);

  /** A service of its own process, which says when a handler runs, and how it has stopped. */
  function serve(name: string, handler: string, graceMs: number) {
    const source = `
      import { Consumer, stopOnSignals, WeirClient } from ${index};
      const weir = new WeirClient({ url: ${JSON.stringify(worker.url().href)}, token: ${JSON.stringify(ROOT_TOKEN)} });
      const handler = ${handler};
      const consumer = new Consumer(weir, { stream: ${JSON.stringify(name)}, group: "g", handler });
      consumer.on("batch", () => console.error("working"));
      consumer.start();
      console.log(JSON.stringify(await stopOnSignals(consumer, { graceMs: ${graceMs} })));
    `;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", source], { stdio: "pipe" });
    const output = text(child.stdout);
    const working = new Promise<void>((resolve) => {
      child.stderr.on("data", (chunk) => String(chunk).includes("working") && resolve());
    });
    const ended = new Promise<number | null>((resolve) => void child.on("exit", resolve));
    return { child, output, working, ended };
  }

  test("SIGTERM stops a service, which finishes what it does and ends by itself", async () => {
    const place = await filled(worker, 3);
    const service = serve(place.name, "() => new Promise((done) => setTimeout(done, 300))", 20_000);
    await service.working;
    service.child.kill("SIGTERM");
    expect(await service.ended).toBe(0);
    expect(JSON.parse(await service.output)).toEqual([{ unsettled: 0 }]);
    expect(await place.group.get()).toMatchObject({ lag: 0, pending: 0, delayed: 0, consumers: 0 });
  });

  test("a second signal ends the grace: what a handler does not finish is given back", async () => {
    const place = await filled(worker, 1);
    const service = serve(place.name, "() => new Promise(() => undefined)", 600_000);
    await service.working;
    service.child.kill("SIGTERM");
    await sleep(50);
    service.child.kill("SIGINT");
    expect(await service.ended).toBe(0);
    expect(JSON.parse(await service.output)).toEqual([{ unsettled: 0 }]);
    const [again] = (await place.group.consume({ consumer: "next" })).messages;
    expect(again).toMatchObject({ deliveries: 1 });
  });

  test("several consumers stop together, and no listener stays", async () => {
    const place = await filled(worker, 1);
    const before = process.listeners("SIGTERM");
    const options = { stream: place.name, group: "g", handler: () => undefined };
    const all = [new Consumer(place.weir, options).start(), new Consumer(place.weir, options).start()];
    const stopped = stopOnSignals(all);
    await eventually("it is handled", () => all.some(({ counters }) => counters.received > 0));
    // Others listen here, too, and would end the process.
    const added = process.listeners("SIGTERM").filter((listener) => !before.includes(listener));
    for (const listener of added) listener("SIGTERM");
    expect(added).toHaveLength(1);
    expect(await stopped).toEqual([{ unsettled: 0 }, { unsettled: 0 }]);
    expect(process.listeners("SIGTERM")).toEqual(before);
  });
});
