import { accepts } from "hono/accepts";
import * as z from "zod";
import { LINKS, makeStartPage } from "../docs/start-page.ts";
import { noBody, nothing, type Route, route } from "../http/endpoint.ts";
import { once } from "../http/once.ts";

const startSchema = once(() =>
  z.object({
    name: z.literal("Weir"),
    links: z.object({
      console: z.string(),
      reference: z.string(),
      openapi: z.string(),
      ready: z.string(),
    } satisfies Record<keyof typeof LINKS, z.ZodType>),
  }),
);

const getStartRoute = route(
  { method: "get", path: "/", isPublic: "static" },
  () => ({
    operationId: "getStart",
    tag: "Start",
    summary: "Links to the reference, the console and the documentation",
    description: "A page for people, or JSON where the `Accept` header asks for it.",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: { 200: { description: "The links", schema: startSchema(), orMediaTypes: { "text/html": z.string() } } },
    errors: [],
  }),
  async ({ c }) => {
    const supports = ["text/html", "application/json"];
    const wanted = accepts(c, { header: "Accept", supports, default: "text/html" });
    if (wanted === "application/json") return c.json({ name: "Weir", links: LINKS }, 200, { vary: "Accept" });
    const { text, headers } = await makeStartPage();
    return c.body(text, 200, { ...headers, vary: "Accept" });
  },
);

export const startRoutes: readonly Route[] = [getStartRoute];
