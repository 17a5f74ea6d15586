import { describe, expect, test } from "vitest";
import { startWorker } from "../support/worker.ts";

// Without settings: the page needs none.
const worker = startWorker({ vars: { ROOT_TOKEN: "", UPSTASH_REDIS_REST_URL: "", UPSTASH_REDIS_REST_TOKEN: "" } });

const start = (accept: string) => worker.call("GET", "/", undefined, { authorization: "", accept });

describe("the root of a deployment", () => {
  test.each(["text/html,application/xhtml+xml,*/*;q=0.8", "*/*", ""])(
    "answers a page with links to the reference and the console (Accept: %s)",
    async (accept) => {
      const page = await start(accept);
      expect(page.status).toBe(200);
      expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
      expect(page.headers.get("vary")).toBe("Accept");
      for (const link of ["/docs", "/openapi.json", "/console"]) expect(page.text).toContain(`href="${link}"`);
      expect(page.text).toContain("Documentation");
    },
  );

  test("answers the same links as JSON to a program", async () => {
    const { status, json } = await start("application/json");
    expect(status).toBe(200);
    expect(json).toEqual({
      name: "Weir",
      links: { console: "/console", reference: "/docs", openapi: "/openapi.json", ready: "/readyz" },
    });
  });

  test("links to a reference that is there, and loads nothing from anywhere", async () => {
    const { text, headers } = await start("text/html");
    for (const link of ["/docs", "/openapi.json"]) expect((await worker.call("GET", link)).status).toBe(200);
    expect(text).not.toMatch(/<(script|link|img|iframe|object|embed|form|base)\b| src=| on\w+=|@import|url\(/i);
    expect(headers.get("content-security-policy")).toMatch(/^default-src 'none'; style-src 'sha256-[^']+';/);
  });
});
