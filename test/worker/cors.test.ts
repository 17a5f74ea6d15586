import { expect, test } from "vitest";
import { startWorker } from "../support/worker.ts";

const PAGE = "https://app.example.com";
const worker = startWorker({ vars: { CORS_ORIGINS: PAGE } });

test("a page that is permitted asks, sends and reads in workerd as on Node", async () => {
  const asking = { origin: PAGE, authorization: "", "access-control-request-method": "PUT" };
  const asked = await worker.call("OPTIONS", "/v1/streams/orders", undefined, asking);
  expect([asked.status, asked.headers.get("access-control-allow-origin")]).toEqual([204, PAGE]);
  const sent = await worker.call("PUT", "/v1/streams/orders", {}, { origin: PAGE });
  expect([sent.status, sent.headers.get("access-control-allow-origin")]).toEqual([201, PAGE]);
  const other = await worker.call("GET", "/v1/streams", undefined, { origin: "https://evil.example.com" });
  expect([other.status, other.headers.get("access-control-allow-origin")]).toEqual([200, null]);
});
