import { afterAll, beforeAll, inject } from "vitest";
import { createTestHarness } from "wrangler";
import { uniquePrefix } from "./redis.ts";

export const ROOT_TOKEN = "root-token-of-the-tests";

/** An answer, with its JSON if it has any. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape; expect() checks them
  readonly json: any;
}

export interface WorkerUnderTest {
  /** What its Redis keys start with. */
  readonly prefix: string;
  /** Sends a request with the root token; a body that is no string goes as JSON. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Fires the cron trigger. */
  fireCron(): Promise<string>;
  /** The URL of its own server, for requests that fetch would mend. */
  url(): URL;
  /** What it has logged so far. */
  logs(): string[];
}

/** The settings that make the Worker speak to the tests' Redis. */
export function workerVars(transport: "rest" | "tcp"): Record<string, string> {
  if (transport === "tcp") return { REDIS_URL: inject("redisUrl") };
  const { url, token } = inject("upstash");
  return { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token };
}

/** The real Worker in workerd, for the tests of the file or `describe` that calls this. */
export function startWorker(
  options: { transport?: "rest" | "tcp"; vars?: Record<string, string>; configPath?: string } = {},
): WorkerUnderTest {
  const prefix = uniquePrefix();
  const { transport = "rest", vars, configPath = "wrangler.toml" } = options;
  let harness: ReturnType<typeof createTestHarness> | undefined;
  let url: URL | undefined;
  beforeAll(async () => {
    harness = createTestHarness({
      workers: [
        {
          configPath,
          vars: { ...workerVars(transport), ROOT_TOKEN, KEY_PREFIX: prefix, ...vars },
        },
      ],
    });
    url = (await harness.listen()).url;
  });
  afterAll(() => harness?.close());

  const running = () => {
    if (harness === undefined || url === undefined) throw new Error("the Worker is not running yet");
    return { harness, url };
  };
  return {
    prefix,
    url: () => running().url,
    logs: () =>
      running()
        .harness.getLogs()
        .map(({ message }) => message),
    async fireCron() {
      const { outcome } = await running().harness.getWorker().scheduled({ cron: "* * * * *" });
      return outcome;
    },
    async call(method, path, body, headers = {}) {
      const isText = typeof body === "string" || body instanceof Uint8Array;
      const response = await running().harness.fetch(path, {
        method,
        headers: {
          authorization: `Bearer ${ROOT_TOKEN}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: isText ? body : JSON.stringify(body) }),
      });
      const text = await response.text();
      const isJson = /json/.test(response.headers.get("content-type") ?? "");
      return {
        status: response.status,
        headers: new Headers([...response.headers]),
        text,
        json: isJson ? JSON.parse(text) : undefined,
      };
    },
  };
}
