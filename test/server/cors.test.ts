// Pages of other origins: what a browser asks for, and what it is let read.
import { describe, expect, test } from "vitest";
import { expectProblem } from "../support/answers.ts";
import { type AppUnderTest, startApp } from "../support/app.ts";

const PAGE = "https://app.example.com";
const OTHER = "https://evil.example.com";
const MESSAGES = "/v1/streams/orders/messages";

function preflight(app: AppUnderTest, origin: string, path = MESSAGES, headers = "authorization, content-type") {
  return app.call("OPTIONS", path, undefined, {
    // A browser sends none with it.
    authorization: "",
    origin,
    "access-control-request-method": "POST",
    "access-control-request-headers": headers,
  });
}

function corsHeaders(headers: Headers): string[] {
  return [...headers.keys()].filter((name) => name.startsWith("access-control-"));
}

describe("without CORS_ORIGINS", () => {
  const app = startApp();

  test("no page is let in, and no answer says a word of it", async () => {
    const refused = await preflight(app, PAGE);
    expectProblem(refused, "unauthenticated");
    const read = await app.call("GET", "/v1/streams", undefined, { origin: PAGE });
    for (const { headers } of [refused, read]) expect([corsHeaders(headers), headers.get("vary")]).toEqual([[], null]);
  });
});

describe("with origins named", () => {
  const app = startApp({ CORS_ORIGINS: `http://localhost:3000, ${PAGE}` });

  test("a page of one of them is told, without a token, what it may send", async () => {
    for (const path of [MESSAGES, "/v1/streams", "/metrics", "/readyz"]) {
      const { status, text, headers } = await preflight(app, PAGE, path);
      expect([status, text]).toEqual([204, ""]);
      expect(headers.get("access-control-allow-origin")).toBe(PAGE);
      expect(headers.get("access-control-allow-methods")).toBe("GET, HEAD, PUT, POST, DELETE");
      expect(headers.get("access-control-allow-headers")).toBe(
        "authorization, content-type, idempotency-key, x-request-id",
      );
      expect(headers.get("access-control-max-age")).toBe("7200");
      expect(headers.get("vary")?.split(", ").sort()).toEqual(["Access-Control-Request-Headers", "Origin"]);
      expect(headers.has("access-control-allow-credentials")).toBe(false);
    }
  });

  test("attributes of CloudEvents may come under any name, other headers not", async () => {
    const asked = "authorization,Ce-Id, ce-specversion,ce-own,x-own,ce-,ce-a-b,cookie";
    const { headers } = await preflight(app, PAGE, MESSAGES, asked);
    expect(headers.get("access-control-allow-headers")).toBe(
      "authorization, content-type, idempotency-key, x-request-id, ce-id, ce-specversion, ce-own",
    );
  });

  test("its answers can be read, errors too, with the headers that clients need", async () => {
    await app.call("PUT", "/v1/streams/orders", undefined, { origin: PAGE });
    const answers = [
      await app.call("POST", MESSAGES, { messages: [{}] }, { origin: PAGE, "idempotency-key": "k" }),
      await app.call("POST", MESSAGES, "{", { origin: PAGE }),
      await app.call("GET", "/v1/streams", undefined, { origin: PAGE, authorization: "" }),
      await app.call("GET", "/v1/nowhere", undefined, { origin: PAGE }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([201, 400, 401, 404]);
    for (const { headers } of answers) {
      expect(headers.get("access-control-allow-origin")).toBe(PAGE);
      expect(headers.get("vary")).toBe("Origin");
      const exposed = headers.get("access-control-expose-headers")?.toLowerCase().split(", ");
      expect(exposed).toEqual(
        expect.arrayContaining([
          "server-timing",
          "retry-after",
          "idempotency-replayed",
          "x-request-id",
          "ratelimit",
          "link",
        ]),
      );
    }
  });

  test.each([OTHER, "null", `${PAGE}.evil.example`, PAGE.toUpperCase(), `${PAGE}:8443`, "http://app.example.com"])(
    "a page of %s is not let in, nor told who is",
    async (origin) => {
      const refused = await preflight(app, origin);
      expectProblem(refused, "unauthenticated");
      const read = await app.call("GET", "/v1/streams", undefined, { origin });
      expect(read.status).toBe(200);
      for (const { headers } of [refused, read]) {
        expect(corsHeaders(headers)).toEqual([]);
        expect(headers.get("vary")).toBe("Origin");
      }
    },
  );

  test("a request without an origin is answered as always, and kept for no page", async () => {
    const { status, headers } = await app.call("GET", "/v1/streams");
    expect([status, corsHeaders(headers), headers.get("vary")]).toEqual([200, [], "Origin"]);
  });

  test("OPTIONS that asks for no method is no preflight", async () => {
    expect((await app.call("OPTIONS", MESSAGES, undefined, { origin: PAGE })).status).toBe(405);
    expect((await app.call("OPTIONS", MESSAGES, undefined, { origin: PAGE, authorization: "" })).status).toBe(401);
  });

  test("webhooks are no page's business, and the pages of Weir are nobody's", async () => {
    for (const path of ["/hooks/github", "/hooks/github/more", "/docs", "/openapi.json", "/healthz"]) {
      expect(corsHeaders((await preflight(app, PAGE, path)).headers)).toEqual([]);
      expect(corsHeaders((await app.call("GET", path, undefined, { origin: PAGE })).headers)).toEqual([]);
    }
  });
});

describe("with * as CORS_ORIGINS", () => {
  const app = startApp({ CORS_ORIGINS: "*" });

  test("any page may ask, and all get the same answer", async () => {
    for (const origin of [PAGE, OTHER, "null"]) {
      const asked = await preflight(app, origin);
      expect([asked.status, asked.headers.get("access-control-allow-origin")]).toEqual([204, "*"]);
      const { headers } = await app.call("GET", "/v1/streams", undefined, { origin });
      expect([headers.get("access-control-allow-origin"), headers.get("vary")]).toEqual(["*", null]);
    }
  });
});
