import { Buffer } from "node:buffer";
import { createHash, createHmac, generateKeyPairSync, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import twilio from "twilio";
import { describe, expect, test } from "vitest";
import { check } from "../../functions/http/validate.ts";
import { type Secrets, secretFault } from "../../functions/webhooks/keys.ts";
import { type Mapping, storedRequest, toMessage, verifyStored } from "../../functions/webhooks/mapping.ts";
import { PROVIDERS } from "../../functions/webhooks/providers.ts";
import { type Scheme, schemeSchema, signedHeaders, signsUrl } from "../../functions/webhooks/scheme.ts";
import { verify } from "../../functions/webhooks/verify.ts";
import type { WebhookRequest } from "../../functions/webhooks/webhook-request.ts";
import { encodeMessage, fieldMap } from "../../shared/message.ts";
import { graphBody, PROVIDER_NAMES, sampleOf } from "../support/webhook-samples.ts";

const nowMs = 1_790_000_000_000;
const time = { nowMs, toleranceMs: 300_000 };
const url = "https://weir.example/hooks/s1";
const bytes = (text: string) => new TextEncoder().encode(text);

function request(
  body: string | Uint8Array,
  headers: Record<string, string>,
  more: Partial<WebhookRequest> = {},
): WebhookRequest {
  const all = new Headers({ "content-type": "application/json", ...headers });
  return { method: "POST", url, headers: all, body: typeof body === "string" ? bytes(body) : body, ...more };
}

const hmac = (secret: string | Buffer, text: string | Uint8Array, algorithm = "sha256") =>
  createHmac(algorithm, secret).update(text);

/** A scheme as the API takes it. */
function schemeFrom(given: unknown): Scheme {
  const checked = check(schemeSchema(), given, "scheme");
  if ("errors" in checked) throw new Error(JSON.stringify(checked.errors));
  return checked.value;
}

const faultsOf = (given: unknown) => {
  const checked = check(schemeSchema(), given, "scheme");
  return "errors" in checked ? checked.errors : [];
};

const plain = schemeFrom({
  algorithm: "hmac-sha256",
  signature: { header: "X-Sig", encoding: "hex" },
  signed: ["body"],
});

function mappingWith(scheme: Scheme, more: Partial<Mapping> = {}): Mapping {
  return { source: "s1", provider: PROVIDERS.generic, scheme, typePrefix: "", key: null, ...more };
}

async function isVerified(scheme: Scheme, made: WebhookRequest, secret: string): Promise<boolean> {
  return (await verify(scheme, made, { current: secret }, time)).isVerified;
}

/** Through the mapping into Redis' fields and back. */
async function stored(mapping: Mapping, made: WebhookRequest, secrets: Secrets) {
  const verdict = await verify(mapping.scheme, made, secrets, time);
  if (!verdict.isVerified) throw new Error(verdict.detail);
  const message = await toMessage(mapping, made, verdict, secrets);
  return { message, fields: fieldMap(encodeMessage(message)) };
}

describe("a generic HMAC scheme", () => {
  test.each([
    ["hmac-sha1", "sha1"],
    ["hmac-sha256", "sha256"],
    ["hmac-sha512", "sha512"],
  ] as const)("verifies %s in hex, base64 and base64url", async (algorithm, hash) => {
    for (const encoding of ["hex", "base64", "base64url"] as const) {
      const scheme = schemeFrom({ algorithm, signature: { header: "X-Sig", encoding }, signed: ["body"] });
      const made = request('{"a":1}', { "x-sig": hmac("secret", '{"a":1}', hash).digest(encoding) });
      expect(await isVerified(scheme, made, "secret")).toBe(true);
      expect(await isVerified(scheme, made, "secret2")).toBe(false);
    }
  });

  test.each([
    ["text", "mot de passé"],
    ["hex", Buffer.from("mot de passé").toString("hex")],
    ["base64", Buffer.from("mot de passé").toString("base64")],
    ["whsec", `whsec_${Buffer.from("mot de passé").toString("base64")}`],
  ] as const)("takes a secret written as %s", async (secretForm, secret) => {
    const scheme = schemeFrom({ ...plain, secretForm });
    expect(await isVerified(scheme, request("x", { "x-sig": hmac("mot de passé", "x").digest("hex") }), secret)).toBe(
      true,
    );
  });

  test("verifies all that may be signed, in its order", async () => {
    const scheme = schemeFrom({
      algorithm: "hmac-sha256",
      signature: { header: "X-Sig", encoding: "hex" },
      signed: ["method", { text: " " }, "url", { text: "|" }, "timestamp", "id", { header: "X-Tenant" }, "body"],
      time: { query: "t", unit: "ms" },
      id: { query: "id" },
    });
    const at = `${url}?t=${nowMs}&id=d%2F1`;
    const text = `POST ${at}|${nowMs}d/1acme{}`;
    const made = request("{}", { "x-sig": hmac("s", text).digest("hex"), "x-tenant": "acme" }, { url: at });
    expect(await verify(scheme, made, { current: "s" }, time)).toEqual({
      isVerified: true,
      secret: "current",
      signedAtMs: nowMs,
    });
    expect(signsUrl(scheme)).toBe(true);
    expect(signedHeaders(scheme)).toEqual(["x-sig", "x-tenant"]);
    const { message, fields } = await stored(mappingWith(scheme), made, { current: "s" });
    expect(message.attributes).toMatchObject({
      "webhook-url": at,
      "webhook-method": "POST",
      "webhook-id": "d/1",
      "x-tenant": "acme",
    });
    expect(await verifyStored(mappingWith(scheme), fields, { current: "s" })).toMatchObject({ isVerified: true });
  });

  test("whose time stands in a URL that is not signed keeps the URL, and is verified again", async () => {
    const scheme = schemeFrom({ ...plain, signed: ["timestamp", "body"], time: { query: "t", unit: "s" } });
    const made = request(
      "x",
      { "x-sig": hmac("s", `${nowMs / 1_000}x`).digest("hex") },
      { url: `${url}?t=${nowMs / 1_000}` },
    );
    const { fields } = await stored(mappingWith(scheme), made, { current: "s" });
    expect(await verifyStored(mappingWith(scheme), fields, { current: "s" })).toMatchObject({ isVerified: true });
  });

  test("any one of several signatures will do, and no more than five are looked at", async () => {
    const scheme = schemeFrom({
      ...plain,
      signature: { header: "X-Sig", separator: ",", prefix: "v1=", encoding: "hex" },
    });
    const right = `v1=${hmac("s", "x").digest("hex")}`;
    const wrong = `v1=${hmac("t", "x").digest("hex")}`;
    for (const [header, expected] of [
      [`t=1,${wrong},${right}`, true],
      [`${right} , ${wrong}`, true],
      [`v0=${right.slice(3)}`, false],
      [`${wrong},${wrong}`, false],
      [`v1=zz,v1=,${right}`, true],
      [`${Array(4).fill(wrong).join(",")},${right}`, true],
      [`${Array(5).fill(wrong).join(",")},${right}`, false],
      ["", false],
    ] as const) {
      expect(await isVerified(scheme, request("x", { "x-sig": header }), "s"), header).toBe(expected);
    }
  });

  test("a signature has one spelling only: base64 that was changed in unused bits is another", async () => {
    const scheme = schemeFrom({ ...plain, signature: { header: "X-Sig", encoding: "base64" } });
    const right = hmac("s", "x").digest("base64");
    const last = right.charCodeAt(right.length - 2);
    const spellings = [right.replace("=", ""), `${right}=`, ` ${right.slice(0, 4)} ${right.slice(4)}`];
    for (const other of [...spellings, `${right.slice(0, -2)}${String.fromCharCode(last + 1)}=`]) {
      expect(await isVerified(scheme, request("x", { "x-sig": other }), "s"), other).toBe(false);
    }
    expect(await isVerified(scheme, request("x", { "x-sig": right }), "s")).toBe(true);
  });

  test.each([
    ["s", "1790000000", true],
    ["s", "1790000000.0", false],
    ["s", "-1790000000", false],
    ["s", "0x6ab1", false],
    ["s", "1e9", false],
    ["s", "99999999999999", false],
    ["ms", "1790000000000", true],
    ["ms", " ", false],
    ["iso", "2026-09-21T14:13:20Z", true],
    ["iso", "2026-09-21T16:13:20.000+02:00", true],
    ["iso", "2026-09-21", false],
    ["iso", "2026-99-21T14:13:20Z", false],
    ["iso", "Mon, 21 Sep 2026 14:13:20 GMT", false],
  ] as const)("a time in %s may be %s: %s", async (unit, text, expected) => {
    const scheme = schemeFrom({ ...plain, signed: ["timestamp", "body"], time: { header: "X-Time", unit } });
    const made = request("x", { "x-time": text, "x-sig": hmac("s", `${text}x`).digest("hex") });
    expect(await isVerified(scheme, made, "s")).toBe(expected);
  });

  test("a part of what is signed that is missing is not verified", async () => {
    const scheme = schemeFrom({ ...plain, signed: ["id", "body"], id: { pointer: "/id" } });
    for (const body of ["{}", "[]", "x", '{"id":null}', '{"id":{}}', '{"id":true}', '{"id":"\\ud800"}']) {
      const made = request(body, { "x-sig": hmac("s", body).digest("hex") });
      expect(await isVerified(scheme, made, "s"), body).toBe(false);
    }
    const digits = '{"id":12345678901234567890123}';
    const made = request(digits, { "x-sig": hmac("s", `12345678901234567890123${digits}`).digest("hex") });
    expect(await isVerified(scheme, made, "s")).toBe(true);
  });
});

describe("public keys", () => {
  const signature = { header: "X-Sig", encoding: "base64" };
  const signed = ["body"];
  const ed25519 = generateKeyPairSync("ed25519");
  const p256 = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 });

  test("of Ed25519, ECDSA and RSA verify, as PEM and as base64", async () => {
    const pairs = [
      { scheme: { algorithm: "ed25519" }, keys: ed25519, made: sign(null, bytes("x"), ed25519.privateKey) },
      { scheme: { algorithm: "ecdsa-p256" }, keys: p256, made: sign("sha256", bytes("x"), p256.privateKey) },
      {
        scheme: { algorithm: "ecdsa-p256", signatureForm: "raw" },
        keys: p256,
        made: sign("sha256", bytes("x"), { key: p256.privateKey, dsaEncoding: "ieee-p1363" }),
      },
      { scheme: { algorithm: "rsa-sha256" }, keys: rsa, made: sign("sha256", bytes("x"), rsa.privateKey) },
    ];
    for (const { scheme: given, keys, made } of pairs) {
      const scheme = schemeFrom({ ...given, signature, signed });
      const pem = keys.publicKey.export({ type: "spki", format: "pem" }).toString();
      const base64 = keys.publicKey.export({ type: "spki", format: "der" }).toString("base64");
      for (const key of [pem, `${pem.trim()}`, pem.replaceAll("\n", "\r\n"), base64]) {
        expect(secretFault(scheme, key)).toBeUndefined();
        expect(await isVerified(scheme, request("x", { "x-sig": made.toString("base64") }), key)).toBe(true);
        expect(await isVerified(scheme, request("y", { "x-sig": made.toString("base64") }), key)).toBe(false);
        expect(await isVerified(scheme, request("x", { "x-sig": made.subarray(1).toString("base64") }), key)).toBe(
          false,
        );
      }
    }
  });

  test("ECDSA signatures of every length verify: ASN.1 shortens its integers", async () => {
    const scheme = schemeFrom({ algorithm: "ecdsa-p256", signature, signed });
    const key = p256.publicKey.export({ type: "spki", format: "der" }).toString("base64");
    const lengths = new Set<number>();
    // One in 128 is shorter than the three usual lengths.
    for (let i = 0; lengths.size < 4; i++) {
      const made = sign("sha256", bytes(String(i)), p256.privateKey);
      lengths.add(made.byteLength);
      expect(await isVerified(scheme, request(String(i), { "x-sig": made.toString("base64") }), key)).toBe(true);
    }
  });

  test("what is none is told, and verifies nothing", async () => {
    const rsaPem = rsa.publicKey.export({ type: "spki", format: "pem" }).toString();
    const weak = generateKeyPairSync("rsa", { modulusLength: 1_024 }).publicKey.export({ type: "spki", format: "pem" });
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey.export({ type: "spki", format: "pem" });
    const edPem = ed25519.publicKey.export({ type: "spki", format: "pem" }).toString();
    // On no curve, though of the right form.
    const noPoint = `3059301306072a8648ce3d020106082a8648ce3d03010703420004${"11".repeat(64)}`;
    const wrong = {
      ed25519: [rsaPem, "ab".repeat(31), "zz".repeat(32), "-----BEGIN PUBLIC KEY-----", "x"],
      "ecdsa-p256": [rsaPem, edPem, p384.toString(), "ab".repeat(32)],
      "rsa-sha256": [weak.toString(), edPem, rsaPem.slice(0, -60)],
    };
    for (const [algorithm, keys] of Object.entries(wrong)) {
      const scheme = schemeFrom({ algorithm, signature, signed });
      for (const key of keys) {
        const fault = secretFault(scheme, key);
        expect(fault, key).toMatch(/^expected an? .* public key/);
        expect(await isVerified(scheme, request("x", { "x-sig": "AAAA" }), key)).toBe(false);
      }
    }
    const scheme = schemeFrom({ algorithm: "ecdsa-p256", signatureForm: "raw", signature, signed });
    const made = request("x", { "x-sig": Buffer.alloc(64, 1).toString("base64") });
    expect(await isVerified(scheme, made, Buffer.from(noPoint, "hex").toString("base64"))).toBe(false);
  });
});

describe("a shared secret", () => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;

  test.each([
    ["bearer", { authorization: "Bearer s3cret" }, "s3cret", true],
    ["bearer", { authorization: "bearer s3cret" }, "s3cret", true],
    ["bearer", { authorization: "Basic s3cret" }, "s3cret", false],
    ["bearer", { authorization: "s3cret" }, "s3cret", false],
    ["bearer", {}, "s3cret", false],
    ["basic", { authorization: basic("weir:pässwort") }, "weir:pässwort", true],
    ["basic", { authorization: basic("weir:other") }, "weir:pässwort", false],
    ["basic", { authorization: "Basic ====" }, "weir:pässwort", false],
    [{ header: "X-Token" }, { "x-token": "s3cret" }, "s3cret", true],
    [{ header: "X-Token" }, { "x-token": "s3cre" }, "s3cret", false],
    [{ header: "X-Token" }, { "x-token": "s3cret, s3cret" }, "s3cret", false],
    [{ pointer: "/auth/token" }, {}, "in-the-body", true],
    [{ pointer: "/auth/none" }, {}, "in-the-body", false],
    [{ pointer: "/auth/token" }, {}, "", false],
  ] as const)("as %j in %j with %s: %s", async (secretAt, headers, secret, expected) => {
    const scheme = schemeFrom({ algorithm: "shared-secret", secretAt });
    const made = request('{"auth":{"token":"in-the-body","n":1.0}}', headers);
    expect(await isVerified(scheme, made, secret)).toBe(expected);
  });

  test("is not stored: not in the body, whatever way it was written there, nor as key or type", async () => {
    const scheme = schemeFrom({ algorithm: "shared-secret", secretAt: { pointer: "/token" } });
    const body = '{"token":"\\u0073/cret", "n": 1.0, "type":"s/cret","x":["s\\/cret","s/cret!"],"s/cret":"\\"s/cret"}';
    const mapping = mappingWith(scheme, { key: { pointer: "/token" } });
    const { message, fields } = await stored(mapping, request(body, {}), { current: "other", previous: "s/cret" });
    expect(message.data).toBe('{"token":"", "n": 1.0, "type":"","x":["","s/cret!"],"":"\\"s/cret"}');
    expect(message.key).toBeUndefined();
    expect(message.type).toBeUndefined();
    const secrets = { current: "s/cret", previous: "other" };
    expect(await verifyStored(mapping, fields, secrets)).toMatchObject({ isVerified: true, secret: "current" });
    expect(await verifyStored(mapping, fields, { current: "other" })).toMatchObject({ isVerified: false });
    const opened = new Map(fields).set("data", body);
    expect(await verifyStored(mapping, opened, secrets)).toMatchObject({ isVerified: false });
    expect(storedRequest(mapping, fields).headers.get("authorization")).toBeNull();
  });

  test("in a header is not stored either, with a body that is no JSON", async () => {
    const scheme = schemeFrom({ algorithm: "shared-secret", secretAt: "bearer" });
    const mapping = mappingWith(scheme, { key: { header: "authorization" } });
    const body = new Uint8Array([0, 255, 34, 128]);
    const made = request(body, { authorization: "Bearer s3cret", "content-type": "image/png" });
    const { message, fields } = await stored(mapping, made, { current: "s3cret" });
    expect(JSON.stringify(message)).not.toContain("s3cret");
    expect(await verifyStored(mapping, fields, { current: "s3cret" })).toMatchObject({ isVerified: true });
  });

  test("of Microsoft Graph's has to be in every notification of a request", async () => {
    const { scheme } = PROVIDERS["microsoft-graph"];
    if (scheme === null) throw new Error("no scheme");
    const item = (state: unknown) => ({ changeType: "created", clientState: state });
    for (const [value, expected] of [
      [[item("s"), item("s")], true],
      [[item("s"), item("t")], false],
      [[item("s"), {}], false],
      [[item("s"), item(1)], false],
      [[], false],
      [{}, false],
      [null, false],
    ] as const) {
      expect(await isVerified(scheme, request(JSON.stringify({ value }), {}), "s"), JSON.stringify(value)).toBe(
        expected,
      );
    }
    expect(await isVerified(scheme, request(graphBody("s").replace('"s"', '"s","clientState":"t"'), {}), "s")).toBe(
      false,
    );
  });
});

describe("Twilio", () => {
  const { scheme } = PROVIDERS.twilio;
  const FORM = "application/x-www-form-urlencoded";
  const verifyTwilio = async (made: WebhookRequest) => scheme !== null && (await isVerified(scheme, made, "token"));
  const signature = (at: string, parameters: Record<string, string | string[]>) =>
    twilio.getExpectedTwilioSignature("token", at, parameters);

  test("signs each value of a repeated parameter once", async () => {
    const headers = {
      "content-type": FORM,
      "x-twilio-signature": signature(url, { B: ["2", "10", "2"], a: "", C: "x" }),
    };
    expect(await verifyTwilio(request("B=2&B=10&a=&C=x&B=2", headers))).toBe(true);
    expect(await verifyTwilio(request("B=2&B=10&a=&C=y&B=2", headers))).toBe(false);
  });

  test("may have signed the port, or not", async () => {
    for (const [known, signedAs] of [
      ["https://weir.example/hooks/s1?a=b", "https://weir.example:443/hooks/s1?a=b"],
      ["https://weir.example:8443/hooks/s1", "https://weir.example/hooks/s1"],
      ["http://weir.example", "http://weir.example:80"],
    ] as const) {
      const headers = { "content-type": FORM, "x-twilio-signature": signature(signedAs, { a: "b" }) };
      expect(await verifyTwilio(request("a=b", headers, { url: known })), known).toBe(true);
      expect(await verifyTwilio(request("a=b", headers, { url: `${known}x` })), known).toBe(false);
    }
  });

  test("signs JSON by its digest in the URL, and a body without one is not verified", async () => {
    const body = '[{"specversion":"1.0","type":"com.twilio.messaging.message.sent","id":"EZ1"}]';
    const at = `${url}?bodySHA256=${createHash("sha256").update(body).digest("hex")}`;
    const made = request(body, { "x-twilio-signature": signature(at, {}) }, { url: at });
    expect(await verifyTwilio(made)).toBe(true);
    expect(await verifyTwilio({ ...made, body: bytes(body.replace("EZ1", "EZ2")) })).toBe(false);
    if (scheme === null) throw new Error("no scheme");
    const mapping = mappingWith(scheme, { provider: PROVIDERS.twilio });
    const { message, fields } = await stored(mapping, made, { current: "token" });
    expect(message.type).toBe("com.twilio.messaging.message.sent");
    expect(await verifyStored(mapping, fields, { current: "token" })).toMatchObject({ isVerified: true });
    // Whoever saw the signature of a call without a body could otherwise send any.
    const bare = { "x-twilio-signature": signature(url, {}) };
    expect(await verifyTwilio(request("", bare))).toBe(true);
    for (const type of ["application/json", FORM, `${FORM}x`, "text/plain"]) {
      expect(await verifyTwilio(request('{"a":1}', { ...bare, "content-type": type })), type).toBe(false);
    }
    const notUtf8 = request(new Uint8Array([0xff, 0xfe]), { ...bare, "content-type": FORM });
    expect(await verifyTwilio(notUtf8)).toBe(false);
  });
});

test("HubSpot's URL is decoded where HubSpot decodes it, and nowhere else", async () => {
  const { scheme } = PROVIDERS.hubspot;
  if (scheme === null) throw new Error("no scheme");
  const at = `${url}?to=a%40b.c%2Cd%20e%2f%3A%25`;
  const text = `POST${url}?to=a@b.c,d%20e/:%25[]${nowMs}`;
  const headers = {
    "x-hubspot-request-timestamp": String(nowMs),
    "x-hubspot-signature-v3": hmac("s", text).digest("base64"),
  };
  expect(await isVerified(scheme, request("[]", headers, { url: at }), "s")).toBe(true);
});

describe("messages", () => {
  const signedWith = (body: string | Uint8Array, headers: Record<string, string> = {}) =>
    request(body, { "x-sig": hmac("s", typeof body === "string" ? bytes(body) : body).digest("hex"), ...headers });
  const messageOf = async (made: WebhookRequest, more: Partial<Mapping> = {}) =>
    (await stored(mappingWith(plain, more), made, { current: "s" })).message;

  test.each([
    ["JSON", '{"big":12345678901234567890, "f":1.0,"z":-0,"u":"\\u2028\u2028"}', "application/json; charset=utf-8"],
    ["JSON with a byte order mark", "\ufeff{}", "application/json"],
    ["JSON that is none", "{", "application/json"],
    ["text", "Grüße\r\n", "text/plain"],
    ["a form", "a=1&b=%FF&a=2", "application/x-www-form-urlencoded"],
    ["bytes", new Uint8Array([0, 1, 254, 255]), "application/octet-stream"],
    ["nothing", "", "application/json"],
    ["JSON of no known type", "{}", ""],
  ])("of %s keep the bytes that were signed", async (_what, body, type) => {
    const made = signedWith(body, type === "" ? {} : { "content-type": type });
    if (type === "") made.headers.delete("content-type");
    const { fields } = await stored(mappingWith(plain), made, { current: "s" });
    expect(Buffer.from(storedRequest(mappingWith(plain), fields).body)).toEqual(Buffer.from(made.body));
    expect(await verifyStored(mappingWith(plain), fields, { current: "s" })).toMatchObject({ isVerified: true });
  });

  test("have a key from a header or from the body, numbers as they were written", async () => {
    const keyOf = async (body: string, key: Mapping["key"], headers: Record<string, string> = {}) =>
      (await messageOf(signedWith(body, headers), { key })).key;
    expect(await keyOf("{}", { header: "X-Shop" }, { "x-shop": "a.example" })).toBe("a.example");
    expect(await keyOf("{}", { header: "X-Shop" })).toBeUndefined();
    const body =
      ' {"o":{"id":820982911946154508,"n":7,"f":1.50,"s":"k","e":"","a~/b":[1,{"c":"deep"}]},"long":"'.concat(
        "x".repeat(1_025),
        '","lone":"\\ud800"}',
      );
    for (const [pointer, key] of [
      ["/o/id", "820982911946154508"],
      ["/o/n", "7"],
      ["/o/f", "1.50"],
      ["/o/s", "k"],
      ["/o/a~0~1b/1/c", "deep"],
      ["/o/a~0~1b/0", "1"],
      ["/o/a~0~1b/-", undefined],
      ["/o/a~0~1b/01", undefined],
      ["/o/e", undefined],
      ["/o", undefined],
      ["", undefined],
      ["/none/at/all", undefined],
      ["/constructor/name", undefined],
      ["/long", undefined],
      ["/lone", undefined],
    ] as const) {
      expect(await keyOf(body, { pointer }), pointer).toBe(key);
    }
  });

  test("have a type only if it can be one, and of a batch only if all of it agrees", async () => {
    const typeOf = async (body: string, more: Partial<Mapping> = {}) => (await messageOf(signedWith(body), more)).type;
    expect(await typeOf('{"type":"a"}', { typePrefix: "in." })).toBe("in.a");
    expect(await typeOf('{"type":""}', { typePrefix: "in." })).toBeUndefined();
    expect(await typeOf('{"type":{}}')).toBeUndefined();
    expect(await typeOf(`{"type":"${"x".repeat(1_024)}"}`)).toHaveLength(1_024);
    expect(await typeOf(`{"type":"${"x".repeat(1_024)}"}`, { typePrefix: "i" })).toBeUndefined();
    expect(await typeOf('{"type":"\\udc00"}')).toBeUndefined();
    const sendgrid = { provider: PROVIDERS.sendgrid };
    expect(await typeOf('[{"event":"open"},{"event":"open"}]', sendgrid)).toBe("open");
    expect(await typeOf('[{"event":"open"},{"event":"click"}]', sendgrid)).toBeUndefined();
    expect(await typeOf('[{"event":"open"},{}]', sendgrid)).toBeUndefined();
    expect(await typeOf("[]", sendgrid)).toBeUndefined();
    const x = { provider: PROVIDERS.x };
    expect(await typeOf('{"for_user_id":"1","favorite_events":[]}', x)).toBe("favorite_events");
    expect(await typeOf('{"tweet_create_events":[],"favorite_events":[]}', x)).toBeUndefined();
    expect(await typeOf('["a_events"]', x)).toBeUndefined();
  });
});

describe("a generic scheme in a request", () => {
  const good = { algorithm: "hmac-sha256", signature: { header: "X-Sig", encoding: "hex" }, signed: ["body"] };

  test.each([
    [null, "scheme"],
    [{}, "scheme.algorithm"],
    [{ ...good, algorithm: "md5" }, "scheme.algorithm"],
    [{ ...good, extra: 1 }, "scheme.extra"],
    [{ ...good, bodyDigest: "x" }, "scheme.bodyDigest"],
    [{ ...good, secretForm: "raw" }, "scheme.secretForm"],
    [{ ...good, signature: undefined }, "scheme.signature"],
    [{ ...good, signature: { header: "a b", encoding: "hex" } }, "scheme.signature.header"],
    [{ ...good, signature: { header: "x".repeat(129), encoding: "hex" } }, "scheme.signature.header"],
    [{ ...good, signature: { header: "Authorization", encoding: "hex" } }, "scheme.signature.header"],
    [{ ...good, signature: { header: "type", encoding: "hex" } }, "scheme.signature.header"],
    [{ ...good, signature: { header: "Weir-X", encoding: "hex" } }, "scheme.signature.header"],
    [{ ...good, signature: { header: "webhook-source", encoding: "hex" } }, "scheme.signature.header"],
    [{ ...good, signature: { header: "X-Sig", encoding: "utf8" } }, "scheme.signature.encoding"],
    [{ ...good, signature: { header: "X-Sig", encoding: "hex", separator: "|" } }, "scheme.signature.separator"],
    [{ ...good, signature: { header: "X-Sig", encoding: "hex", prefix: "" } }, "scheme.signature.prefix"],
    [{ ...good, signature: { header: "X-Sig", encoding: "hex", prefix: "é" } }, "scheme.signature.prefix"],
    [{ ...good, signed: [] }, "scheme.signed"],
    [{ ...good, signed: Array(17).fill("body") }, "scheme.signed"],
    [{ ...good, signed: ["method"] }, "scheme.signed"],
    [{ ...good, signed: ["body", "url-decoded"] }, "scheme.signed[1]"],
    [{ ...good, signed: ["body", { text: "" }] }, "scheme.signed[1].text"],
    [{ ...good, signed: ["body", { text: "a", header: "b" }] }, "scheme.signed[1]"],
    [{ ...good, signed: ["body", { header: "cookie" }] }, "scheme.signed[1].header"],
    [{ ...good, signed: ["timestamp", "body"] }, "scheme.time"],
    [{ ...good, signed: ["id", "body"] }, "scheme.id"],
    [{ ...good, time: { header: "X-Time", unit: "s" } }, "scheme.time"],
    [{ ...good, time: { query: "t", unit: "s" } }, "scheme.time"],
    [{ ...good, time: { pointer: "time", unit: "s" } }, "scheme.time.pointer"],
    [{ ...good, time: { pointer: "/time", unit: "h" } }, "scheme.time"],
    [{ ...good, id: { header: "X-Id", pointer: "/id" } }, "scheme.id"],
    [{ ...good, id: { pointer: "/~2" } }, "scheme.id.pointer"],
    [{ ...good, signed: ["body", { header: "webhook-id" }], id: { pointer: "/id" } }, "scheme.id"],
    [{ ...good, algorithm: "ed25519", secretForm: "text" }, "scheme.secretForm"],
    [{ ...good, algorithm: "ed25519", signatureForm: "raw" }, "scheme.signatureForm"],
    [{ algorithm: "shared-secret" }, "scheme.secretAt"],
    [{ algorithm: "shared-secret", secretAt: "digest" }, "scheme.secretAt"],
    [{ algorithm: "shared-secret", secretAt: { each: "/a", pointer: "/b" } }, "scheme.secretAt.each"],
    [{ algorithm: "shared-secret", secretAt: "bearer", signed: ["body"] }, "scheme.signed"],
    [{ algorithm: "shared-secret", secretAt: "bearer", id: { header: "Authorization" } }, "scheme.id"],
    [{ algorithm: "shared-secret", secretAt: { header: "X-T" }, id: { header: "x-t" } }, "scheme.id"],
    [{ algorithm: "shared-secret", secretAt: { pointer: "/t" }, id: { pointer: "/t" } }, "scheme.id"],
  ])("%j is refused at %s", (given, path) => {
    const faults = faultsOf(given);
    expect(faults.map((fault) => fault.path)).toContain(path);
    for (const { message } of faults) expect(message).toMatch(/expected|there is no such member/i);
  });

  test("is taken with all that it may have", () => {
    expect(faultsOf(good)).toEqual([]);
    const time = { header: "X-Sig", separator: ",", prefix: "t=", unit: "s" };
    expect(faultsOf({ ...good, signed: ["timestamp", { text: "." }, "body"], time })).toEqual([]);
    expect(faultsOf({ ...good, time: { pointer: "/sentAt", unit: "iso" }, id: { form: "id" } })).toEqual([]);
    expect(
      faultsOf({ ...good, signed: ["body", { header: "x-time" }], time: { header: "X-Time", unit: "s" } }),
    ).toEqual([]);
    const id = { header: "Webhook-Id" };
    expect(faultsOf({ ...good, signed: ["body", { header: "webhook-id" }], id })).toEqual([]);
    expect(faultsOf({ ...good, signed: ["url", "form"] })).toEqual([]);
  });
});

describe("docs/webhook-providers.md", () => {
  const page = readFileSync("docs/webhook-providers.md", "utf8");

  test("has a row for every provider, and no other", () => {
    const table = page.slice(page.indexOf("| provider | secret"), page.indexOf("- `/event/type`"));
    const rows = [...table.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, name]) => name);
    expect(rows.toSorted()).toEqual([...PROVIDER_NAMES].toSorted());
  });

  test("names those that sign the URL, and whether each signs a time", () => {
    const { 1: named = "" } = /\*\*The URL is signed\*\* by ([^:]+):/.exec(page) ?? [];
    for (const name of PROVIDER_NAMES) {
      const { scheme } = PROVIDERS[name];
      if (scheme === null) continue;
      expect(named.includes(`\`${name}\``), name).toBe(signsUrl(scheme));
      const row = page.split("\n").find((line) => line.startsWith(`| \`${name}\` | `)) ?? "";
      expect(/\| yes(?:,[^|]*)? \|$/.test(row), name).toBe(
        scheme.algorithm !== "shared-secret" && scheme.time !== undefined,
      );
    }
  });

  test("shows a scheme that does what is said of it", async () => {
    const shown: unknown = JSON.parse(/```json\n([\s\S]+?)```/.exec(page)?.[1] ?? "");
    const sig = `t=${nowMs / 1_000},v1=${hmac("s", `${nowMs / 1_000}.d1.{}`).digest("hex")}`;
    const made = request("{}", { "x-acme-signature": sig, "x-acme-delivery": "d1" });
    expect(await isVerified(schemeFrom(shown), made, "s")).toBe(true);
  });
});

describe("a secret's fault", () => {
  test("is told without the secret", async () => {
    const { scheme: webhooks } = PROVIDERS["standard-webhooks"];
    const { scheme: github } = PROVIDERS.github;
    const { scheme: discord } = PROVIDERS.discord;
    if (webhooks === null || github === null || discord === null) throw new Error("no scheme");
    const basic = schemeFrom({ algorithm: "shared-secret", secretAt: "basic" });
    for (const [scheme, secret, fault] of [
      [github, "", "expected a secret, got an empty one"],
      [github, "s3cret\n", "expected no space or line break before or behind the secret"],
      [github, "x".repeat(8_193), "expected at most 8192 characters, got 8193"],
      [github, "\ud800", "expected well-formed Unicode"],
      [webhooks, "whsec_s3cret!", "expected whsec_ and base64 behind it"],
      [webhooks, "whsec_", "expected whsec_ and base64 behind it"],
      [discord, "s3cret", "expected an Ed25519 public key: 64 hex digits, or SPKI as PEM or base64"],
      [basic, "s3cret", "expected user:password"],
      [schemeFrom({ ...plain, secretForm: "hex" }), "s3cret", "expected hex digits"],
      [schemeFrom({ ...plain, secretForm: "base64" }), "s3cret", "expected base64 with padding"],
    ] as const) {
      expect(secretFault(scheme, secret)).toBe(fault);
    }
  });

  test.each(PROVIDER_NAMES)("is none for a secret of %s", async (name) => {
    const { secret, scheme } = await sampleOf(name, { nowMs, url });
    const own = scheme ?? PROVIDERS[name].scheme;
    expect(own === null ? "no scheme" : secretFault(own, secret)).toBeUndefined();
  });
});
