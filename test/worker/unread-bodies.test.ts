import { expect, onTestFinished, test } from "vitest";
import { HttpClient } from "../fuzz/http.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

const worker = startWorker();

test("a body of unstated length that grows above its limit is refused with an answer, each time", async () => {
  const client = new HttpClient(worker.url());
  onTestFinished(() => client.close());
  const headers = [
    ["authorization", `Bearer ${ROOT_TOKEN}`],
    ["content-type", "application/json"],
  ] as const;
  const body = Buffer.alloc(4_000_000, " ");
  for (let i = 0; i < 20; i++) {
    const answer = await client.send(
      { method: "PUT", target: "/v1/streams/orders", headers, body, framing: "chunked" },
      10_000,
    );
    expect(answer?.status).toBe(413);
  }
});
