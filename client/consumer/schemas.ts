import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { ReceivedMessage } from "./received.ts";

/** A schema for the `data` of each `type`, of any library that speaks Standard Schema: zod, Valibot, ArkType, ... */
export type Schemas = Readonly<Record<string, StandardSchemaV1>>;
/** Without schemas `data` is unknown. */
export type NoSchemas = Readonly<Record<never, never>>;

/**
 * A `type` for which there is no schema: any text, told from those that have one by a text that nobody uses. (`string` would
 * be comparable to every name, however it is branded, and no comparison would narrow.)
 */
export type OtherType = "(a type without a schema)" | null;

/** A message whose `data` is typed by its `type`: `if (message.type === "order.paid") message.data.total`. */
export type MessageOf<S extends Schemas> = [keyof S] extends [never]
  ? ReceivedMessage
  :
      | { [Type in keyof S & string]: ReceivedMessage<Type, StandardSchemaV1.InferOutput<S[Type]>> }[keyof S & string]
      | ReceivedMessage<OtherType>;

/** What is wrong with a message's `data`. */
export type Issues = readonly StandardSchemaV1.Issue[];

/** @returns the checked `data`, which a schema may have changed, or what is wrong with it; undefined: there is no schema */
export async function validate(
  schemas: Schemas,
  { type, data }: { readonly type: string | null; readonly data: unknown },
): Promise<StandardSchemaV1.Result<unknown> | undefined> {
  if (type === null || !Object.hasOwn(schemas, type)) return undefined;
  return schemas[type]?.["~standard"].validate(data);
}

/** In words, such as `total: expected number; customer.id: required`. */
export function wordsOf(issues: Issues): string {
  return issues
    .map(({ message, path }) => (path?.length ? `${path.map(nameOf).join(".")}: ${message}` : message))
    .join("; ");
}

function nameOf(segment: PropertyKey | { readonly key: PropertyKey }): string {
  return String(typeof segment === "object" ? segment.key : segment);
}
