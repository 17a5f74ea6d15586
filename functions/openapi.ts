import type { OpenAPIHono } from "@hono/zod-openapi";
import type { AppEnv } from "./app.ts";

export type ApiDocument = ReturnType<OpenAPIHono<AppEnv>["getOpenAPI31Document"]>;

/** The OpenAPI document of all routes registered before it is asked for. */
export function apiDocument(app: OpenAPIHono<AppEnv>): ApiDocument {
  return app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "Weir",
      version: "1",
      description: "Durable event streams over HTTP. Times are Unix milliseconds, durations milliseconds.",
    },
  });
}

/** `/openapi.json`: the document for programs. */
export function openApiRoute(app: OpenAPIHono<AppEnv>): void {
  app.openAPIRegistry.registerComponent("securitySchemes", "token", { type: "http", scheme: "bearer" });
  let text: string | undefined;
  app.get("/openapi.json", (c) => {
    text ??= JSON.stringify(apiDocument(app));
    return c.body(text, 200, { "content-type": "application/json" });
  });
}
