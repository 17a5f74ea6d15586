import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { check } from "../../functions/http/validate.ts";
import { answerHandshake } from "../../functions/webhooks/handshakes.ts";
import { secretFault } from "../../functions/webhooks/keys.ts";
import { identityOf, type Mapping, storedRequest, toMessage, verifyStored } from "../../functions/webhooks/mapping.ts";
import { atPointer, isPointer } from "../../functions/webhooks/pointer.ts";
import { PROVIDERS, type ProviderName } from "../../functions/webhooks/providers.ts";
import { type Scheme, schemeSchema, signedHeaders } from "../../functions/webhooks/scheme.ts";
import { verify } from "../../functions/webhooks/verify.ts";
import type { WebhookRequest } from "../../functions/webhooks/webhook-request.ts";
import { encodeMessage, fieldMap } from "../../shared/message.ts";
import { mappingOf, requestOf } from "../support/webhook-requests.ts";
import { newSecret, PROVIDER_NAMES, sampleOf } from "../support/webhook-samples.ts";

const nowMs = 1_790_000_000_000;
const time = { nowMs, toleranceMs: 300_000 };
const url = "https://weir.example/hooks/s1";

/** Pieces that signatures, times and bodies are made of, in any order. */
const piece = fc.constantFrom(
  ..."sha256= sha1= v0= v1= v1, t=1790000000 ts=1790000000 h1= , ; : . = == + / - _ %".split(" "),
  ..."1790000000 1790000000000 0 -1 1e9 NaN Infinity 2026-09-21T14:13:20Z Bearer Basic whsec_ ".split(" "),
  ..."757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17 AAAA MEUCIQ== é \ud800 \u0000".split(" "),
  " ",
  "\t",
  "\n",
);
const text = fc.oneof(
  fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
  fc.string({ unit: "binary" }),
);
const json = fc.oneof(
  fc.json(),
  fc.constantFrom(
    '{"value":[{"clientState":"x"}]}',
    '{"type":"url_verification","challenge":"c"}',
    '{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}',
    '{"type":1}',
    '{"__proto__":{"type":0}}',
    "[[[]]]",
    "[".repeat(10_000),
    `{"webhookTimestamp":${nowMs}}`,
  ),
);
const body = fc.oneof(json, text, fc.webQueryParameters()).map((one) => Buffer.from(one));
const anyBody = fc.oneof(body, fc.uint8Array({ maxLength: 200 })).map((bytes) => Uint8Array.from(bytes));

const NAMES = [
  "content-type",
  "authorization",
  "webhook-request-origin",
  "x-gitlab-token",
  ...new Set(PROVIDER_NAMES.flatMap((name) => signedHeadersOf(name))),
];

function signedHeadersOf(name: ProviderName): readonly string[] {
  const { scheme } = PROVIDERS[name];
  return scheme === null ? [] : signedHeaders(scheme);
}

const mediaType = fc.constantFrom("application/json", "application/x-www-form-urlencoded", "text/plain", "", "x");
const headers = fc.dictionary(fc.constantFrom(...NAMES), fc.oneof(text, mediaType), { maxKeys: 12 }).map(headersOf);

/** As far as HTTP takes them. */
function headersOf(given: Readonly<Record<string, string>>): Headers {
  const taken = new Headers();
  for (const [name, value] of Object.entries(given)) {
    try {
      taken.set(name, value);
    } catch {
      // No header can hold it.
    }
  }
  return taken;
}

const query = fc.dictionary(
  fc.constantFrom("crc_token", "validationToken", "hub.mode", "hub.verify_token", "hub.challenge", "bodySHA256", "t"),
  fc.oneof(text, fc.constantFrom("subscribe", "abc", "agreed")),
);
const anyUrl = fc.oneof(
  query.map((members) => `${url}?${new URLSearchParams(members)}`),
  text.map((odd) => url + odd),
  text,
);
const method = fc.constantFrom("GET", "HEAD", "OPTIONS", "POST", "PUT", "post", "");
const request = fc.record({ method, url: anyUrl, headers, body: anyBody });
const anySecret = fc.oneof(text, fc.constantFrom("s3cret", "whsec_AAAA", "ab".repeat(32)));
const secrets = fc.record({ current: anySecret, previous: fc.option(anySecret, { nil: undefined }) });

const provider = fc.constantFrom(...PROVIDER_NAMES.filter((name) => name !== "generic"));

function schemeOf(name: ProviderName): Scheme {
  const { scheme } = PROVIDERS[name];
  if (scheme === null) throw new Error(`${name} has no scheme`);
  return scheme;
}

const FORM = "application/x-www-form-urlencoded";
const isProvider = (name: string): name is ProviderName => Object.hasOwn(PROVIDERS, name);

const DETAIL = /^[a-z ,URL]+$/i;

describe("whatever a stranger sends", () => {
  test("is not verified, and nothing of it is in what is said", async () => {
    await fc.assert(
      fc.asyncProperty(provider, request, secrets, async (name, made, given) => {
        const startMs = performance.now();
        const verdict = await verify(schemeOf(name), made, given, time);
        expect(performance.now() - startMs).toBeLessThan(1_000);
        // A secret that the request holds in the open, by the luck of the draw.
        if (verdict.isVerified) expect(["gitlab", "microsoft-graph"]).toContain(name);
        else expect(verdict.detail).toMatch(DETAIL);
      }),
      { numRuns: 3_000 },
    );
  });

  test("gets no answer to a handshake that a provider signs, and never an exception", async () => {
    const signed: readonly ProviderName[] = ["slack", "discord", "zoom"];
    await fc.assert(
      fc.asyncProperty(provider, request, secrets, async (name, made, given) => {
        const settings = { secrets: given, verifyToken: "agreed", nowMs, toleranceMs: 300_000 };
        const told = await answerHandshake(PROVIDERS[name], made, settings);
        if (typeof told !== "object") return;
        expect(signed).not.toContain(name);
        expect([200, 204]).toContain(told.status);
        expect(told.body?.length ?? 0).toBeLessThan(3_000);
        for (const value of Object.values(told.headers)) expect(value).toMatch(/^[ -~]+$/);
      }),
      { numRuns: 3_000 },
    );
  });

  test("that is megabytes of one character takes no longer than its bytes", async () => {
    const bodies = ['"', "\\", '["', "[", "{", "a=", "&", "%", "%ff", '{"a":', '"\\"', "\u0000", "é"];
    // Those that read a body before they have verified it.
    const readers = { linear: "application/json", x: "application/json", "microsoft-graph": "", twilio: FORM } as const;
    for (const [name, type] of Object.entries(readers)) {
      if (!isProvider(name)) throw new Error(name);
      for (const piece of bodies) {
        const sample = await sampleOf(name, { nowMs, url });
        const made = { ...requestOf(sample), body: new TextEncoder().encode(piece.repeat(1_000_000 / piece.length)) };
        made.headers.set("content-type", type);
        const startMs = performance.now();
        expect((await verify(schemeOf(name), made, { current: newSecret(name) }, time)).isVerified).toBe(false);
        expect(performance.now() - startMs, `${name}, ${piece}`).toBeLessThan(1_500);
      }
    }
  });
});

describe("whatever was verified", () => {
  test("is a message that Redis takes, and is verified again", async () => {
    const scheme = schemeOf("github");
    const key = fc.constantFrom<Mapping["key"]>(null, { pointer: "/a" }, { pointer: "" }, { header: "content-type" });
    await fc.assert(
      fc.asyncProperty(fc.oneof(json, text), mediaType, key, text, async (sent, type, keyAt, typePrefix) => {
        const secret = "s3cret";
        // GitHub's library signs no empty body.
        const body = sent.toWellFormed() || "{}";
        const sample = await sampleOf("github", { nowMs, url, secret, body });
        const made: WebhookRequest = requestOf(sample);
        if (type === "") made.headers.delete("content-type");
        else made.headers.set("content-type", type);
        const mapping = mappingOf("github", sample, { typePrefix, key: keyAt });
        const verdict = await verify(scheme, made, { current: secret }, time);
        if (!verdict.isVerified) throw new Error(verdict.detail);
        const message = await toMessage(mapping, made, verdict, { current: secret });
        await identityOf(mapping, made, verdict);
        for (const field of encodeMessage(message)) expect(field.isWellFormed()).toBe(true);
        const fields = fieldMap(encodeMessage(message));
        expect(Buffer.from(storedRequest(mapping, fields).body)).toEqual(Buffer.from(made.body));
        expect(await verifyStored(mapping, fields, { current: secret })).toMatchObject({ isVerified: true });
      }),
      { numRuns: 500 },
    );
  });

  test("and holds the secret is stored without it", async () => {
    const scheme = schemeOf("microsoft-graph");
    // The secret is taken out wherever it stands, member names too: one of these would take the way to itself along.
    const isNoName = (text: string) => text !== "value" && text !== "clientState";
    const visible = fc.string({ unit: "grapheme", minLength: 3, maxLength: 20 }).filter(isNoName);
    await fc.assert(
      fc.asyncProperty(visible, fc.jsonValue(), async (secret, other) => {
        const units = Array.from({ length: secret.length }, (_, at) => secret.charCodeAt(at));
        const escaped = `"${units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("")}"`;
        for (const written of [JSON.stringify(secret), escaped]) {
          const sent = `{"value":[{"clientState":${written},"o":${JSON.stringify(other)}}]}`;
          const sample = await sampleOf("microsoft-graph", { nowMs, url, secret, body: sent });
          const mapping = mappingOf("microsoft-graph", sample);
          const made = requestOf(sample);
          const verdict = await verify(scheme, made, { current: secret }, time);
          if (!verdict.isVerified) throw new Error(`${verdict.detail}: ${sent}`);
          const message = await toMessage(mapping, made, verdict, { current: secret });
          const kept: unknown = JSON.parse(message.data ?? "");
          expect(atPointer(kept, "/value/0/clientState")).toBe("");
          const fields = fieldMap(encodeMessage(message));
          expect(await verifyStored(mapping, fields, { current: secret })).toMatchObject({ isVerified: true });
        }
      }),
      { numRuns: 300 },
    );
  });
});

test("whatever lies in Redis is not verified, and never an exception", async () => {
  const value = fc.oneof(text, fc.uint8Array({ maxLength: 50 }));
  const names = ["data", "datacontenttype", "weir-encoding", "webhook-url", "webhook-method", "webhook-seal", ...NAMES];
  const fields = fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 12 }).map((pairs) => new Map(pairs));
  await fc.assert(
    fc.asyncProperty(provider, fields, secrets, async (name, stored, given) => {
      const mapping = { source: "s1", provider: PROVIDERS[name], scheme: schemeOf(name), typePrefix: "", key: null };
      expect(await verifyStored(mapping, stored, given)).toMatchObject({ isVerified: false, code: "bad-signature" });
    }),
    { numRuns: 2_000 },
  );
});

describe("a JSON pointer", () => {
  const name = fc.oneof(
    fc.string(),
    fc.constantFrom("~", "/", "~1", "~0", "", "0", "constructor", "__proto__", "length"),
  );
  const escaped = (one: string) => one.replaceAll("~", "~0").replaceAll("/", "~1");

  test("finds whatever has that path, and nothing that is inherited", () => {
    fc.assert(
      fc.property(fc.array(name, { maxLength: 8 }), fc.jsonValue(), (path, value) => {
        const text = path.reduceRight((inner, one) => `{${JSON.stringify(one)}:${inner}}`, JSON.stringify(value));
        const document: unknown = JSON.parse(text);
        const pointer = path.map((one) => `/${escaped(one)}`).join("");
        expect(isPointer(pointer)).toBe(true);
        expect(atPointer(document, pointer)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(atPointer({}, "/constructor")).toBeUndefined();
    expect(atPointer([], "/length")).toBeUndefined();
    expect(atPointer("abc", "/0")).toBeUndefined();
    expect(atPointer({ "": 1 }, "/")).toBe(1);
  });

  test("that is none finds nothing and does not throw", () => {
    fc.assert(fc.property(fc.string(), fc.jsonValue(), (odd, value) => void atPointer(value, odd)));
    for (const odd of ["a", "/~", "/~2", "#/a", `/${"x".repeat(512)}`, "/\ud800"])
      expect(isPointer(odd), odd).toBe(false);
  });
});

describe("a scheme", () => {
  const member = fc.constantFrom(
    ..."algorithm signature signed time id secretForm secretAt signatureForm header prefix separator encoding".split(
      " ",
    ),
    ..."pointer query form unit text each".split(" "),
  );
  const word = fc.constantFrom(
    ..."hmac-sha256 ed25519 ecdsa-p256 rsa-sha256 shared-secret hex base64 text whsec body url id timestamp form".split(
      " ",
    ),
    ..."bearer basic s ms iso , ; X-Sig /a der raw".split(" "),
  );
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 3 },
      word,
      fc.anything({ maxDepth: 1 }),
      fc.dictionary(member, tie("tree")),
      fc.array(tie("tree"), { maxLength: 4 }),
    ),
  }));

  test("is refused with the member's name or does what it says, whatever comes", async () => {
    const some = fc.record(
      {
        algorithm: word,
        signature: fc.record({ header: word, encoding: word, prefix: word }, { requiredKeys: ["header", "encoding"] }),
        signed: fc.array(fc.oneof(word, tree), { maxLength: 3 }),
        time: tree,
        id: tree,
        secretAt: tree,
      },
      { requiredKeys: ["algorithm"] },
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(tree, some), request, secrets, async (given, made, both) => {
        const checked = check(schemeSchema(), given, "scheme");
        if ("errors" in checked) {
          for (const { path } of checked.errors) expect(path).toMatch(/^scheme/);
          return;
        }
        secretFault(checked.value, both.current);
        const verdict = await verify(checked.value, made, both, time);
        if (verdict.isVerified) expect(checked.value.algorithm).toBe("shared-secret");
      }),
      { numRuns: 3_000 },
    );
  });
});
