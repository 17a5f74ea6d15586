import { html, raw } from "hono/html";
import { type Page, pageHeaders, STYLE } from "./html.ts";

/** Where to go from the root of a deployment. */
export const LINKS = { console: "/console", reference: "/docs", openapi: "/openapi.json", ready: "/readyz" } as const;

/** The page at the root of a deployment: where everything is. */
export async function makeStartPage(): Promise<Page> {
  const text = await html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Weir</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<header><h1>Weir</h1>
<p>Durable event streams over HTTP: consumer groups and replay, pull and acknowledge.</p></header>
<main>
<ul>
<li><a href="${LINKS.reference}">API reference</a>, and <a href="${LINKS.openapi}">the same for programs</a> (OpenAPI 3.1)</li>
<li><a href="${LINKS.console}">Console</a>, in deployments that have one</li>
<li>Documentation: <code>docs/</code> beside the source of this deployment</li>
<li><a href="${LINKS.ready}">Is Redis reachable?</a></li>
</ul>
</main>
</body>
</html>
`;
  return { text: String(text), headers: await pageHeaders() };
}
