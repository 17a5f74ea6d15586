import { html, raw } from "hono/html";
import type { Answer, ApiDocument, Content, Operation, Schemas } from "../openapi.ts";
import { type Page, pageHeaders, STYLE } from "./html.ts";
import { type Html, type Member, membersOf, memberTable, prose, sampleBody } from "./schema.ts";

/** In the order in which a path's routes are shown. */
const METHODS = ["put", "post", "get", "options", "delete"] as const;

interface Route {
  readonly method: string;
  readonly path: string;
  readonly operation: Operation;
}

/** The reference: the page of an OpenAPI document. */
export async function makePage(document: ApiDocument): Promise<Page> {
  return { text: String(await wholePage(document)), headers: await pageHeaders() };
}

function wholePage(document: ApiDocument): Html {
  const { info, components } = document;
  const schemas = components?.schemas ?? {};
  const byTag = Map.groupBy(routesOf(document), ({ operation }) => operation.tags?.[0] ?? "Other");
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title}: API reference</title>
<style>${raw(STYLE)}</style>
</head>
<body>
<header>
<h1>${info.title}: API reference</h1>
<p>${prose(info.description ?? "")} Version ${info.version}; for programs: <a href="/openapi.json">/openapi.json</a>.</p>
</header>
<nav aria-label="Contents">
<ul><li><a href="#authentication">Authentication</a></li><li><a href="#errors">Errors</a></li></ul>
${[...byTag].map(([tag, routes]) => contents(tag, routes))}</nav>
<main>
${authentication}
${errors(schemas)}
${[...byTag].map(([tag, routes]) => section(schemas, tag, routes))}</main>
</body>
</html>
`;
}

function routesOf({ paths = {} }: ApiDocument): Route[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      return operation === undefined ? [] : [{ method: method.toUpperCase(), path, operation }];
    }),
  );
}

function contents(tag: string, routes: readonly Route[]): Html {
  const links = routes.map(
    (route) => html`<li><a href="#${anchor(route)}"><b>${route.method}</b> ${breakable(route.path)}</a></li>
`,
  );
  return html`<h2><a href="#${slug(tag)}">${tag}</a></h2>
<ul>
${links}</ul>
`;
}

const authentication = html`<section id="authentication">
<h2>Authentication</h2>
<p>A route that needs a bearer token takes the header <code>authorization: Bearer &lt;token&gt;</code>: the root token,
which permits everything, or an access token whose scope names the permission. A public route needs none. The curl lines below take the address and the
token from the shell (here as <code>npm start</code> has them); what stands in <code>{braces}</code> is yours to fill in.</p>
<pre><code>export WEIR_URL=http://127.0.0.1:8787 WEIR_TOKEN=weir-local</code></pre>
</section>`;

function errors(schemas: Schemas): Html {
  return html`<section id="errors">
<h2>Errors</h2>
<p>Every error is <code>application/problem+json</code> (RFC 9457). Its <code>code</code> is what a program should look
at; each route lists those that it may answer.</p>
${answerTables(schemas, { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } })}
</section>`;
}

function section(schemas: Schemas, tag: string, routes: readonly Route[]): Html {
  return html`<section id="${slug(tag)}">
<h2>${tag}</h2>
${routes.map((route) => article(schemas, route))}</section>
`;
}

function article(schemas: Schemas, route: Route): Html {
  const { method, path, operation } = route;
  const body = bodyOf(operation);
  const faults = answersOf(operation, 400);
  return html`<article id="${anchor(route)}">
<h3><a href="#${anchor(route)}"><b>${method}</b> <code>${breakable(path)}</code></a></h3>
<p><strong>${prose(operation.summary ?? "")}.</strong> ${prose(operation.description ?? "")}</p>
${parameters(schemas, operation)}
${bodyTables(schemas, body)}
${operation.requestBody?.description !== undefined && html`<p>${prose(operation.requestBody.description)}</p>`}
${curlLines(schemas, route, body).map((line) => html`<pre><code>${line}</code></pre>`)}
${successes(schemas, operation)}
${faults.length > 0 && faultTable(faults)}
</article>
`;
}

function parameters(schemas: Schemas, operation: Operation): Html[] {
  const places = Map.groupBy(operation.parameters ?? [], (parameter) => parameter.in);
  return [...places].map(([place, some]) => {
    const members = some.map(({ name, required, schema, description }): Member => {
      return { prefix: "", name, isRequired: required === true, schema, description };
    });
    const caption = place === "path" ? "In the path" : place === "query" ? "In the query" : `In the ${place}`;
    return memberTable(schemas, caption, members, (isRequired) => (isRequired && place !== "path" ? "required" : ""));
  });
}

function bodyTables(schemas: Schemas, body: Content): Html[] {
  return Object.entries(body).map(([type, { schema = {} }]) =>
    memberTable(schemas, `Body, ${type}`, membersOf(schemas, schema), (isRequired) => (isRequired ? "required" : "")),
  );
}

/** Each success; those that answer alike, as 200 and 201 do, with one table. */
function successes(schemas: Schemas, operation: Operation): Html[] {
  const alike = Map.groupBy(answersOf(operation, 200), ([, { content }]) => JSON.stringify(content));
  return [...alike.values()].map((answers) => {
    const words = answers.map(([status, { description }]) => html`<b>${status}</b> ${prose(description)}. `);
    return html`<p>${words}</p>
${answerTables(schemas, answers[0]?.[1].content ?? {})}`;
  });
}

function answerTables(schemas: Schemas, content: Content): Html[] {
  const mark = (isRequired: boolean) => (isRequired ? "" : "may be absent");
  return Object.entries(content).map(([type, { schema = {}, example }]) => {
    const members = membersOf(schemas, schema);
    return html`${members.length > 0 && memberTable(schemas, `Answer, ${type}`, members, mark)}
${example !== undefined && sample(example)}`;
  });
}

/** What Weir really answered once. */
function sample(example: unknown): Html {
  const text = typeof example === "string" ? example : JSON.stringify(example, null, 2);
  return html`<details><summary>Sample answer</summary><pre class="sample">${text}</pre></details>`;
}

function faultTable(faults: readonly (readonly [string, Answer])[]): Html {
  const rows = faults.map(([status, { description }]) => {
    const codes = description.split(", ").map((one, i) => [i > 0 && ", ", html`<code>${one}</code>`]);
    return html`<tr><th scope="row">${status}</th><td>${codes}</td></tr>
`;
  });
  return html`<table>
<caption><a href="#errors">Errors</a></caption>
<thead><tr><th scope="col">Status</th><th scope="col">Code</th></tr></thead>
<tbody>
${rows}</tbody>
</table>`;
}

/** The answers with such a status: successes (from 200) or errors (from 400). */
function answersOf({ responses }: Operation, from: 200 | 400): [string, Answer][] {
  return Object.entries(responses).filter(([status]) => Number(status) >= 400 === (from === 400));
}

function bodyOf({ requestBody }: Operation): Content {
  return requestBody?.content ?? {};
}

/** A command for each media type of the body, or one where there is none. */
function curlLines(schemas: Schemas, { method, path, operation }: Route, body: Content): string[] {
  const request = [
    `curl ${method === "GET" ? "" : `-X ${method} `}"$WEIR_URL${path}"`,
    ...(operation.security.length === 0 ? [] : [`-H "authorization: Bearer $WEIR_TOKEN"`]),
  ];
  const bodies = Object.entries(body).map(([type, { schema = {} }]) => [
    `-H "content-type: ${type === "*/*" ? "text/plain" : type}"`,
    `-d ${shellQuoted(JSON.stringify(sampleBody(schemas, schema)))}`,
  ]);
  return (bodies.length === 0 ? [[]] : bodies).map((one) => [...request, ...one].join(" \\\n  "));
}

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function anchor({ method, path }: Route): string {
  return slug(`${method} ${path}`);
}

function slug(text: string): string {
  return text
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replace(/-$/, "");
}

/** Lets a long path break before its slashes. */
function breakable(path: string): Html {
  return html`${path.split(/(?=\/)/).map((part) => html`<wbr>${part}`)}`;
}
