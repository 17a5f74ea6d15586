// Each bound that the OpenAPI document tells is exactly the one that is kept.
import { beforeAll, describe, expect, test } from "vitest";
import type { ApiDocument, Schema } from "../../functions/openapi.ts";
import { type ApiMember, apiMembers } from "../support/api-members.ts";
import { startApp } from "../support/app.ts";

const app = startApp({ TOKEN_SECRET: "a-secret-of-the-tests-with-32-characters" });

let document: ApiDocument;
beforeAll(async () => {
  document = await app.document();
});

interface Bound {
  readonly member: ApiMember;
  readonly title: string;
  readonly at: unknown;
  readonly beyond: unknown;
}

/** A character that JSON Schema counts as one, and JavaScript as two. */
const WIDE = "😀";

/** A valid item, or a valid text of that length, for members of which the schema does not say all. */
function itemOf(member: ApiMember, i: number): unknown {
  const items: Readonly<Record<string, unknown>> = {
    ids: `${i + 1}-0`,
    scope: "metrics",
    messages: {},
    retries: { lease: `lease-${i}` },
    rejects: { lease: `lease-${i}` },
    // A batch of CloudEvents has no name.
    "": { specversion: "1.0", id: String(i), source: "/", type: "x" },
  };
  return items[member.name] ?? `lease-${i}`;
}

function textOf({ name, schema }: ApiMember, length: number): string {
  if (name.endsWith("pointer")) return "/".padEnd(length, "a").slice(0, length);
  if (schema.pattern === undefined) return WIDE.repeat(length);
  const texts = ["a/", "/a", "aa"].map((start) => start.padEnd(length, "a").slice(0, length));
  return texts.find((text) => new RegExp(schema.pattern ?? "").test(text)) ?? "";
}

function boundsOf(member: ApiMember): Bound[] {
  const { schema, operationId, place, name } = member;
  const { minimum, maximum, minLength, maxLength, minItems, maxItems, maxProperties } = schema;
  const items = (length: number) => Array.from({ length }, (_, i) => itemOf(member, i));
  const members = (length: number) => Object.fromEntries(items(length).map((item, i) => [`a${i}`, item]));
  const bound = (keyword: keyof Schema, make: (size: number) => unknown, size: number | undefined, step: 1 | -1) =>
    size === undefined || size + step < 0
      ? []
      : [{ member, title: `${operationId} ${place} ${name} ${keyword}`, at: make(size), beyond: make(size + step) }];
  const number = (value: number) => value;
  return [
    ...(minimum === undefined ? [] : bound("minimum", number, minimum, -1)),
    ...(minimum === 0 ? [{ member, title: `${operationId} ${place} ${name} minimum`, at: 0, beyond: -1 }] : []),
    ...bound("maximum", number, maximum, 1),
    ...bound("minLength", (length) => textOf(member, length), minLength, -1),
    ...bound("maxLength", (length) => textOf(member, length), maxLength, 1),
    ...bound("minItems", items, minItems, -1),
    ...bound("maxItems", items, maxItems, 1),
    ...bound("maxProperties", members, maxProperties, 1),
  ];
}

/** A scheme has members by its algorithm, and rules between them: see webhook-fuzz.test.ts. */
const isOfScheme = ({ name }: ApiMember) => name.startsWith("scheme.");

/** Whether a request is refused for that member: as not valid, in one of its errors. */
async function isRefused({ member }: Bound, value: unknown): Promise<boolean> {
  const { method, path, body, headers } = member.requestWith(value);
  const { status, json } = await app.call(method, path, body, headers);
  // What was made is not to be there for the next.
  if (status < 300) await app.call("DELETE", "/v1/streams/none");
  // An empty name in a path names no route.
  if (json?.code === "not-found") return true;
  if (status !== 400) return false;
  const paths: string[] = json.errors.map((error: { path: string }) => error.path.replaceAll(/\[\d+\]/g, ""));
  const inBody = member.name.replace(/(^|\.)\((name|value)\)$/, "");
  const isOfMany = ["application/x-ndjson", "application/cloudevents-batch+json"].includes(member.place);
  const name = [...(isOfMany ? ["messages"] : []), ...(inBody === "" ? [] : [inBody])].join(".");
  return paths.some((path) => path === name || path.startsWith(name === "" ? "" : `${name}.`));
}

/** How late a message may be delivered depends on the clock. */
function isBoundByItself({ name }: ApiMember): boolean {
  return !/(^|\.)deliverAt$/.test(name);
}

describe("each bound in the document", () => {
  test("is kept: what lies at it is taken, what lies one beyond it is refused", async () => {
    const members = apiMembers(document).filter((member) => isBoundByItself(member) && !isOfScheme(member));
    const bounds = members.flatMap(boundsOf);
    expect(bounds.length).toBeGreaterThan(100);
    const wrong: string[] = [];
    for (const bound of bounds) {
      if (await isRefused(bound, bound.at)) wrong.push(`${bound.title}: refused at its bound`);
      if (!(await isRefused(bound, bound.beyond))) wrong.push(`${bound.title}: taken beyond its bound`);
    }
    expect(wrong).toEqual([]);
  });

  test("is there for every number that a request may have", () => {
    const numbers = apiMembers(document).filter(({ schema }) => [schema.type].flat().includes("integer"));
    expect(numbers.length).toBeGreaterThan(30);
    for (const { operationId, name, schema } of numbers) {
      expect({ minimum: schema.minimum, maximum: schema.maximum }, `${operationId} ${name}`).toEqual({
        minimum: expect.any(Number),
        maximum: expect.any(Number),
      });
    }
  });
});
