import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestHarness } from "wrangler";
import { consumeOnce } from "../../client/index.ts";
import { clientOf, network } from "../support/client.ts";
import { uniquePrefix } from "../support/redis.ts";
import { ROOT_TOKEN, workerVars } from "../support/worker.ts";

/** The Worker of docs/consuming.md, which consumes when its cron fires. */
const consumer = { configPath: "test/client/fixtures/cron.toml" };
const vars = { ...workerVars("rest"), ROOT_TOKEN, KEY_PREFIX: uniquePrefix() };
const harness = createTestHarness({
  workers: [
    { configPath: "wrangler.toml", vars },
    { ...consumer, vars: { WEIR_TOKEN: ROOT_TOKEN } },
  ],
});
let url = new URL("http://not-yet");

beforeAll(async () => {
  url = (await harness.listen()).url;
});
afterAll(() => harness.close());

const fire = async () => (await harness.getWorker("mailer").scheduled({ cron: "* * * * *" })).outcome;
const weir = () => clientOf({ url: () => url });
const logs = () => harness.getLogs().map(({ message }) => message);

test("a Worker that its cron wakes drains a group through a service binding, and leaves nothing behind", async () => {
  const stream = weir().stream("orders");
  await stream.put();
  const group = stream.group("mail");
  await group.put();
  const ids = await stream.produce(Array.from({ length: 250 }, (_, n) => ({ type: "order.paid", data: { n } })));

  expect(await fire()).toBe("ok");
  expect(await group.get()).toMatchObject({ lag: 0, pending: 0, delayed: 0, consumers: 0 });
  const mails = logs().filter((line) => line.startsWith("mail for "));
  expect(mails.sort()).toEqual(ids.map((id, n) => `mail for ${id}: {"n":${n}}`).sort());
  expect(logs()).toContainEqual("250 done, none left");

  expect(await fire()).toBe("ok");
  expect(logs()).toContainEqual("0 done, none left");
});

test("a run that got no answer but errors fails: nobody takes it for one that found nothing", async () => {
  const options = { stream: "never-made", group: "mail", handler: () => undefined, budgetMs: 400 };
  await expect(consumeOnce(weir(), options)).rejects.toMatchObject({ code: "unknown-stream" });
});

test("a run keeps to maxPolls, and settles what it has: what is left waits for the next one, uncharged", async () => {
  const stream = weir().stream("bounded");
  await stream.put();
  const group = stream.group("mail");
  await group.put();
  await stream.produce(Array.from({ length: 250 }, (_, n) => ({ data: n })));
  const options = { stream: "bounded", group: "mail", handler: () => undefined };
  const run = await consumeOnce(weir(), { ...options, concurrency: 20, maxPolls: 3 });
  expect(run).toMatchObject({ polls: 3, drained: false, unsettled: 0 });
  expect(await group.get()).toMatchObject({ pending: 0, consumers: 0 });
  const rest = await consumeOnce(weir(), options);
  expect(rest).toMatchObject({ drained: true, redelivered: 0, unsettled: 0 });
  expect(run.acked + rest.acked).toBe(250);

  const failing = network(() => "no-connection");
  const away = clientOf({ url: () => url }, { fetch: failing.fetch, retry: 0 });
  await expect(consumeOnce(away, { ...options, maxPolls: 2, budgetMs: 2_000 })).rejects.toThrow("no answer");
  expect(failing.sent.filter(({ path }) => path.endsWith("/consume")).length).toBe(2);
});
