import { Agent, request } from "node:http";
import { expect, inject, onTestFinished, test } from "vitest";
import { startServer } from "../../functions/server/server.ts";
import { parseServerSettings } from "../../functions/server/settings.ts";

interface Got {
  readonly status: number | undefined;
  readonly isReused: boolean;
}

test("a body that is refused, whole or while it comes, leaves its connection and its client's next request alone", async () => {
  const env = { ROOT_TOKEN: "root-token", REDIS_URL: inject("redisUrl"), PORT: "0", REQUEST_LOG: "off" };
  const settings = parseServerSettings(env);
  if ("faults" in settings) throw new Error(settings.faults.join());
  const server = await startServer(env, settings);
  onTestFinished(() => server.stop());
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());

  function send(method: string, path: string, headers: Record<string, string> = {}, body?: Buffer): Promise<Got> {
    const { promise, resolve, reject } = Promise.withResolvers<Got>();
    const sent = request(`${server.url}${path}`, { method, agent, headers }, (response) => {
      response.resume().on("end", () => resolve({ status: response.statusCode, isReused: sent.reusedSocket }));
    });
    sent.on("error", reject).end(body);
    return promise;
  }

  const claim = "/v1/streams/none/groups/none/claim";
  const json = { authorization: "Bearer root-token", "content-type": "application/json" };
  const body = Buffer.alloc(500_000, " ");
  await send("GET", "/healthz");
  for (const [headers, status] of [
    [{ ...json, "transfer-encoding": "chunked" }, 413],
    [{ ...json, "content-length": "500000" }, 413],
    [{ ...json, authorization: "Bearer wrong", "transfer-encoding": "chunked" }, 401],
  ] as const) {
    expect(await send("POST", claim, headers, body)).toEqual({ status, isReused: true });
    expect(await send("GET", "/healthz")).toEqual({ status: 200, isReused: true });
  }
});
