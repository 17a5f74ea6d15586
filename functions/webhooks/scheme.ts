import * as z from "zod";
import { METADATA_PREFIX, RESERVED_FIELDS } from "../../shared/message.ts";
import { once } from "../http/once.ts";
import { limitedText } from "../http/schemas.ts";
import { ENCODINGS, type Encoding } from "./bytes.ts";
import type { BatchPlace, Place } from "./places.ts";
import { isPointer } from "./pointer.ts";

/** How a provider's requests are verified, as data. */
export type Scheme = SignedScheme | SharedSecretScheme;
export type SignedScheme = HmacScheme | PublicKeyScheme;

/** A header, or one of the items that it is made of: the first that starts with `prefix`. */
export interface HeaderItems {
  readonly header: string;
  /** What parts the items. Absent: the whole header is one. */
  readonly separator?: string | undefined;
  /** What an item starts with, and what is taken off, such as `sha256=` or `v1,`. */
  readonly prefix?: string | undefined;
}

/** Where the signature stands; where there are several items, any one will do. */
export interface SignaturePlace extends HeaderItems {
  readonly encoding: Encoding;
}

/** Where the time stands that was signed, and what it counts. */
export type TimePlace = (HeaderItems | { readonly pointer: string } | { readonly query: string }) & {
  readonly unit: TimeUnit;
};
export type TimeUnit = (typeof TIME_UNITS)[number];
const TIME_UNITS = ["s", "ms", "iso"] as const;

/**
 * A piece of what is signed: text that stands for itself, a header, or something of the request's. `url` is the public
 * one, with the query; `form` the parameters of a form in the order of their names, each name followed by its value.
 */
export type Part =
  | (typeof NAMED_PARTS)[number]
  | "url-decoded"
  | { readonly text: string }
  | { readonly header: string };
const NAMED_PARTS = ["body", "timestamp", "id", "method", "url", "form"] as const;

interface Signed {
  readonly signature: SignaturePlace;
  readonly signed: readonly Part[];
  readonly time?: TimePlace | undefined;
  /** The delivery's id. */
  readonly id?: Place | undefined;
  /** A parameter of the signed URL with the body's SHA-256 in hex, for bodies that are no form (Twilio). */
  readonly bodyDigest?: string;
  /** The provider may have signed the URL with its port where we know it without, or the other way round (Twilio). */
  readonly isPortOptional?: boolean;
  /** What is signed has to be a JSON object: the key also signs other texts (X's handshake). */
  readonly isJsonObject?: boolean;
}

export interface HmacScheme extends Signed {
  readonly algorithm: "hmac-sha1" | "hmac-sha256" | "hmac-sha512";
  /** How the secret is written: `text` is used as it stands, `whsec` is base64 behind `whsec_`. */
  readonly secretForm: SecretForm;
}
export type SecretForm = (typeof SECRET_FORMS)[number];
const SECRET_FORMS = ["text", "base64", "hex", "whsec"] as const;

/** The "secret" is a public key. */
export interface PublicKeyScheme extends Signed {
  readonly algorithm: "ed25519" | "ecdsa-p256" | "rsa-sha256";
  /** Of ECDSA: ASN.1, as most libraries write it, or r and s one after the other. */
  readonly signatureForm?: "der" | "raw" | undefined;
}

/** The request holds the secret itself. */
export interface SharedSecretScheme {
  readonly algorithm: "shared-secret";
  /** `bearer` and `basic` (`user:password`) stand in Authorization. */
  readonly secretAt: "bearer" | "basic" | { readonly header: string } | { readonly pointer: string } | BatchPlace;
  readonly id?: Place | undefined;
}

/** Whether the provider signs the URL that it calls, so that the deployment must know its public one. */
export function signsUrl(scheme: Scheme): boolean {
  return hasPart(scheme, "url") || hasPart(scheme, "url-decoded");
}

/** Whether a stored request cannot be verified again without its URL. */
export function needsUrl(scheme: Scheme): boolean {
  if (scheme.algorithm === "shared-secret") return false;
  const { time, id, signed } = scheme;
  const isSignedId = id !== undefined && signed.includes("id");
  return signsUrl(scheme) || (time !== undefined && "query" in time) || (isSignedId && "query" in id);
}

export function hasPart(scheme: Scheme, part: Part): boolean {
  return scheme.algorithm !== "shared-secret" && scheme.signed.includes(part);
}

/** @returns the headers, in lower case, without which a stored request cannot be verified again */
export function signedHeaders(scheme: Scheme): readonly string[] {
  if (scheme.algorithm === "shared-secret") return [];
  const places = [
    scheme.signature,
    ...scheme.signed,
    scheme.time,
    scheme.signed.includes("id") ? scheme.id : undefined,
  ];
  const names = places.flatMap((place) => (typeof place === "object" && "header" in place ? [place.header] : []));
  return [...new Set(names.map((name) => name.toLowerCase()))];
}

/** Headers that hold secrets: no message may hold them. */
const SECRET_HEADERS = ["authorization", "cookie", "proxy-authorization"];
/** And attributes that say something else. */
const NO_SIGNED_HEADERS = [...SECRET_HEADERS, "webhook-source", "webhook-url", "webhook-method", "webhook-seal"];
const MAX_PARTS = 16;

const headerName = once(() =>
  limitedText(1, 128)
    .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, "expected a header's name")
    .meta({ description: "A header's name, in any case" }),
);

/** A header whose value becomes a part of the message. */
export const publicHeaderName = once(() =>
  headerName().refine(
    (name) => !SECRET_HEADERS.includes(name.toLowerCase()),
    `expected a header other than ${SECRET_HEADERS.join(", ")}`,
  ),
);

const signedHeaderName = once(() =>
  headerName().refine(
    (name) => {
      const lower = name.toLowerCase();
      return ![...NO_SIGNED_HEADERS, ...RESERVED_FIELDS].includes(lower) && !lower.startsWith(METADATA_PREFIX);
    },
    `expected a header other than ${NO_SIGNED_HEADERS.join(", ")}, ${RESERVED_FIELDS.join(", ")} and ${METADATA_PREFIX}...`,
  ),
);

export const pointer = once(() =>
  limitedText(0, 512)
    .refine(isPointer, "expected a JSON pointer such as /data/id")
    .meta({ description: "A JSON pointer (RFC 6901) into the body" }),
);

const printable = (min: number, max: number) =>
  limitedText(min, max).regex(/^[ -~]*$/, "expected printable ASCII characters");
const parameter = once(() => limitedText(1, 128).refine((text) => text.isWellFormed(), "expected well-formed Unicode"));

const items = once(() => ({
  header: signedHeaderName(),
  separator: z
    .enum([",", ";", " "])
    .optional()
    .meta({ description: "What parts the header's items; any one of them will do" }),
  prefix: printable(1, 32).optional().meta({
    description: "What an item starts with, such as `sha256=`, and what is taken off; others are passed over",
  }),
}));

const place = once(() =>
  z
    .union(
      [
        z.strictObject({ header: publicHeaderName() }),
        z.strictObject({ pointer: pointer() }),
        z.strictObject({ query: parameter() }),
        z.strictObject({ form: parameter() }),
      ],
      "expected one of { header: a name }, { pointer: a JSON pointer }, { query: a name } and { form: a name }",
    )
    .meta({ description: "Where the delivery's id stands" }),
);

const unit = once(() => z.enum(TIME_UNITS).meta({ description: "Seconds, milliseconds, or an ISO 8601 time" }));

const time = once(() =>
  z
    .union(
      [
        z.strictObject({ ...items(), unit: unit() }),
        z.strictObject({ pointer: pointer(), unit: unit() }),
        z.strictObject({ query: parameter(), unit: unit() }),
      ],
      "expected one of { header, separator?, prefix? }, { pointer } and { query }, each with a unit of s, ms or iso",
    )
    .meta({ description: "Where the time stands that was signed" }),
);

const part = once(() =>
  z.union(
    [
      z.enum(NAMED_PARTS),
      z.strictObject({
        text: printable(1, 64).meta({ description: "Text that stands for itself, in printable ASCII" }),
      }),
      z.strictObject({ header: signedHeaderName() }),
    ],
    `expected one of ${NAMED_PARTS.join(", ")}, { text: 1 to 64 printable characters } and { header: a name }`,
  ),
);

const signedMembers = once(() => ({
  signature: z.strictObject({ ...items(), encoding: z.enum(ENCODINGS) }),
  signed: z
    .array(part())
    .min(1)
    .max(MAX_PARTS)
    .meta({ description: "What is signed, piece by piece: names of pieces, `{ text }`, `{ header }`" }),
  time: time().optional(),
  id: place().optional(),
}));

/** A `generic` source's scheme, in a body. */
export const schemeSchema = once(() =>
  z
    .discriminatedUnion("algorithm", [
      z.strictObject({
        algorithm: z.enum(["hmac-sha1", "hmac-sha256", "hmac-sha512"]),
        secretForm: z.enum(SECRET_FORMS).default("text"),
        ...signedMembers(),
      }),
      z.strictObject({ algorithm: z.enum(["ed25519", "rsa-sha256"]), ...signedMembers() }),
      z.strictObject({
        algorithm: z.literal("ecdsa-p256"),
        signatureForm: z.enum(["der", "raw"]).default("der"),
        ...signedMembers(),
      }),
      z.strictObject({
        algorithm: z.literal("shared-secret"),
        secretAt: z.union(
          [
            z.enum(["bearer", "basic"]),
            z.strictObject({ header: headerName() }),
            z.strictObject({ pointer: pointer() }),
          ],
          "expected one of bearer, basic, { header: a name } and { pointer: a JSON pointer }",
        ),
        id: place().optional(),
      }),
    ])
    .check(({ value: scheme, issues }) => {
      for (const { path, message } of faultsOf(scheme)) issues.push({ code: "custom", path, message, input: scheme });
    })
    .meta({ id: "WebhookScheme", description: "How requests are verified" }),
);

interface Fault {
  readonly path: string[];
  readonly message: string;
}

/** What a scheme must not be even though each member is right. */
function* faultsOf(scheme: Scheme): Generator<Fault> {
  if (scheme.algorithm === "shared-secret") {
    if (isSecretAt(scheme)) yield { path: ["id"], message: "expected another place than the secret's" };
    return;
  }
  const { signed } = scheme;
  const has = (wanted: Part) => signed.includes(wanted);
  // Whoever saw one request could send any other.
  if (!has("body") && !has("form")) yield { path: ["signed"], message: "expected the body among what is signed" };
  if (has("timestamp") && scheme.time === undefined) {
    yield { path: ["time"], message: "expected to be told where the timestamp is, since it is signed" };
  }
  if (has("id") && scheme.id === undefined) {
    yield { path: ["id"], message: "expected to be told where the id is, since it is signed" };
  }
  if (scheme.time !== undefined && !isTimeSigned(scheme)) {
    yield { path: ["time"], message: "expected a time that is signed" };
  }
  // The attribute `webhook-id` is the delivery's id.
  if (signedHeaders(scheme).includes("webhook-id") && !isHeader(scheme.id, "webhook-id")) {
    yield { path: ["id"], message: 'expected { "header": "webhook-id" }, since that header is signed' };
  }
}

function isSecretAt({ secretAt, id }: SharedSecretScheme): boolean {
  if (id === undefined) return false;
  if (typeof secretAt === "string") return isHeader(id, "authorization");
  if ("header" in secretAt) return isHeader(id, secretAt.header);
  return "pointer" in id && id.pointer === secretAt.pointer;
}

function isTimeSigned({ signed, time: at }: SignedScheme): boolean {
  if (at === undefined || signed.includes("timestamp")) return true;
  if ("pointer" in at) return signed.includes("body");
  if ("query" in at) return signed.includes("url");
  return signed.some((piece) => isHeader(piece, at.header));
}

function isHeader(at: unknown, name: string): boolean {
  if (typeof at !== "object" || at === null || !("header" in at) || typeof at.header !== "string") return false;
  return at.header.toLowerCase() === name.toLowerCase();
}
