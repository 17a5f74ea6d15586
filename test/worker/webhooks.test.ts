import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { beforeAll, describe, expect, test } from "vitest";
import { PROVIDERS, type ProviderName } from "../../functions/webhooks/providers.ts";
import { expectProblem } from "../support/answers.ts";
import { nativeClient } from "../support/redis.ts";
import { newSecret, PROVIDER_NAMES, sampleOf } from "../support/webhook-samples.ts";
import { type Answer, startWorker, type WorkerUnderTest } from "../support/worker.ts";

/** As the providers know the deployment, behind whatever stands before it. */
const PUBLIC_URL = "https://events.example.com";
const TOKEN_SECRET = "a token secret of the tests, long enough";

const SECRETS = new Map(PROVIDER_NAMES.map((provider) => [provider, newSecret(provider)]));
const PREVIOUS = new Map(PROVIDER_NAMES.map((provider) => [provider, newSecret(provider)]));

function variable(provider: string): string {
  return `WEBHOOK_SECRET_${provider.toUpperCase().replaceAll("-", "_")}`;
}

const vars = {
  PUBLIC_URL,
  TOKEN_SECRET,
  WEBHOOK_VERIFY_TOKEN_META: "agreed on with meta",
  ...Object.fromEntries(PROVIDER_NAMES.map((name) => [variable(name), SECRETS.get(name) ?? ""])),
  ...Object.fromEntries(PROVIDER_NAMES.map((name) => [`${variable(name)}_PREVIOUS`, PREVIOUS.get(name) ?? ""])),
};

const worker = startWorker({ vars });

interface Sent {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body: string | Uint8Array<ArrayBuffer>;
}

/** What a provider sends: no token of ours, and the provider's own headers. */
async function post(to: WorkerUnderTest, source: string, { method, headers, body }: Sent) {
  const response = await fetch(new URL(`/hooks/${source}`, to.url()), { method, headers, body });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

function sample(provider: ProviderName, options: { secret?: string; body?: string; nowMs?: number } = {}) {
  const url = `${PUBLIC_URL}/hooks/${provider}`;
  return sampleOf(provider, { nowMs: Date.now(), url, secret: SECRETS.get(provider) ?? "", ...options });
}

const streamOf = (source: string) => `of-${source}`;

/** The stream of a source, and the source: one PUT each, as a newcomer does it. */
async function makeSource(provider: ProviderName, settings: object = {}, name: string = provider): Promise<Answer> {
  await worker.call("PUT", `/v1/streams/${streamOf(name)}`);
  const scheme = provider === "generic" ? { scheme: (await sample(provider)).scheme } : {};
  return worker.call("PUT", `/v1/webhooks/${name}`, { stream: streamOf(name), provider, ...scheme, ...settings });
}

async function messagesOf(source: string): Promise<
  readonly {
    id: string;
    type: string | null;
    attributes: Record<string, string>;
    data?: unknown;
    dataBase64?: string;
    datacontenttype?: string;
    key: string | null;
  }[]
> {
  return (await worker.call("GET", `/v1/streams/${streamOf(source)}/messages?limit=1000`)).json.messages;
}

/** The text of the last message's data as it is stored. */
async function storedBytes(source: string): Promise<Buffer> {
  const [[, fields] = ["", []]] = await nativeClient().xrevrange(
    `${worker.prefix}{${streamOf(source)}}`,
    "+",
    "-",
    "COUNT",
    1,
  );
  const data = fields[fields.indexOf("data") + 1] ?? "";
  return Buffer.from(data, fields[fields.indexOf("weir-encoding") + 1] === "base64" ? "base64" : "utf8");
}

describe.each(PROVIDER_NAMES)("%s", (provider) => {
  beforeAll(async () => {
    expect(await makeSource(provider, { typePrefix: "w." })).toMatchObject({ status: 201, json: { secretIs: "set" } });
  });

  test("is taken by one PUT: verified, appended, answered as it expects, its bytes kept", async () => {
    const sent = await sample(provider);
    const answer = await post(worker, provider, sent);
    expect([200, 202, 204], answer.text).toContain(answer.status);
    const message = (await messagesOf(provider)).at(-1);
    const { type, deliveryId } = sent.expected;
    expect(message).toMatchObject({
      type: type === null ? null : `w.${type}`,
      attributes: { "webhook-source": provider },
    });
    expect(message?.attributes["webhook-id"] ?? null).toBe(deliveryId);
    // Graph's body holds the secret, which must not be kept.
    if (provider !== "microsoft-graph") expect((await storedBytes(provider)).toString()).toBe(sent.body);
  });

  test("can be verified again from the stream, with either secret, also when its body is no text", async () => {
    const verified = async () => {
      const { id } = (await messagesOf(provider)).at(-1) ?? { id: "" };
      return (await worker.call("POST", `/v1/webhooks/${provider}/verify`, { id })).json;
    };
    await post(worker, provider, await sample(provider));
    expect(await verified()).toEqual({ verified: true, secret: "current" });
    const old = await post(
      worker,
      provider,
      await sample(provider, { secret: PREVIOUS.get(provider) ?? "", nowMs: Date.now() - 1_000 }),
    );
    expect(old.status, old.text).toBeLessThan(300);
    const native = nativeClient();
    const key = `${worker.prefix}{${streamOf(provider)}}`;
    const [[, fields] = ["", []]] = await native.xrevrange(key, "+", "-", "COUNT", 1);
    // Somebody changes a byte of what is stored.
    const at = fields.indexOf("data") + 1;
    const id = (await native.xadd(key, "*", ...fields.with(at, `${fields[at]} `))) ?? "";
    expect((await worker.call("POST", `/v1/webhooks/${provider}/verify`, { id })).json).toEqual({
      verified: false,
      secret: null,
    });
  });

  test("that is signed with another secret is refused, and nothing is kept", async () => {
    const length = (await messagesOf(provider)).length;
    const refused = await post(worker, provider, await sample(provider, { secret: newSecret(provider) }));
    expect(refused.status).toBe(401);
    expect(JSON.parse(refused.text)).toMatchObject({ code: "bad-signature" });
    expect((await messagesOf(provider)).length).toBe(length);
  });

  test("that comes five times at once is answered the same, and appended once where anything tells a repeat", async () => {
    // At a time that no other test has signed.
    const sent = await sample(provider, { nowMs: Date.now() - 20_000 });
    const { length } = await messagesOf(provider);
    const [first, ...more] = await Promise.all(Array.from({ length: 5 }, () => post(worker, provider, sent)));
    expect(first?.status).toBeLessThan(300);
    for (const again of more) expect([again.status, again.text]).toEqual([first?.status, first?.text]);
    const grown = (await messagesOf(provider)).length - length;
    const scheme = sent.scheme ?? PROVIDERS[provider].scheme;
    const hasSignedTime = scheme !== null && scheme.algorithm !== "shared-secret" && scheme.time !== undefined;
    // A sample's delivery id is always the same: the tests before have sent it.
    if (sent.expected.deliveryId !== null) expect([0, 1]).toContain(grown);
    else expect(grown).toBe(hasSignedTime ? 1 : 5);
  });
});

describe("a webhook", () => {
  test("becomes a message with the key that the source's settings point at", async () => {
    await makeSource("github", { key: { pointer: "/repository/full_name" } });
    await post(worker, "github", await signed({ body: '{"repository":{"full_name":"a/b"}}', delivery: "key-1" }));
    expect((await messagesOf("github")).at(-1)).toMatchObject({ key: "a/b" });
    await makeSource("github", { key: { header: "X-GitHub-Event" } });
    await post(worker, "github", await signed({ body: "{}", delivery: "key-2", event: "ping" }));
    expect((await messagesOf("github")).at(-1)).toMatchObject({ key: "ping" });
    await makeSource("github", { key: null });
  });

  test("costs three commands more than a plain message, in one round trip, once its source is known", async () => {
    await makeSource("github");
    const costs = async (send: () => Promise<{ headers: Headers }>) =>
      /desc="(.*)"/.exec((await send()).headers.get("server-timing") ?? "")?.[1];
    const produce = () =>
      worker.call("POST", `/v1/streams/${streamOf("github")}/messages`, { messages: [{ data: 1 }] });
    await produce();
    await post(worker, "github", await signed({ body: "{}", delivery: "cost-0" }));
    expect(await costs(produce)).toBe("2 commands, 1 round trip");
    const sent = await signed({ body: "{}", delivery: "cost-1" });
    expect(await costs(() => post(worker, "github", sent))).toBe("5 commands, 1 round trip");
    // A repeat runs into the gate.
    expect(await costs(() => post(worker, "github", sent))).toBe("2 commands, 1 round trip");
  });

  test("whose body is no JSON, or not even text, keeps its bytes and can be verified again", async () => {
    await makeSource("github");
    const bodies: readonly [type: string, body: Uint8Array<ArrayBuffer>, member: object][] = [
      ["application/x-www-form-urlencoded", Buffer.from("payload=%7B%7D&a=b"), { data: "payload=%7B%7D&a=b" }],
      ["application/json", Buffer.from("{ broken"), { dataBase64: "eyBicm9rZW4=" }],
      [
        "application/json",
        Buffer.from('\ufeff{"a":1}'),
        { dataBase64: Buffer.from('\ufeff{"a":1}').toString("base64") },
      ],
      ["application/octet-stream", Buffer.from([0, 255, 1]), { dataBase64: "AP8B" }],
      ["text/plain; charset=iso-8859-1", Buffer.from([0xe9]), { dataBase64: "6Q==" }],
      [
        "application/json",
        Buffer.from(`${"[".repeat(100)}${"]".repeat(100)}`),
        { datacontenttype: "application/json" },
      ],
    ];
    for (const [i, [type, body, member]] of bodies.entries()) {
      const sent = await signed({ body, delivery: `bytes-${i}`, type });
      expect((await post(worker, "github", sent)).status).toBe(200);
      const message = (await messagesOf("github")).at(-1);
      expect(message).toMatchObject(member);
      expect(await storedBytes("github")).toEqual(body);
      const { json } = await worker.call("POST", "/v1/webhooks/github/verify", { id: message?.id });
      expect(json, type).toEqual({ verified: true, secret: "current" });
    }
  });

  test("whose signed time is outside the tolerance is stale, before and after", async () => {
    await makeSource("stripe", { toleranceMs: 60_000 });
    for (const offMs of [-90_000, 90_000]) {
      const refused = await post(worker, "stripe", await sample("stripe", { nowMs: Date.now() + offMs }));
      expect(refused.status).toBe(400);
      expect(JSON.parse(refused.text)).toMatchObject({ code: "stale-webhook" });
    }
    await makeSource("stripe", { toleranceMs: null });
    expect((await post(worker, "stripe", await sample("stripe", { nowMs: Date.now() - 90_000 }))).status).toBe(200);
  });

  test("of a paused source is answered 200 and kept nowhere", async () => {
    await makeSource("github", { paused: true });
    const { length } = await messagesOf("github");
    expect((await post(worker, "github", await signed({ body: "{}", delivery: "paused" }))).status).toBe(200);
    expect(await messagesOf("github")).toHaveLength(length);
    await makeSource("github", { paused: null });
    expect((await post(worker, "github", await signed({ body: "{}", delivery: "paused" }))).status).toBe(200);
    expect(await messagesOf("github")).toHaveLength(length + 1);
  });

  test("whose ids are not remembered is appended each time", async () => {
    await makeSource("github", { dedupeWindowMs: 0 });
    const { length } = await messagesOf("github");
    const sent = await signed({ body: "{}", delivery: "twice" });
    for (let i = 0; i < 2; i++) await post(worker, "github", sent);
    expect(await messagesOf("github")).toHaveLength(length + 2);
    await makeSource("github", { dedupeWindowMs: null });
  });

  test("larger than any message may be is refused before it is read whole, and one above the stream's limit by that", async () => {
    await makeSource("github");
    const large = await signed({ body: Buffer.alloc(5 * 1024 * 1024, "x"), delivery: "large", type: "text/plain" });
    expect(JSON.parse((await post(worker, "github", large)).text)).toMatchObject({
      status: 413,
      code: "payload-too-large",
    });
    const above = await signed({ body: `"${"x".repeat(70_000)}"`, delivery: "above" });
    expect(JSON.parse((await post(worker, "github", above)).text)).toMatchObject({
      status: 413,
      code: "payload-too-large",
    });
    await worker.call("PUT", `/v1/streams/${streamOf("github")}`, { maxMessageBytes: 100_000 });
    expect((await post(worker, "github", above)).status).toBe(200);
  });

  test("to no source, by another method, or compressed is told what is wrong", async () => {
    await makeSource("github");
    for (const name of ["nobody", "a%2Fb", "%F0%9F%98%80", "x".repeat(200)]) {
      const { status, text } = await post(worker, name, { method: "POST", headers: {}, body: "{}" });
      expect([status, JSON.parse(text).code], name).toEqual([404, "not-found"]);
    }
    for (const method of ["PUT", "PATCH", "DELETE"]) {
      const refused = await fetch(new URL("/hooks/github", worker.url()), { method });
      expect([method, refused.status, refused.headers.get("allow")]).toEqual([method, 405, "GET, OPTIONS, POST"]);
    }
    const get = await fetch(new URL("/hooks/github", worker.url()));
    expect([get.status, get.headers.get("allow")]).toEqual([405, "POST"]);
    const sent = await signed({ body: "{}", delivery: "gzip" });
    const coded = await post(worker, "github", { ...sent, headers: { ...sent.headers, "content-encoding": "gzip" } });
    expect(coded.status).toBe(415);
  });

  test("to a source whose stream is gone is to come again, and is taken once the stream is there anew", async () => {
    await makeSource("linear", {}, "gone");
    await worker.call("DELETE", `/v1/streams/${streamOf("gone")}`);
    // Its secret is that of the name.
    expectProblem(await worker.call("GET", "/v1/webhooks/gone"), "unknown-stream");
    expect(
      (await worker.call("GET", "/v1/webhooks")).json.webhooks.map(({ name }: { name: string }) => name),
    ).toContain("gone");
    await worker.call("DELETE", "/v1/webhooks/gone");

    await makeSource("github");
    const sent = await signed({ body: "{}", delivery: "gone-1" });
    await post(worker, "github", sent);
    await worker.call("DELETE", `/v1/streams/${streamOf("github")}`);
    const refused = await post(worker, "github", sent);
    expect([refused.status, JSON.parse(refused.text).code]).toEqual([503, "redis-unavailable"]);
    expect(refused.headers.get("retry-after")).toBe("60");
    expect(refused.text).not.toContain(streamOf("github"));
    await worker.call("PUT", `/v1/streams/${streamOf("github")}`);
    // The predecessor's deliveries are none of the new one's.
    expect((await post(worker, "github", sent)).status).toBe(200);
    expect(await messagesOf("github")).toHaveLength(1);
  });

  test("to a full stream, or where the stream's key is another client's, is to come again", async () => {
    await makeSource("github");
    const path = `/v1/streams/${streamOf("github")}`;
    await worker.call("DELETE", path);
    await worker.call("PUT", path, { retention: { maxLength: 1 } });
    await worker.call("PUT", `${path}/groups/g`, { start: "earliest" });
    expect((await post(worker, "github", await signed({ body: "{}", delivery: "full-1" }))).status).toBe(200);
    const sent = await signed({ body: "{}", delivery: "full-2" });
    const full = await post(worker, "github", sent);
    expect([full.status, full.headers.get("retry-after")]).toEqual([503, "5"]);
    await worker.call("DELETE", `${path}/groups/g`);
    expect((await post(worker, "github", sent)).status).toBe(200);
    expect((await messagesOf("github")).at(-1)).toMatchObject({ attributes: { "webhook-id": "full-2" } });
    const key = `${worker.prefix}{${streamOf("github")}}`;
    await nativeClient().del(key);
    await nativeClient().set(key, "another client's");
    expect((await post(worker, "github", await signed({ body: "{}", delivery: "typed" }))).status).toBe(503);
    expectProblem(await worker.call("PUT", "/v1/webhooks/github", { paused: false }), "conflict");
    await nativeClient().del(key);
    await worker.call("PUT", path);
  });

  test("to a source without a secret is 501 and names the setting, and with a secret of the wrong form 500", async () => {
    await makeSource("stripe", {}, "un-set");
    expect((await worker.call("GET", "/v1/webhooks/un-set")).json).toMatchObject({
      secretIs: "missing",
      secretName: "WEBHOOK_SECRET_UN_SET",
      url: `${PUBLIC_URL}/hooks/un-set`,
    });
    const { status, text } = await post(worker, "un-set", await sample("stripe"));
    expect([status, JSON.parse(text)]).toEqual([
      501,
      expect.objectContaining({ code: "not-available", detail: expect.stringContaining("WEBHOOK_SECRET_UN_SET") }),
    ]);
    expectProblem(await worker.call("POST", "/v1/webhooks/un-set/verify", { id: "1-1" }), "not-available");
    // Another provider's secret is no key of Discord's.
    await makeSource("discord", {}, "github");
    const wrong = await post(worker, "github", await sample("discord"));
    expect([wrong.status, JSON.parse(wrong.text).code]).toEqual([500, "misconfigured"]);
    expect(wrong.text).toContain("WEBHOOK_SECRET_GITHUB");
    expect(wrong.text).not.toContain(SECRETS.get("github"));
    await makeSource("github");
  });
});

describe("a source", () => {
  test("says when it last received and last refused something, and why, at most a command a minute", async () => {
    await makeSource("vercel");
    const before = Date.now();
    await post(worker, "vercel", await sample("vercel", { secret: newSecret("vercel") }));
    await post(worker, "vercel", await sample("vercel"));
    const { json } = await worker.call("GET", "/v1/webhooks/vercel");
    // The tests above have been there within this minute.
    expect(json.lastReceivedAt).toBeGreaterThan(before - 60_000);
    expect(json.lastRefused).toMatchObject({ at: expect.any(Number), reason: "bad-signature" });
    expect((await worker.call("GET", "/v1/webhooks?limit=1000")).json.webhooks).toContainEqual(json);
  });

  test("is listed by name, page by page", async () => {
    const all = (await worker.call("GET", "/v1/webhooks?limit=1000")).json.webhooks.map(
      ({ name }: { name: string }) => name,
    );
    expect(all).toEqual([...all].sort());
    const paged: string[] = [];
    for (let cursor = ""; ; ) {
      const { webhooks, next } = (await worker.call("GET", `/v1/webhooks?limit=5${cursor}`)).json;
      paged.push(...webhooks.map(({ name }: { name: string }) => name));
      if (next === null) break;
      cursor = `&cursor=${next}`;
    }
    expect(paged).toEqual(all);
  });

  test("keeps what a PUT does not name, and null puts it back", async () => {
    const first = await makeSource("typeform", {
      typePrefix: "form.",
      dedupeWindowMs: 1_000,
      toleranceMs: 2_000,
      key: { header: "a" },
    });
    expect(first.json).toMatchObject({
      typePrefix: "form.",
      dedupeWindowMs: 1_000,
      toleranceMs: 2_000,
      key: { header: "a" },
      paused: false,
    });
    const second = await worker.call("PUT", "/v1/webhooks/typeform", { paused: true });
    expect(second).toMatchObject({ status: 200, json: { ...first.json, paused: true } });
    const third = await worker.call("PUT", "/v1/webhooks/typeform", {
      typePrefix: null,
      dedupeWindowMs: null,
      toleranceMs: null,
      paused: null,
      key: null,
    });
    expect(third.json).toMatchObject({
      typePrefix: "",
      dedupeWindowMs: 86_400_000,
      toleranceMs: 300_000,
      paused: false,
      key: null,
    });
  });

  test.each([
    ["no stream", { provider: "github" }, "stream"],
    ["no provider", { stream: "of-github" }, "provider"],
    ["another provider than there are", { stream: "of-github", provider: "git" }, "provider"],
    ["generic without a scheme", { stream: "of-github", provider: "generic" }, "scheme"],
    [
      "a scheme for another provider",
      { stream: "of-github", provider: "github", scheme: { algorithm: "shared-secret", secretAt: "bearer" } },
      "scheme",
    ],
    [
      "a scheme that is none",
      { stream: "of-github", provider: "generic", scheme: { algorithm: "md5" } },
      "scheme.algorithm",
    ],
    [
      "a scheme that signs no body",
      {
        stream: "of-github",
        provider: "generic",
        scheme: {
          algorithm: "hmac-sha256",
          signature: { header: "x", encoding: "hex" },
          signed: ["timestamp"],
          time: { header: "t", unit: "s" },
        },
      },
      "scheme.signed",
    ],
    [
      "a window of a year",
      { stream: "of-github", provider: "github", dedupeWindowMs: 365 * 86_400_000 },
      "dedupeWindowMs",
    ],
    ["a pointer that is none", { stream: "of-github", provider: "github", key: { pointer: "a" } }, "key"],
    ["a member that there is not", { stream: "of-github", provider: "github", secret: "x" }, "secret"],
  ])("with %s is refused, and the member named", async (_, body, member) => {
    const { errors } = expectProblem(await worker.call("PUT", "/v1/webhooks/never", body), "invalid-request");
    expect(errors?.map(({ path }: { path: string }) => path).join()).toContain(member);
    expectProblem(await worker.call("GET", "/v1/webhooks/never"), "not-found");
  });

  test("for a stream that there is not is refused; so is a name that is another one's previous secret", async () => {
    expectProblem(
      await worker.call("PUT", "/v1/webhooks/never", { stream: "none", provider: "github" }),
      "unknown-stream",
    );
    for (const name of ["github_previous", "github-PREVIOUS", "github.Previous"]) {
      expectProblem(
        await worker.call("PUT", `/v1/webhooks/${name}`, { stream: "of-github", provider: "github" }),
        "invalid-request",
      );
    }
  });

  test("is deleted with all that is remembered of it", async () => {
    await makeSource("intercom");
    await post(worker, "intercom", await sample("intercom"));
    expect(await worker.call("DELETE", "/v1/webhooks/intercom")).toMatchObject({ status: 204 });
    expectProblem(await worker.call("DELETE", "/v1/webhooks/intercom"), "not-found");
    expect((await post(worker, "intercom", await sample("intercom"))).status).toBe(404);
    const native = nativeClient();
    expect(await native.keys(`${worker.prefix}*:ids:*:intercom`)).toEqual([]);
    expect(
      Object.keys(await native.hgetall(`${worker.prefix}webhooks:states`)).filter((field) =>
        field.endsWith(":intercom"),
      ),
    ).toEqual([]);
  });

  test("is seen and changed only by who may: by its stream", async () => {
    await makeSource("square");
    const tokenOf = async (...scope: string[]) => {
      const { json } = await worker.call("POST", "/v1/tokens", { subject: "s", scope, expiresInMs: 60_000 });
      return { authorization: `Bearer ${json.token}` };
    };
    const path = "/v1/webhooks/square";
    const [own, other, reader, producer] = [
      await tokenOf("admin:of-square"),
      await tokenOf("admin:of-github"),
      await tokenOf("read:of-square"),
      await tokenOf("produce:*"),
    ];
    expect((await worker.call("GET", path, undefined, own)).status).toBe(200);
    expect((await worker.call("GET", path, undefined, reader)).status).toBe(200);
    for (const headers of [other, producer]) {
      expectProblem(await worker.call("GET", path, undefined, headers), "forbidden");
      expectProblem(await worker.call("POST", `${path}/verify`, { id: "1-1" }, headers), "forbidden");
    }
    for (const headers of [other, producer, reader]) {
      expectProblem(await worker.call("PUT", path, { paused: true }, headers), "forbidden");
      expectProblem(await worker.call("DELETE", path, undefined, headers), "forbidden");
    }
    // Neither taken from one's own stream into another's, nor the other way round.
    expectProblem(await worker.call("PUT", path, { stream: "of-github" }, own), "forbidden");
    expectProblem(await worker.call("PUT", path, { stream: "of-github" }, other), "forbidden");
    expectProblem(await worker.call("POST", `${path}/verify`, { id: "1-1", stream: "of-github" }, own), "forbidden");
    expect((await worker.call("PUT", path, { paused: false }, own)).status).toBe(200);
    const listed = async (headers: Record<string, string>) =>
      (await worker.call("GET", "/v1/webhooks", undefined, headers)).json.webhooks.map(
        ({ name }: { name: string }) => name,
      );
    expect(await listed(own)).toEqual(["square"]);
    expect(await listed(reader)).toEqual(["square"]);
    expect(await listed(producer)).toEqual([]);
  });
});

describe("nobody gets at another one's secret or source", () => {
  const tokenFor = async (...scope: string[]) => {
    const { json } = await worker.call("POST", "/v1/tokens", { subject: "s", scope, expiresInMs: 60_000 });
    return { authorization: `Bearer ${json.token}` };
  };

  test("by a name whose secret has the same setting", async () => {
    await makeSource("github");
    await worker.call("PUT", "/v1/streams/mine");
    const mine = await tokenFor("admin:mine");
    for (const name of ["GITHUB", "GitHub"]) {
      const refused = await worker.call("PUT", `/v1/webhooks/${name}`, { stream: "mine", provider: "x" }, mine);
      expectProblem(refused, "conflict");
    }
    await makeSource("standard-webhooks");
    const folded = await worker.call("PUT", "/v1/webhooks/standard.webhooks", { stream: "mine", provider: "x" }, mine);
    expect(expectProblem(folded, "conflict").detail).toContain("standard-webhooks");
  });

  test("by settings that cannot be read: they are the root token's to make anew, and providers are to come again", async () => {
    const native = nativeClient();
    await worker.call("PUT", "/v1/streams/mine");
    const mine = await tokenFor("admin:mine");
    for (const text of ["{", "[]", '{"provider":"newer"}', "\u0000"]) {
      await native.hset(`${worker.prefix}webhooks`, "unread", text);
      expectProblem(await worker.call("GET", "/v1/webhooks/unread"), "conflict");
      const taken = await worker.call("PUT", "/v1/webhooks/unread", { stream: "mine", provider: "x" }, mine);
      expectProblem(taken, "forbidden");
      const told = await post(worker, "unread", await signed({ body: "{}", delivery: "unread" }));
      expect([told.status, JSON.parse(told.text).code]).toEqual([503, "redis-unavailable"]);
      expect(told.headers.get("retry-after")).toBe("60");
      expect((await worker.call("GET", "/v1/webhooks")).json.webhooks).not.toContainEqual(
        expect.objectContaining({ name: "unread" }),
      );
      const anew = await worker.call("PUT", "/v1/webhooks/unread", { stream: "mine", provider: "github" });
      expect(anew.status).toBe(200);
    }
    await worker.call("DELETE", "/v1/webhooks/unread");
  });

  test("by what a message holds: a seal is no signature, and headers that hold secrets are no key and no id", async () => {
    await makeSource("gitlab");
    await post(worker, "gitlab", await sample("gitlab"));
    const message = (await messagesOf("gitlab")).at(-1);
    const seal = Buffer.from(message?.attributes["webhook-seal"] ?? "", "base64url").toString("hex");
    const body = (await storedBytes("gitlab")).toString();
    await makeSource("github", {}, "gitlab");
    const headers = { "content-type": "application/json", "x-hub-signature-256": `sha256=${seal}` };
    expect((await post(worker, "gitlab", { method: "POST", headers, body })).status).toBe(401);
    await makeSource("gitlab");
    for (const header of ["Authorization", "cookie", "Proxy-Authorization"]) {
      const stream = streamOf("generic");
      expectProblem(await worker.call("PUT", "/v1/webhooks/generic", { stream, key: { header } }), "invalid-request");
      const scheme = { algorithm: "shared-secret", secretAt: { header: "x-secret" }, id: { header } };
      const refused = await worker.call("PUT", "/v1/webhooks/generic", { stream, provider: "generic", scheme });
      expectProblem(refused, "invalid-request");
    }
  });

  test("and where the request holds it, it is kept nowhere, however it is written", async () => {
    const secret = SECRETS.get("generic") ?? "";
    const scheme = { algorithm: "shared-secret", secretAt: { pointer: "/token" }, id: { pointer: "/id" } };
    await makeSource("generic", { scheme, key: { pointer: "/token" } });
    const escaped = `\\u${secret.charCodeAt(0).toString(16).padStart(4, "0")}${secret.slice(1)}`;
    for (const body of [
      `{"token":"${secret}","id":"1"}`,
      `{"token":"${escaped}","id":"${secret}","n":{"${secret}":1}}`,
    ]) {
      const sent = { method: "POST", headers: { "content-type": "application/json" }, body };
      expect((await post(worker, "generic", sent)).status).toBe(200);
    }
    const native = nativeClient();
    const entries = await native.xrange(`${worker.prefix}{${streamOf("generic")}}`, "-", "+");
    expect(JSON.stringify(entries)).not.toContain(secret);
    expect(JSON.stringify(entries)).not.toContain(escaped);
  });
});

describe("what a source lacks is named", () => {
  test.each([
    ["x", "GET", "?crc_token=abc", 501, "WEBHOOK_SECRET_LACKS_X"],
    ["slack", "POST", "", 501, "WEBHOOK_SECRET_LACKS_SLACK"],
    ["meta", "GET", "?hub.mode=subscribe&hub.verify_token=a&hub.challenge=1", 501, "WEBHOOK_VERIFY_TOKEN_LACKS_META"],
  ] as const)("by %s", async (provider, method, query, status, name) => {
    await makeSource(provider, {}, `lacks-${provider}`);
    const body = method === "GET" ? {} : { body: '{"type":"url_verification","challenge":"abc"}' };
    const response = await fetch(new URL(`/hooks/lacks-${provider}${query}`, worker.url()), { method, ...body });
    expect(response.status).toBe(status);
    expect(await response.text()).toContain(name);
  });
});

describe("a handshake needs no Redis, and", () => {
  const ask = async (path: string, init: RequestInit = {}) => {
    // The first one in ten seconds looks which provider's the source is.
    await (await fetch(new URL(path, worker.url()), init)).text();
    const response = await fetch(new URL(path, worker.url()), init);
    if (response.status < 300) expect(response.headers.has("server-timing"), path).toBe(false);
    return { status: response.status, headers: response.headers, text: await response.text() };
  };

  test("Slack's challenge is answered 200 where it is signed, and refused otherwise", async () => {
    const body = JSON.stringify({
      type: "url_verification",
      challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
    });
    const { length } = await messagesOf("slack");
    const answer = await post(worker, "slack", await sample("slack", { body }));
    expect([answer.status, answer.text]).toEqual([200, expect.stringContaining("3eZbrw1aBm2rZgRNFdxV")]);
    expect((await post(worker, "slack", await sample("slack", { body, secret: newSecret("slack") }))).status).toBe(401);
    expect(await messagesOf("slack")).toHaveLength(length);
  });

  test("X, Meta, Microsoft Graph, Zoom, Discord and CloudEvents' OPTIONS are answered as they ask", async () => {
    const x = await ask("/hooks/x?crc_token=abc");
    expect([x.status, JSON.parse(x.text)]).toEqual([
      200,
      { response_token: expect.stringMatching(/^sha256=[A-Za-z0-9+/]{43}=$/) },
    ]);
    expect((await ask("/hooks/x?crc_token=%7B%22a%22%3A1%7D")).status).toBe(401);
    const meta = "/hooks/meta?hub.mode=subscribe&hub.challenge=1158201444";
    expect(await ask(`${meta}&hub.verify_token=agreed%20on%20with%20meta`)).toMatchObject({
      status: 200,
      text: "1158201444",
    });
    expect((await ask(`${meta}&hub.verify_token=wrong`)).status).toBe(401);
    const graph = await ask("/hooks/microsoft-graph?validationToken=Validation%3A%20Testing", { method: "POST" });
    expect([graph.status, graph.text, graph.headers.get("content-type")]).toEqual([
      200,
      "Validation: Testing",
      "text/plain; charset=utf-8",
    ]);
    expect(graph.headers.get("x-content-type-options")).toBe("nosniff");
    const zoom = await post(
      worker,
      "zoom",
      await sample("zoom", {
        body: JSON.stringify({
          event: "endpoint.url_validation",
          payload: { plainToken: "qgg8vlvZRS6UYooatFL8Aw" },
          event_ts: 1_654_503_849_680,
        }),
      }),
    );
    expect([zoom.status, JSON.parse(zoom.text)]).toEqual([
      200,
      { plainToken: "qgg8vlvZRS6UYooatFL8Aw", encryptedToken: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
    const options = await ask("/hooks/generic", {
      method: "OPTIONS",
      headers: { "webhook-request-origin": "eventgrid.azure.net" },
    });
    expect([options.status, options.headers.get("webhook-allowed-origin")]).toEqual([200, "eventgrid.azure.net"]);
    expect(await ask("/hooks/github", { method: "OPTIONS" })).toMatchObject({ status: 204, text: "" });
    expect((await ask("/hooks/github", { method: "HEAD" })).status).toBe(405);
  });
});

/** A webhook of GitHub's, under a delivery id of its own. */
function signed(of: { body: Sent["body"]; delivery: string; event?: string; type?: string }) {
  const signature = createHmac("sha256", SECRETS.get("github") ?? "")
    .update(of.body)
    .digest("hex");
  const headers = {
    "content-type": of.type ?? "application/json",
    "x-github-event": of.event ?? "push",
    "x-github-delivery": of.delivery,
    "x-hub-signature-256": `sha256=${signature}`,
  };
  return { method: "POST", headers, body: of.body };
}
