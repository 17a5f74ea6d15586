import * as z from "zod";
import type { Page } from "../docs/html.ts";
import { makePage } from "../docs/page.ts";
import { noBody, nothing, type Route, route } from "../http/endpoint.ts";
import type { ApiDocument } from "../openapi.ts";

/**
 * The API document: for programs at `/openapi.json`, for people at `/docs`. Both are made when they are asked for first.
 * @param document of all routes, these included
 */
export function referenceRoutes(document: () => ApiDocument): readonly Route[] {
  let page: Promise<Page> | undefined;
  let text: string | undefined;
  return [
    route(
      { method: "get", path: "/docs", isPublic: "static" },
      () => ({
        operationId: "getReference",
        tag: "Reference",
        summary: "This reference: an HTML page made from `/openapi.json`",
        params: nothing,
        query: nothing,
        body: noBody,
        answers: { 200: { description: "The page", mediaType: "text/html" } },
        errors: [],
      }),
      async ({ c }) => {
        page ??= makePage(document());
        const { text, headers } = await page;
        return c.body(text, 200, headers);
      },
    ),
    route(
      { method: "get", path: "/openapi.json", isPublic: "static" },
      () => ({
        operationId: "getApiDocument",
        tag: "Reference",
        summary: "This reference as an OpenAPI 3.1 document",
        params: nothing,
        query: nothing,
        body: noBody,
        answers: { 200: { description: "The document", schema: z.looseObject({}) } },
        errors: [],
      }),
      ({ c }) => {
        text ??= JSON.stringify(document());
        return c.body(text, 200, { "content-type": "application/json" });
      },
    ),
  ];
}
