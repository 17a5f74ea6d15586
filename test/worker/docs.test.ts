import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { makePage } from "../../functions/docs/page.ts";
import type { ApiDocument } from "../../functions/openapi.ts";
import { type Answer, ROOT_TOKEN, startWorker } from "../support/worker.ts";

/** Of sources by whatever number a command has. */
const secrets = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`WEBHOOK_SECRET_DOCS_${i}`, "a secret"]));
const worker = startWorker({ vars: { TOKEN_SECRET: "a secret of the tests, long enough", ...secrets } });

let page: Answer;
let api: ApiDocument;

beforeAll(async () => {
  page = await worker.call("GET", "/docs", undefined, { authorization: "" });
  api = (await worker.call("GET", "/openapi.json")).json;
});

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };

/** What a reader sees of a piece of HTML, with a bar between the cells of a row and where a cell has a new line. */
function textOf(html: string): string {
  const barred = html.replaceAll(/(?<=<\/th>)(?=<t)|<br>/g, " | ");
  return barred.replaceAll(/<[^>]*>/g, "").replaceAll(/&([^;]+);/g, (_, name) => ENTITIES[name] ?? `unknown ${name}`);
}

/** Every operation with the part of the page that is about it. */
function routes() {
  return Object.entries(api.paths ?? {}).flatMap(([path, item]) =>
    Object.entries(item).map(([key, operation]) => {
      const method = key.toUpperCase();
      const articles = page.text.match(/<article [\s\S]*?<\/article>/g) ?? [];
      const found = articles.filter((article) => textOf(article).trimStart().startsWith(`${method} ${path}\n`));
      return { method, path, operation, html: found.join(), text: textOf(found.join()), count: found.length };
    }),
  );
}

/** The names of all members that a schema has, at any depth. */
function membersIn(schema: unknown): string[] {
  if (typeof schema !== "object" || schema === null) return [];
  if ("$ref" in schema) return membersIn(api.components?.schemas?.[String(schema.$ref).split("/").at(-1) ?? ""]);
  return Object.entries(schema).flatMap(([key, value]) => {
    if (key !== "properties") return membersIn(value);
    return Object.entries(value).flatMap(([name, member]) => [name, ...membersIn(member)]);
  });
}

/** The commands of a part of the page. */
function commandsIn(html: string): string[] {
  return [...html.matchAll(/<pre><code>([\s\S]*?)<\/code><\/pre>/g)].map(([, command = ""]) => textOf(command));
}

describe("the reference at /docs", () => {
  test("is an HTML page that a browser may keep for a while", () => {
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(page.headers.get("cache-control")).toMatch(/^public, max-age=\d+$/);
    expect(page.text).toMatch(/^<!doctype html>\n<html lang="en">/);
    expect(page.text).toContain('<meta name="viewport" content="width=device-width, initial-scale=1">');
    expect(page.text).toContain("prefers-color-scheme");
  });

  test("has every route of the OpenAPI document once, with its words, and no other", () => {
    expect(routes().length).toBeGreaterThan(30);
    for (const { method, path, operation, text, count } of routes()) {
      expect(count, `${method} ${path}`).toBe(1);
      expect(text).toContain(operation.summary.replaceAll("`", ""));
      expect(text).toContain(operation.description.replaceAll("`", ""));
      expect(text).toContain(operation.security.length === 0 ? "no token needed" : "Needs the root token");
      for (const scope of operation["x-weir-scopes"] ?? []) expect(text).toContain(scope);
    }
    expect(page.text.match(/<article /g)).toHaveLength(routes().length);
    for (const { operation } of routes()) expect(page.text).toContain(`<h2>${operation.tags[0]}</h2>`);
  });

  test("has each parameter, each member of bodies and answers, each status and each error code where it belongs", () => {
    for (const { method, path, operation, text } of routes()) {
      const where = `${method} ${path}`;
      for (const { name } of operation.parameters ?? []) expect(text, where).toMatch(new RegExp(`^${name}\\b`, "m"));
      for (const [type, { schema }] of Object.entries<{ schema: unknown }>(operation.requestBody?.content ?? {})) {
        expect(text, where).toContain(`Body, ${type}`);
        for (const name of membersIn(schema)) expect(text, where).toMatch(new RegExp(`(^|\\.)${name}\\b`, "m"));
      }
      for (const [status, answer] of Object.entries<{ description: string; content?: unknown }>(operation.responses)) {
        expect(text, where).toContain(status);
        for (const word of answer.description.split(", ")) expect(text, where).toContain(word);
        if (Number(status) >= 400) continue;
        for (const name of membersIn(answer.content)) expect(text, where).toMatch(new RegExp(`(^|\\.)${name}\\b`, "m"));
      }
    }
  });

  test("tells of a nested member its type, its limits, whether it is required, and its default", () => {
    const consume = routes().find(({ path }) => path.endsWith("/consume"))?.text;
    expect(consume).toContain("consumer required | string | 1 to 128 of A-Z a-z 0-9 . _ : -, but not . or ..\n");
    expect(consume).toContain("batchSize | integer, 1 to 1,000, default 10\n");
    expect(consume).toContain("retries[].lease required | string, up to 1,000 characters\n");
    expect(consume).toContain("retries[].delayMs | integer, 0 to 43,200,000 | Absent: by the group's backoff\n");
    expect(consume).toContain("messages[].deliveries | integer | How often it was handed out, this time included\n");
    expect(consume).toContain("gap may be absent | Gap object | What trimming took from this group");
  });

  test("has one anchor for each link, and loads nothing from anywhere", () => {
    const ids = [...page.text.matchAll(/ id="([^"]*)"/g)].map(([, id]) => `#${id}`);
    expect(new Set(ids).size).toBe(ids.length);
    const links = new Set([...page.text.matchAll(/ href="([^"]*)"/g)].map(([, link]) => link));
    expect([...links].filter((link) => !ids.includes(link ?? ""))).toEqual(["/openapi.json"]);
    expect(page.text).not.toMatch(/<(script|link|img|iframe|object|embed|form|base)\b| src=| on\w+=|@import|url\(/i);
  });

  test("may by its Content-Security-Policy use its own style, and nothing else", () => {
    const styles = [...page.text.matchAll(/<style>([\s\S]*?)<\/style>/g)].map(([, style = ""]) => style);
    expect(styles).toHaveLength(1);
    const digest = createHash("sha256")
      .update(styles[0] ?? "")
      .digest("base64");
    const policy = page.headers.get("content-security-policy");
    expect(policy).toContain(`default-src 'none'; style-src 'sha256-${digest}'`);
    expect(policy).not.toContain("unsafe");
    expect(page.text).not.toContain(" style=");
  });

  test("is well-formed", () => expectBalanced(page.text));

  test("takes GET and HEAD only", async () => {
    const head = await worker.call("HEAD", "/docs");
    expect([head.status, head.text]).toEqual([200, ""]);
    for (const method of ["POST", "PUT", "DELETE"]) {
      const answer = await worker.call(method, "/docs");
      expect([answer.status, answer.json.code]).toEqual([405, "method-not-allowed"]);
      expect(answer.headers.get("allow")).toBe("GET");
    }
  });
});

/** Every element is closed where it must be, and no text holds what could open one. */
function expectBalanced(html: string): void {
  const open: string[] = [];
  const pieces = html.replace(/<style>[\s\S]*?<\/style>/, "").replace("<!doctype html>", "");
  for (const [, close, name = ""] of pieces.matchAll(/<(\/?)([a-z][a-z0-9]*)( [a-z-]+="[^"<>]*")*>/g)) {
    if (close === "/") expect(open.pop()).toBe(name);
    else if (!["meta", "br", "wbr"].includes(name)) open.push(name);
  }
  expect(open).toEqual([]);
  expect(pieces.replaceAll(/<\/?[a-z][a-z0-9]*( [a-z-]+="[^"<>]*")*>/g, "")).not.toMatch(/[<>"']/);
}

describe("the curl lines", () => {
  /** A stream with a scheduled message and a group that has a pending one and a dead letter, and what to put in place of each name. */
  async function prepare(stream: string, isForDeadLetter: boolean): Promise<Record<string, string>> {
    const group = `/v1/streams/${stream}/groups/mail`;
    await worker.call("PUT", `/v1/streams/${stream}`);
    await worker.call("PUT", group, { start: "earliest" });
    await worker.call("POST", `/v1/streams/${stream}/messages`, { messages: [{ data: 1 }, { data: 2 }] });
    const first = await worker.call("POST", `${group}/consume`, { consumer: "a", batchSize: 1 });
    const rejects = [{ lease: first.json.messages[0].lease }];
    const second = await worker.call("POST", `${group}/consume`, { consumer: "a", batchSize: 1, rejects });
    const [{ id, lease }] = second.json.messages;
    const letters = await worker.call("GET", `${group}/dead-letters`);
    const [{ id: letter }] = letters.json.deadLetters;
    const later = { messages: [{ data: 3, delayMs: 3_600_000 }] };
    const [scheduledId] = (await worker.call("POST", `/v1/streams/${stream}/messages`, later)).json.ids;
    const ids = isForDeadLetter ? letter : id;
    // Paused, it takes what nobody signed.
    const source = { stream, provider: "github", paused: true };
    await worker.call("PUT", `/v1/webhooks/${stream}`, source);
    const names = {
      source: stream,
      stream,
      group: "mail",
      consumer: "a",
      type: "order.paid",
      subject: "shop",
      scope: "metrics",
    };
    return { ...names, id: ids, ids, acks: lease, scheduledId };
  }

  async function run(command: string): Promise<string> {
    const env = { ...process.env, WEIR_URL: worker.url().origin, WEIR_TOKEN: ROOT_TOKEN };
    const quiet = `${command} -s -o /dev/null -w '%{http_code}'`;
    return (await promisify(execFile)("bash", ["-c", quiet], { env })).stdout;
  }

  test("are there for every route and media type, with the route's method and path", () => {
    for (const { method, path, operation, html } of routes()) {
      const commands = commandsIn(html);
      const types = Object.keys(operation.requestBody?.content ?? {});
      expect(commands, `${method} ${path}`).toHaveLength(Math.max(1, types.length));
      for (const [i, command] of commands.entries()) {
        expect(command).toContain(`curl ${method === "GET" ? "" : `-X ${method} `}"$WEIR_URL${path}"`);
        expect(command.includes("authorization: Bearer")).toBe(operation.security.length > 0);
        if (types[i] === undefined) continue;
        expect(command).toContain(`-H "content-type: ${types[i] === "*/*" ? "text/plain" : types[i]}"`);
      }
    }
  });

  test("succeed, each of them, once the names in braces are filled in", async () => {
    // By GET a provider asks in its own way.
    const asked = routes().filter(({ operation }) => operation.operationId !== "greetWebhook");
    const all = asked.flatMap(({ path, html }) => commandsIn(html).map((command) => ({ path, command })));
    const waiting = all.entries();
    const work = async () => {
      for (const [i, { path, command }] of waiting) {
        const values = await prepare(`docs-${i}`, path.includes("dead-letters"));
        const filled = command.replaceAll(/\{(\w+)\}/g, (_, name) => values[name] ?? `no value for ${name}`);
        expect(await run(filled), filled).toMatch(/^20[014]$/);
      }
    };
    await Promise.all([work(), work(), work()]);
  });
});

describe("a Worker without settings", () => {
  const bare = startWorker({ vars: { ROOT_TOKEN: "", UPSTASH_REDIS_REST_URL: "", UPSTASH_REDIS_REST_TOKEN: "" } });

  test("serves the same page: it needs no token and no Redis", async () => {
    expect((await bare.call("GET", "/readyz")).json.code).toBe("misconfigured");
    const answer = await bare.call("GET", "/docs", undefined, { authorization: "" });
    expect(answer.status).toBe(200);
    expect(answer.text).toBe(page.text);
    expect(answer.headers.has("server-timing")).toBe(false);
    expect(page.headers.has("server-timing")).toBe(false);
  });
});

describe("a page of any document", () => {
  const hostile = `<script>alert("it's")</script>&amp; <b`;

  function documentOf(schema: NonNullable<NonNullable<ApiDocument["components"]>["schemas"]>[string]): ApiDocument {
    const operation = {
      operationId: hostile,
      security: [],
      tags: [hostile],
      summary: hostile,
      description: `\`${hostile}\` ${hostile}`,
      parameters: [{ name: hostile, in: "query" as const, description: hostile, schema: { type: "string" as const } }],
      requestBody: { content: { [hostile]: { schema } } },
      responses: { 200: { description: hostile, content: { [hostile]: { schema } } }, 400: { description: hostile } },
    };
    const Problem = { type: "object" as const, properties: {} };
    return {
      openapi: "3.1.0",
      info: { title: hostile, version: hostile, description: hostile },
      paths: { [`/${hostile}`]: { post: operation } },
      components: { schemas: { Problem, Node: schema } },
    };
  }

  test("escapes every text of it", async () => {
    const text = { type: "string" as const, description: hostile, pattern: hostile, default: hostile, enum: [hostile] };
    const document = documentOf({ type: "object", required: [hostile], properties: { [hostile]: text } });
    const { text: html } = await makePage(document);
    expectBalanced(html);
    expect(html).not.toContain("<script");
    expect(textOf(html).split(hostile).length).toBeGreaterThan(15);
  });

  test("ends where a schema holds itself", async () => {
    const node = { $ref: "#/components/schemas/Node" };
    const { text: html } = await makePage(
      documentOf({
        type: "object",
        required: ["next", "others"],
        properties: {
          next: { allOf: [node, { description: "The one after" }] },
          others: { type: "array", items: node },
          named: { type: "object", additionalProperties: node },
          either: { anyOf: [node, { type: "null" }] },
        },
      }),
    );
    expectBalanced(html);
    expect(textOf(html)).toContain("next required | Node object | The one after");
    expect(textOf(html)).toContain("others required | list of Node object");
    expect(textOf(html)).toContain("named | object of Node object");
    expect(textOf(html)).toContain("either | Node object or null");
  });

  test("quotes what the shell would take for its own", async () => {
    const { text: html } = await makePage(documentOf({ type: "string", example: "it's $HOME" }));
    expect(commandsIn(html).join()).toContain(`-d '"it'\\''s $HOME"'`);
  });
});
