import { afterAll, expect, test } from "vitest";
import { startReceiver } from "../support/receiver.ts";
import { startWorker } from "../support/worker.ts";

const receiver = await startReceiver();
afterAll(() => receiver.close());
const worker = startWorker({
  vars: { ALERT_WEBHOOK_URL: receiver.webhook.url, ALERT_WEBHOOK_SECRET: receiver.webhook.secret },
});

const group = "/v1/streams/orders/groups/mail";
const NONE = { lag: null, pending: null, oldestPendingMs: null, deadLetters: null };

test("thresholds are settings: absent is unchanged, null is back to none, null for all of them clears all", async () => {
  await worker.call("PUT", "/v1/streams/orders");
  const put = async (alerts: unknown) => (await worker.call("PUT", group, { alerts })).json.config.alerts;
  expect((await worker.call("PUT", group, { start: "earliest" })).json.config.alerts).toEqual(NONE);
  expect(await put({ lag: 0, pending: 5, oldestPendingMs: 60_000 })).toEqual({
    ...NONE,
    lag: 0,
    pending: 5,
    oldestPendingMs: 60_000,
  });
  expect(await put({ lag: 7, pending: null, deadLetters: 1 })).toEqual({
    lag: 7,
    pending: null,
    oldestPendingMs: 60_000,
    deadLetters: 1,
  });
  expect((await worker.call("PUT", group, { ackWaitMs: 5_000 })).json.config.alerts.lag).toBe(7);
  expect(await put(null)).toEqual(NONE);
  await put({ lag: 3 });
  await worker.call("DELETE", group);
  expect((await worker.call("PUT", group, { start: "earliest" })).json.config.alerts).toEqual(NONE);
});

test.each([{ lag: -1 }, { lag: 1.5 }, { lag: "1" }, { backlog: 1 }, 5, []])("%j is refused", async (alerts) => {
  const { status, json } = await worker.call("PUT", group, { alerts });
  expect({ status, code: json.code }).toEqual({ status: 400, code: "invalid-request" });
  expect(json.errors[0].path).toMatch(/^alerts/);
});

test("the cron posts signed messages from workerd, and the list shows what fires", async () => {
  await worker.call("PUT", group, { alerts: { lag: 0 } });
  await worker.call("POST", "/v1/streams/orders/messages", { messages: [{ data: 1 }] });
  expect(await worker.fireCron()).toBe("ok");
  const about = { stream: "orders", group: "mail", metric: "lag", threshold: 0 };
  expect(receiver.told).toMatchObject([{ type: "alert.firing", data: { ...about, value: 1 } }]);
  const listed = await worker.call("GET", "/v1/alerts");
  expect(listed).toMatchObject({ status: 200, json: { alerts: [{ ...about, value: 1, notified: true }] } });
  await worker.call("POST", `${group}/consume`, { consumer: "a" });
  await worker.call("POST", "/v1/reaper/run");
  expect(receiver.told[1]).toMatchObject({ type: "alert.recovered", data: { ...about, value: 0 } });
  expect((await worker.call("GET", "/v1/alerts")).json).toEqual({ alerts: [] });
});
