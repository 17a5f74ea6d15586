import { createConfig, lintFromString } from "@redocly/openapi-core";
import { describe, expect, test } from "vitest";
import { createApp } from "../../functions/app.ts";
import { ERROR_CODES } from "../../functions/http/errors.ts";
import { parseConfig } from "../../shared/config.ts";

const app = createApp({
  begin: () => ({
    config: parseConfig({ ROOT_TOKEN: "root", REDIS_URL: "redis://127.0.0.1:1" }),
    connection: { run: () => Promise.reject(new Error("no Redis is needed for this")), close: async () => undefined },
    end: async () => undefined,
  }),
  runReaper: () => Promise.reject(new Error("no reaper is needed for this")),
});

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type JsonObject = { [name: string]: Json };

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A member that must be an object. */
function objectAt(value: unknown, ...path: string[]): JsonObject {
  let at = value;
  for (const name of path) at = isObject(at) ? at[name] : undefined;
  if (!isObject(at)) throw new Error(`the document has no object at ${path.join(".")}`);
  return at;
}

const response = await app.request("/openapi.json");
const text = await response.text();
const api: unknown = JSON.parse(text);

/** Every operation with its method and path. */
const operations = Object.entries(objectAt(api, "paths")).flatMap(([path, item]) =>
  Object.entries(objectAt(item)).map(([method, operation]) => ({ method, path, operation: objectAt(operation) })),
);

/** Every object anywhere in the document. */
function* objectsIn(value: unknown): Generator<JsonObject> {
  if (Array.isArray(value)) for (const item of value) yield* objectsIn(item);
  if (!isObject(value)) return;
  yield value;
  for (const item of Object.values(value)) yield* objectsIn(item);
}

/** The schema of an operation's JSON body; empty where it has none. */
function bodyOf(operation: JsonObject): JsonObject {
  if (!("requestBody" in operation)) return {};
  const content = objectAt(operation, "requestBody", "content");
  return "application/json" in content ? objectAt(content, "application/json", "schema") : {};
}

/** Told anew from the contract's words. */
function scopesByContract(method: string, path: string): string[] {
  const [, stream, below = ""] = /^\/v1\/streams(?:\/(\{stream\})(.*))?$/.exec(path) ?? [];
  const admin = `admin:${stream ?? "*"}`;
  // Of the source's stream.
  if (path === "/v1/webhooks") return [];
  if (path.startsWith("/v1/webhooks/")) {
    return [...(method === "get" || path.endsWith("/verify") ? ["read:{stream}"] : []), "admin:{stream}"];
  }
  if (path === "/metrics") return ["metrics", admin];
  if (!path.startsWith("/v1/") || /^\/v1\/tokens?(\/|$)/.test(path)) return [];
  if (method === "post" && below === "/messages") return ["produce:{stream}", admin];
  const isOfGroup = below.startsWith("/groups/{group}");
  const consumes =
    /\/(consume|settle|doorbell)$/.test(below) || (method === "delete" && /\/consumers\/[^/]+$/.test(below));
  if (consumes) return ["consume:{stream}/{group}", admin];
  if (method !== "get") return [admin];
  return [`read:${stream ?? "*"}`, ...(isOfGroup ? ["consume:{stream}/{group}"] : []), admin];
}

function isNullableScalar(type: Json | undefined): boolean {
  return Array.isArray(type) && type.includes("null") && !type.includes("object");
}

describe("the OpenAPI document", () => {
  test("needs no token and no Redis", () => {
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch(/^application\/json/);
  });

  test("passes a strict linter without a word", async () => {
    // That rule takes what a `not` forbids for what is required.
    const rules = { "no-required-schema-properties-undefined": "off" } as const;
    const config = await createConfig({ extends: ["recommended-strict"], rules });
    const problems = await lintFromString({ source: text, absoluteRef: "openapi.json", config });
    const shown = problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} at ${location[0]?.pointer}`);
    expect(shown).toEqual([]);
  });

  test("gives every operation a name of its own, for generated clients", () => {
    const names = operations.map(({ operation }) => operation.operationId);
    for (const name of names) expect(name).toMatch(/^[a-z][A-Za-z]+$/);
    expect(new Set(names).size).toBe(names.length);
  });

  test("says in words what a pattern means", () => {
    const parameters = [...objectsIn(api)].filter((object) => "in" in object && "schema" in object);
    const schemas = new Set(parameters.map((parameter) => parameter.schema));
    const described = [
      ...parameters.filter((parameter) => "pattern" in objectAt(parameter, "schema")),
      ...[...objectsIn(api)].filter((object) => typeof object.pattern === "string" && !schemas.has(object)),
    ];
    expect(described.length).toBeGreaterThan(10);
    for (const object of described) expect(object.description, JSON.stringify(object)).toBeTypeOf("string");
  });

  test("tells the shape of attributes", () => {
    const { attributes } = objectAt(api, "components", "schemas", "NewMessage", "properties");
    expect(attributes).toMatchObject({ maxProperties: 64, additionalProperties: { type: "string" } });
  });

  test("names every route that is served, and no other", () => {
    const served = app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`);
    const named = operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    expect(named.length).toBeGreaterThan(15);
    expect(named.sort()).toEqual([...new Set(served)].sort());
  });

  test("is of version 3.1, with a title, a version and nothing at its top that does not belong there", () => {
    const document = objectAt(api);
    expect(document.openapi).toMatch(/^3\.1\.\d$/);
    expect(objectAt(api, "info")).toMatchObject({ title: "Weir", version: expect.stringMatching(/./) });
    const known = ["openapi", "info", "servers", "paths", "components", "security", "tags", "webhooks", "externalDocs"];
    expect(Object.keys(document).filter((name) => !known.includes(name))).toEqual([]);
    expect(
      operations.map(({ method }) => method).filter((method) => !/^(get|put|post|delete|options)$/.test(method)),
    ).toEqual([]);
  });

  test("declares each path parameter once, required and with a schema, and each query parameter with one", () => {
    for (const { method, path, operation } of operations) {
      const parameters = Array.isArray(operation.parameters) ? operation.parameters.map((one) => objectAt(one)) : [];
      const inPath = parameters.filter((parameter) => parameter.in === "path");
      const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      expect(
        inPath.map(({ name }) => name),
        `${method} ${path}`,
      ).toEqual(named);
      for (const parameter of inPath) expect(parameter.required, `${method} ${path}`).toBe(true);
      for (const parameter of parameters) {
        expect(["path", "query", "header"]).toContain(parameter.in);
        expect(isObject(parameter.schema), `${method} ${path} ${parameter.name}`).toBe(true);
      }
      const keys = parameters.map((parameter) => `${parameter.in} ${parameter.name}`);
      expect(new Set(keys).size).toBe(keys.length);
    }
  });

  test("says of every operation what it is, what it takes and what it answers", () => {
    for (const { method, path, operation } of operations) {
      const where = `${method} ${path}`;
      expect(operation.summary, where).toBeTypeOf("string");
      expect(operation.tags, where).toHaveLength(1);
      const responses = objectAt(operation, "responses");
      const statuses = Object.keys(responses);
      expect(
        statuses.some((status) => /^2\d\d$/.test(status)),
        where,
      ).toBe(true);
      for (const [status, answer] of Object.entries(responses)) {
        expect(status, where).toMatch(/^[2-5]\d\d$/);
        expect(objectAt(answer).description, where).toBeTypeOf("string");
        if (Number(status) < 400) continue;
        expect(Object.keys(objectAt(answer, "content")), where).toEqual(["application/problem+json"]);
      }
      if (operation.requestBody === undefined) continue;
      for (const media of Object.values(objectAt(operation, "requestBody", "content"))) {
        expect(isObject(objectAt(media).schema), where).toBe(true);
      }
    }
  });

  test("tells of each error code only under its own status", () => {
    for (const { method, path, operation } of operations) {
      for (const [status, answer] of Object.entries(objectAt(operation, "responses"))) {
        if (Number(status) < 400) continue;
        const codes = String(objectAt(answer).description).split(", ");
        const expected = Object.entries(ERROR_CODES).filter(([code]) => codes.includes(code));
        expect(expected, `${method} ${path} ${status}`).toHaveLength(codes.length);
        for (const [, row] of expected) expect(String(row.status)).toBe(status);
      }
    }
  });

  test("asks for the token on everything under /v1 and on /metrics, and on nothing else, and says what it must permit", () => {
    const permission = /^(produce|consume|read|admin|metrics|root)$/;
    const isForAny = (path: string) => path === "/v1/token" || path === "/v1/webhooks";
    const schemes = Object.keys(objectAt(api, "components", "securitySchemes"));
    for (const { method, path, operation } of operations) {
      const isGuarded = path.startsWith("/v1/") || path === "/metrics";
      const roles = isForAny(path) ? [] : [expect.stringMatching(permission)];
      expect(operation.security, `${method} ${path}`).toEqual(isGuarded ? [{ token: roles }] : []);
    }
    expect(schemes).toContain("token");
  });

  test("names the scopes of which an access token needs one, each of them as the contract has it", () => {
    for (const { method, path, operation } of operations) {
      expect(operation["x-weir-scopes"] ?? [], `${method} ${path}`).toEqual(scopesByContract(method, path));
      for (const scope of scopesByContract(method, path)) expect(operation.description).toContain(`\`${scope}\``);
    }
    const scopesOf = (path: string, method: string) => objectAt(api, "paths", path, method)["x-weir-scopes"];
    const group = "/v1/streams/{stream}/groups/{group}";
    expect(scopesOf(`${group}/consumers/{consumer}`, "delete")).toEqual(["consume:{stream}/{group}", "admin:{stream}"]);
    expect(scopesOf("/v1/tokens", "post")).toBeUndefined();
  });

  test("says what every setting is as long as nothing is set", () => {
    const bodies = operations.filter(({ method }) => method === "put").map(({ operation }) => bodyOf(operation));
    const settings = bodies.flatMap((body) => [...objectsIn(body)]).filter(({ type }) => isNullableScalar(type));
    expect(settings.length).toBeGreaterThan(10);
    for (const setting of settings) expect(setting.description, JSON.stringify(setting)).toMatch(/ unless set$/);
    expect(
      objectAt(
        bodies.find((body) => "ackWaitMs" in objectAt(body, "properties")),
        "properties",
        "ackWaitMs",
      ),
    ).toEqual({ type: ["integer", "null"], minimum: 1_000, maximum: 43_200_000, description: "`30000` unless set" });
  });

  test("says of which members a request takes one, and names only members that there are", () => {
    const bodies = operations.map(({ operation }) => bodyOf(operation)).filter((body) => "oneOf" in body);
    const choices = bodies.map((body) => {
      const required = [...objectsIn(body.oneOf)].flatMap((choice) => choice.required ?? []);
      expect(Object.keys(objectAt(body, "properties"))).toEqual(expect.arrayContaining(required));
      return required;
    });
    expect(choices).toEqual(
      expect.arrayContaining([
        ["maxLength", "minId", "olderThanMs"],
        ["ids", "start", "end", "start", "end", "ids"],
      ]),
    );
  });

  test("knows the header that makes a repeated produce safe", () => {
    const produce = objectAt(api, "paths", "/v1/streams/{stream}/messages", "post");
    const named = { in: "header", name: "Idempotency-Key", required: false };
    expect(produce.parameters).toEqual(expect.arrayContaining([expect.objectContaining(named)]));
  });

  test("has every schema that it refers to, and none that nothing refers to", () => {
    const referred = new Set<Json>();
    for (const object of objectsIn(api)) if ("$ref" in object) referred.add(object.$ref ?? null);
    const there = Object.keys(objectAt(api, "components", "schemas")).map((name) => `#/components/schemas/${name}`);
    expect([...referred].map(String).sort()).toEqual(there.sort());
  });

  test("uses types of JSON Schema 2020-12 only, and none of OpenAPI 3.0's ways", () => {
    const types = ["array", "boolean", "integer", "null", "number", "object", "string"];
    for (const object of objectsIn(objectAt(api, "components", "schemas"))) {
      // A property may itself be called type; only a text or a list of texts is the keyword.
      const { type } = object;
      for (const one of Array.isArray(type) ? type : [type ?? "null"]) if (!isObject(one)) expect(types).toContain(one);
      expect(object).not.toHaveProperty("nullable");
      expect(typeof object.exclusiveMinimum).not.toBe("boolean");
    }
  });
});
