import { createApp } from "../../functions/app.ts";
import { reap } from "../../functions/reap.ts";
import { parseConfig } from "../../shared/config.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import type { Answer } from "./worker.ts";

const ENV = {
  ROOT_TOKEN: "root-token-of-the-tests",
  TOKEN_SECRET: "a-secret-of-the-tests-with-32-characters",
  REDIS_URL: "redis://127.0.0.1:1",
  REQUEST_LOG: "off",
};

export type Call = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<Pick<Answer, "status" | "headers" | "text" | "json">>;

/** The app in this process, over any connection: what Weir makes of a Redis that no Worker has to be started for. */
export function appOver(connection: Connection, keyPrefix = "weir:"): Call {
  const config = parseConfig({ ...ENV, KEY_PREFIX: keyPrefix });
  const app = createApp({
    begin: () => ({ config, connection, end: async () => undefined }),
    runReaper: (_, redis, nowMs) => reap(config, redis, { nowMs, everyStream: true }),
  });
  return async (method, path, body, headers = {}) => {
    const response = await app.request(path, {
      method,
      headers: { authorization: `Bearer ${ENV.ROOT_TOKEN}`, "content-type": "application/json", ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
  };
}
