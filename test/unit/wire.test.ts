import { readFileSync } from "node:fs";
import { expect, expectTypeOf, test } from "vitest";
import * as z from "zod";
import type * as Wire from "../../client/wire.ts";
import { createApp } from "../../functions/app.ts";
import { jsonBody, noBody, nothing, route } from "../../functions/http/endpoint.ts";
import type { ProblemCode } from "../../functions/http/errors.ts";
import type { Differences, Same } from "../../functions/http/same.ts";
import { queryInteger } from "../../functions/http/schemas.ts";
import type { problemSchema } from "../../functions/openapi.ts";
import type { ProviderName } from "../../functions/webhooks/providers.ts";
import { parseConfig } from "../../shared/config.ts";

// The compiler holds every route's schemas against the wire's types. What it must refuse stands below `@ts-expect-error`,
// which fails `tsc` where nothing is refused.

const place = { method: "post", path: "/" } as const;
const about = { tag: "", summary: "", params: nothing, query: nothing, body: noBody, answers: {}, errors: [] } as const;
const respond = () => new Response();
const text = z.string();
const any = z.any();
const maybe = text.optional();

const verdict = z.object({ verified: z.boolean(), secret: z.enum(["current", "previous"]).nullable() });
const verify = {
  ...about,
  operationId: "verifyWebhook",
  answers: { 200: { description: "", schema: verdict } },
} as const;
const takes = <Schema extends z.ZodType>(schema: Schema) => ({ ...verify, body: jsonBody(schema) });

test("a body other than the wire type says does not compile", () => {
  route(place, () => takes(z.strictObject({ stream: maybe, id: text })), respond);
  // What clients send counts, not what the handler is given.
  route(place, () => takes(z.strictObject({ stream: text.default(""), id: text.transform(Number) })), respond);
  // @ts-expect-error: a member is forgotten.
  route(place, () => takes(z.strictObject({ id: text })), respond);
  // @ts-expect-error: a member is one too many, though optional.
  route(place, () => takes(z.strictObject({ stream: maybe, id: text, at: maybe })), respond);
  // @ts-expect-error: of another type.
  route(place, () => takes(z.strictObject({ stream: maybe, id: z.int() })), respond);
  // @ts-expect-error: of any type.
  route(place, () => takes(z.strictObject({ stream: maybe, id: any })), respond);
  // @ts-expect-error: or null.
  route(place, () => takes(z.strictObject({ stream: maybe.nullable(), id: text })), respond);
  // @ts-expect-error: required, where the client may leave it out.
  route(place, () => takes(z.strictObject({ stream: text, id: text })), respond);
  // @ts-expect-error: optional, where the client may not.
  route(place, () => takes(z.strictObject({ stream: maybe, id: maybe })), respond);
  // @ts-expect-error: any further members.
  route(place, () => takes(z.looseObject({ stream: maybe, id: text })), respond);
  // @ts-expect-error: nothing.
  route(place, () => verify, respond);
});

const seek = {
  ...about,
  operationId: "seek",
  body: jsonBody(z.strictObject({ to: z.union([text, z.int()]) })),
} as const;
const got = z.object({ lastDeliveredId: text });
const answers = <First, Second>(schema: z.ZodType<First>, other: z.ZodType<Second>) => ({
  ...seek,
  answers: { 200: { description: "", schema }, 201: { description: "", schema: other } },
});

test("an answer other than the wire type says, with any of its statuses, does not compile", () => {
  route(place, () => answers(got, got), respond);
  // @ts-expect-error: a member is forgotten.
  route(place, () => answers(z.object({}), got), respond);
  // @ts-expect-error: with one of its statuses a member is one too many.
  route(place, () => answers(got, got.extend({ at: z.int() })), respond);
  // @ts-expect-error: may be absent.
  route(place, () => answers(got.partial(), got), respond);
  // @ts-expect-error: no JSON.
  route(place, () => seek, respond);
});

const done = {
  ...about,
  operationId: "removeConsumer",
  answers: { 200: { description: "", schema: z.object({ handedOver: z.int() }) } },
} as const;
const asks = <Query extends z.ZodObject>(query: Query) => ({ ...done, query });

test("a query other than the wire type says does not compile", () => {
  route(place, () => asks(z.strictObject({ handoverTo: maybe })), respond);
  // @ts-expect-error: forgotten.
  route(place, () => done, respond);
  // @ts-expect-error: one too many.
  route(place, () => asks(z.strictObject({ handoverTo: maybe, limit: queryInteger(1, 9).default(1) })), respond);
  // @ts-expect-error: one of few.
  route(place, () => asks(z.strictObject({ handoverTo: z.enum(["a", "b"]).optional() })), respond);
});

const nobodyKnows = { ...about, operationId: "nobodyKnows" } as const;
const deletes = { ...about, operationId: "deleteStream", answers: { 204: { description: "" } } } as const;

test("an operation that the table does not have, or JSON that it does not tell of, does not compile", () => {
  route(place, () => deletes, respond);
  // @ts-expect-error: no row of the table.
  route(place, () => nobodyKnows, respond);
  // @ts-expect-error: it takes a body.
  route(place, () => ({ ...deletes, body: jsonBody(nothing) }), respond);
  // @ts-expect-error: it answers JSON.
  route(place, () => ({ ...deletes, answers: { 200: { description: "", schema: got } } }), respond);
});

test("types are the same at every depth or not at all; readonly and intersections do not count", () => {
  expectTypeOf<
    Same<{ a: string; b?: number }, { readonly b?: number } & { readonly a: string }>
  >().toEqualTypeOf<true>();
  expectTypeOf<
    Same<{ a: ({ b: string } & { c: 1 })[] }, { a: readonly { c: 1; b: string }[] }>
  >().toEqualTypeOf<true>();
  expectTypeOf<Same<"a" | "b" | null, null | "b" | "a">>().toEqualTypeOf<true>();
  expectTypeOf<Same<{ a: unknown }, { a: unknown }>>().toEqualTypeOf<true>();
  expectTypeOf<Same<{ a?: unknown }, { a: unknown }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a?: string }, { a?: string | undefined }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a: string | undefined }, { a?: string | undefined }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a: { b: { c: string }[] } }, { a: { b: { c: number }[] } }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a: { b: { c: string }[] } }, { a: { b: { c: string; d?: string }[] } }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a: "x" | { b: string } }, { a: "x" | { b: string } | { c: string } }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a: 1; b: 2 } | { a: 2 }, { a: 1 } | { a: 2 }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<Record<string, string>, Record<string, string | null>>>().toEqualTypeOf<false>();
  expectTypeOf<Same<Record<string, string>, unknown>>().toEqualTypeOf<false>();
  expectTypeOf<Same<{ a: unknown }, { a: string }>>().toEqualTypeOf<false>();
  // biome-ignore lint/suspicious/noExplicitAny: it must not be taken for all types.
  expectTypeOf<Same<{ a: any }, { a: unknown }>>().toEqualTypeOf<false>();
  expectTypeOf<Same<"a" | "b", string>>().toEqualTypeOf<false>();
});

test("a difference is told by its path", () => {
  expectTypeOf<
    Same<Differences<{ a: { b: string }[]; c: 1 }, { a: { b: number }[]; c: 1 }>, ".a[].b">
  >().toEqualTypeOf<true>();
  expectTypeOf<Same<Differences<{ a: 1; b?: 2 }, { a: 1; c: 3 }>, ".b" | ".c">>().toEqualTypeOf<true>();
  expectTypeOf<Same<Differences<{ a?: { b: 1 } | null }, { a?: { b: 1 } }>, ".a">>().toEqualTypeOf<true>();
});

test("problems, their codes and the names of providers are as the wire types say", () => {
  expectTypeOf<Same<z.output<ReturnType<typeof problemSchema>>, Wire.Problem>>().toEqualTypeOf<true>();
  expectTypeOf<Same<ProblemCode, Wire.ErrorCode>>().toEqualTypeOf<true>();
  expectTypeOf<Same<ProviderName, Wire.WebhookProvider>>().toEqualTypeOf<true>();
});

/** Whose request and answer are the provider's, not Weir's. */
const PROVIDERS_OWN = ["receiveWebhook", "greetWebhook", "allowWebhook"];

test("every operation that is served is held against the wire's types, and no other is in the table", async () => {
  const app = createApp({
    begin: () => ({
      config: parseConfig({ ROOT_TOKEN: "root", REDIS_URL: "redis://127.0.0.1:1" }),
      connection: { run: () => Promise.reject(new Error("no Redis is needed for this")), close: async () => undefined },
      end: async () => undefined,
    }),
    runReaper: () => Promise.reject(new Error("no reaper is needed for this")),
  });
  const document = await (await app.request("/openapi.json")).text();
  const served = [...document.matchAll(/"operationId":"(\w+)"/g)].map(([, id]) => id ?? "");
  const table = readFileSync("functions/http/operations.ts", "utf8");
  const rows = [...table.matchAll(/^ {2}(\w+): /gm)].map(([, id]) => id ?? "");
  expect(served.length).toBeGreaterThan(40);
  expect(rows.sort()).toEqual(served.filter((id) => !PROVIDERS_OWN.includes(id)).sort());
});
