import { afterAll, beforeAll } from "vitest";
import { createApp } from "../../functions/app.ts";
import type { ApiDocument } from "../../functions/openapi.ts";
import { reap } from "../../functions/reap.ts";
import { parseConfig } from "../../shared/config.ts";
import type { Connection } from "../../shared/redis/connection.ts";
import { TRANSPORTS, uniquePrefix } from "./redis.ts";
import { type Answer, ROOT_TOKEN } from "./worker.ts";

export interface AppUnderTest {
  /** What its Redis keys start with. */
  readonly prefix: string;
  /** The document that it answers. */
  document(): Promise<ApiDocument>;
  /** Sends a request with the root token; a body that is no text goes as JSON, and a header that is "" is left out. */
  call(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answer>;
}

/** The app in this process, so that the time that it takes of its event loop can be measured. On the tests' Redis. */
export function startApp(vars: Readonly<Record<string, string>> = {}): AppUnderTest {
  const prefix = uniquePrefix();
  let connection: Connection | undefined;
  beforeAll(() => {
    connection = TRANSPORTS.tcp();
  });
  afterAll(() => connection?.close());
  return appOn(
    () => {
      if (connection === undefined) throw new Error("the app is not there yet");
      return connection;
    },
    { KEY_PREFIX: prefix, ...vars },
  );
}

/** The app in this process, on a connection to any Redis. */
export function appOn(connection: () => Connection, vars: Readonly<Record<string, string>> = {}): AppUnderTest {
  const config = parseConfig({ ROOT_TOKEN, REDIS_URL: "redis://unused", REQUEST_LOG: "off", ...vars });
  const app = createApp({
    begin: () => ({ config, connection: connection(), end: async () => undefined }),
    runReaper: (_, redis, nowMs) => reap(config, redis, { nowMs, everyStream: true }),
  });
  return {
    prefix: config.keyPrefix,
    async document() {
      const document: ApiDocument = JSON.parse(await (await app.request("/openapi.json")).text());
      return document;
    },
    async call(method, path, body, headers = {}) {
      const text = typeof body === "string" ? body : JSON.stringify(body);
      const type = body === undefined ? {} : { "content-type": "application/json", "content-length": lengthOf(text) };
      const all = { authorization: `Bearer ${ROOT_TOKEN}`, ...type, ...headers };
      const response = await app.request(path, {
        method,
        headers: Object.entries(all).filter(([, value]) => value !== ""),
        ...(body === undefined ? {} : { body: text }),
      });
      const answer = await response.text();
      const isJson = /json/.test(response.headers.get("content-type") ?? "");
      const json = isJson ? JSON.parse(answer) : undefined;
      return { status: response.status, headers: response.headers, text: answer, json };
    },
  };
}

/** As a server has it, which holds its clients to it. */
function lengthOf(text: string): string {
  return String(Buffer.byteLength(text));
}
