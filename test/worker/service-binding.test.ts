import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestHarness } from "wrangler";
import { uniquePrefix } from "../support/redis.ts";
import { ROOT_TOKEN, workerVars } from "../support/worker.ts";

const vars = { ...workerVars("rest"), ROOT_TOKEN, KEY_PREFIX: uniquePrefix() };
const harness = createTestHarness({
  workers: [
    { configPath: "test/worker/fixtures/shop.toml", vars: { WEIR_TOKEN: ROOT_TOKEN } },
    { configPath: "wrangler.toml", vars },
  ],
});

beforeAll(() => harness.listen());
afterAll(() => harness.close());

test("another Worker produces through a service binding", async () => {
  const headers = { authorization: `Bearer ${ROOT_TOKEN}` };
  const weir = harness.getWorker("weir");
  expect((await weir.fetch("http://weir/v1/streams/orders", { method: "PUT", headers })).status).toBe(201);
  const produced = await harness.getWorker("shop").fetch("http://shop/", { method: "POST", body: '{"total":12.50}' });
  expect(produced.status).toBe(201);
  const read = await weir.fetch("http://weir/v1/streams/orders/messages", { headers });
  expect(await read.json()).toMatchObject({ messages: [{ type: "order.paid", data: { total: 12.5 } }] });
});
