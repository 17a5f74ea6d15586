import { getEventListeners } from "node:events";
import type { Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { WeirClient } from "../../client/client.ts";
import { AccessError, InvalidRequestError, NoAnswerError, WeirError } from "../../client/errors.ts";
import type { Fetch } from "../../client/http.ts";
import { freePort } from "../../local/ports.ts";
import { brokenServer, httpAnswer } from "../support/broken-server.ts";
import { clientOf, errorOf, hurry, network, problem } from "../support/client.ts";
import { eventually } from "../support/wait.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

const worker = startWorker({ vars: { TOKEN_SECRET: "a secret of the tests with 32 characters" } });

beforeAll(async () => {
  await clientOf(worker).stream("orders").put();
});

/** Something that answers what it is told, without a network. */
function answering(status: number, body: string, contentType = "application/json") {
  const urls: string[] = [];
  const fetch: Fetch = async (url) => {
    urls.push(url);
    return { status, headers: new Headers({ "content-type": contentType }), text: async () => body };
  };
  return { fetch, urls };
}

/** A network that looks at no signal, and a token or an answer that never comes. */
const never = () => new Promise<never>(() => undefined);

describe("broken servers", () => {
  const cases: [string, (socket: Socket) => void][] = [
    ["closes the connection", (socket) => socket.destroy()],
    ["answers what is no HTTP", (socket) => socket.end("220 smtp.example.com ESMTP\r\n")],
    ["never answers", () => undefined],
    ["never ends the head of its answer", (socket) => socket.write("HTTP/1.1 200 OK\r\nContent-")],
    [
      "never ends the body",
      (socket) =>
        socket.write('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"name":"orders"'),
    ],
    [
      "cuts the body",
      (socket) =>
        socket.end('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"name":"ord'),
    ],
    [
      "cuts a body of no stated length",
      (socket) =>
        socket.end('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"name":"p4yl0ad'),
    ],
    [
      "cuts a body in chunks",
      (socket) =>
        socket.end(
          'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n',
        ),
    ],
  ];

  test.each(cases)("one that %s is no answer, within timeoutMs, and is asked again", async (_, received) => {
    let requests = 0;
    const { port } = await brokenServer({
      received: (socket) => {
        requests++;
        received(socket);
      },
    });
    const weir = new WeirClient({ url: `http://127.0.0.1:${port}`, token: "s3cret", timeoutMs: 100, retry: 1 });
    const error = await errorOf(weir.stream("orders").produce({ data: "p4yl0ad" }));
    expect(error).toBeInstanceOf(NoAnswerError);
    expect(error.message).toMatch(new RegExp(`no answer from http://127.0.0.1:${port} \\(.+\\)$`));
    expect(error.message).not.toMatch(/s3cret|p4yl0ad/);
    // The second is what asks for the stream's window.
    expect(requests).toBe(2);
  });

  test("one that mends is met by the repeat", async () => {
    let requests = 0;
    const answer = httpAnswer("201 Created", '{"ids":["1-0"]}');
    const stream = httpAnswer("200 OK", '{"config":{"dedupeWindowMs":300000}}');
    const { port, received } = await brokenServer({
      received: (socket, text) => {
        if (requests++ === 0) socket.destroy();
        else socket.end(text.startsWith("GET") ? stream : answer);
      },
    });
    const weir = new WeirClient({ url: `http://127.0.0.1:${port}`, token: "t" });
    expect(await weir.stream("orders").produce({ data: 1 })).toEqual(["1-0"]);
    const keys = received().match(/idempotency-key: \S+/gi);
    expect(keys).toEqual([keys?.[0], keys?.[0]]);
  });

  test("none at all is no answer either", async () => {
    for (const host of ["127.0.0.1", "localhost"]) {
      const weir = new WeirClient({ url: `http://${host}:${await freePort()}`, token: "t", retry: 0 });
      const error = await errorOf(weir.token());
      expect(error).toBeInstanceOf(NoAnswerError);
      expect(error.message).toContain("ECONNREFUSED");
    }
  });
});

describe("time", () => {
  test("that a request may take holds for a fetch, a body and a token that look at no signal", async () => {
    const token = ROOT_TOKEN;
    const headers = new Headers({ "content-type": "application/json" });
    const clients = [
      clientOf(worker, { fetch: never, retry: 0 }),
      clientOf(worker, { fetch: async () => ({ status: 200, headers, text: never }), retry: 0 }),
      clientOf(worker, { token: never, retry: 0 }),
    ];
    for (const weir of clients) {
      const error = await hurry({ isBusy: () => false }, () => errorOf(weir.token({ timeoutMs: 100 })));
      expect(error).toBeInstanceOf(NoAnswerError);
      expect(error.message).toContain("none within 100 ms");
    }
    expect(await clientOf(worker, { token, timeoutMs: Number.POSITIVE_INFINITY }).token()).toMatchObject({
      scope: ["root"],
    });
    expect(await clientOf(worker).token({ timeoutMs: 2 ** 40 })).toMatchObject({ scope: ["root"] });
  });

  test.each([{ timeoutMs: 0 }, { timeoutMs: Number.NaN }, { timeoutMs: -1 }, { retry: -1 }, { retry: Number.NaN }])(
    "and repeats are numbers that can be meant: not %j",
    async (options) => {
      expect(() => clientOf(worker, options)).toThrow(TypeError);
      await expect(clientOf(worker).token(options)).rejects.toThrow(TypeError);
      await expect(clientOf(worker).stream("orders").produce({ data: 1 }, options)).rejects.toThrow(TypeError);
    },
  );
});

describe("a signal", () => {
  const reason = new Error("enough");

  test("that is aborted before sends nothing, and throws its own reason", async () => {
    const net = network(() => undefined);
    const stream = clientOf(worker, { fetch: net.fetch }).stream("orders");
    const options = { signal: AbortSignal.abort(reason) };
    for (const work of [
      stream.get(options),
      stream.produce({ data: 1 }, options),
      stream.messages({}, options).toArray(),
    ]) {
      await expect(work).rejects.toBe(reason);
    }
    await expect(stream.get({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect(net.sent).toHaveLength(0);
  });

  test.each([
    ["a request", () => clientOf(worker, { fetch: network(() => "no-end").fetch })],
    ["a fetch that does not look at it", () => clientOf(worker, { fetch: never })],
    ["the token's function", () => clientOf(worker, { token: never })],
    ["the pause between two", () => clientOf(worker, { fetch: network(() => "no-connection").fetch })],
  ])("throws its own reason at once during %s, and leaves no listener and no timer", async (during, client) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const controller = new AbortController();
      const { signal } = controller;
      const work = client().stream("orders").get({ signal });
      const ended = expect(work).rejects.toBe(reason);
      // A turn, so that a request which fails at once is over, and the pause has begun.
      await setImmediate();
      await eventually(during, () => vi.getTimerCount() > 0 && getEventListeners(signal, "abort").length === 1);
      // What runs beside the tests in this process, such as wrangler, has timers too.
      const timers = vi.getTimerCount();
      controller.abort(reason);
      await ended;
      expect(getEventListeners(signal, "abort")).toEqual([]);
      expect(vi.getTimerCount()).toBe(timers - 1);
    } finally {
      vi.useRealTimers();
    }
  });

  test("that is aborted while the token is asked for sends nothing when that comes", async () => {
    const controller = new AbortController();
    const { promise, resolve } = Promise.withResolvers<string>();
    const net = network(() => undefined);
    const work = clientOf(worker, { fetch: net.fetch, token: () => promise }).token({ signal: controller.signal });
    controller.abort(reason);
    await expect(work).rejects.toBe(reason);
    resolve(ROOT_TOKEN);
    await promise;
    await clientOf(worker).health();
    expect(net.sent).toHaveLength(0);
  });

  test("ends the repeats while the stream's window is asked for", async () => {
    const controller = new AbortController();
    const net = network(({ number }) => {
      if (number === 2) controller.abort(reason);
      return number === 1 ? "lost-answer" : "no-end";
    });
    const { signal } = controller;
    const produce = () => clientOf(worker, { fetch: net.fetch }).stream("orders").produce({ data: 1 }, { signal });
    await expect(hurry(net, produce)).rejects.toBe(reason);
    expect(net.sent.map(({ method }) => method)).toEqual(["POST", "GET"]);
  });

  test("that is never aborted is left as it was, by what goes well and what does not, 200 at a time", async () => {
    const { signal } = new AbortController();
    const warned = vi.fn();
    process.on("warning", warned);
    const stream = clientOf(worker).stream("orders");
    const none = clientOf(worker).stream("none");
    const works = Array.from({ length: 100 }, () => [stream.get({ signal }), errorOf(none.get({ signal }))]);
    await Promise.all(works.flat());
    process.off("warning", warned);
    expect(getEventListeners(signal, "abort")).toEqual([]);
    expect(warned).not.toHaveBeenCalled();
  });

  test("that lives long, and 10,000 requests on it, leave no memory behind", async () => {
    setFlagsFromString("--expose-gc");
    const collect: unknown = runInNewContext("gc");
    if (typeof collect !== "function") throw new Error("there is no gc()");
    const { signal } = new AbortController();
    const { fetch, urls } = answering(200, "{}");
    const failing = network(() => problem(404, "unknown-stream")).fetch;
    const work = async (count: number) => {
      for (let i = 0; i < count; i++) {
        await new WeirClient({ url: "http://weir.test", token: async () => "t", fetch }).token({ signal });
        await new WeirClient({ url: "http://weir.test", token: "t", fetch })
          .stream("s")
          .produce({ data: i }, { signal });
        if (i % 50 === 0) await errorOf(clientOf(worker, { fetch: failing }).token({ signal }));
      }
      urls.length = 0;
      await clientOf(worker).health();
      collect();
      return process.memoryUsage().heapUsed;
    };
    const before = await work(1_000);
    const after = await work(5_000);
    // A closure a request would be 100 bytes and more: 1 MB.
    expect(after - before).toBeLessThan(500_000);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});

describe("a token", () => {
  test("that is a function is asked for each request, and each repeat", async () => {
    const tokens: string[] = [];
    const token = async () => {
      tokens.push(ROOT_TOKEN);
      return ROOT_TOKEN;
    };
    const net = network(({ number }) => (number === 2 ? "no-connection" : undefined));
    const weir = clientOf(worker, { token, fetch: net.fetch });
    await weir.token();
    await hurry(net, () => weir.token());
    expect(tokens).toHaveLength(3);
  });

  test("that has ended is asked for anew, once, without a pause, also for what is never repeated", async () => {
    const old = "ended";
    const given = [old, ROOT_TOKEN, old, old, old];
    const net = network(() => undefined);
    const group = clientOf(worker, { token: () => given.shift() ?? "", fetch: net.fetch })
      .stream("orders")
      .group("g");
    // 404: it got in.
    expect(await errorOf(group.claim({ consumer: "c" }))).toMatchObject({ code: "unknown-group" });
    expect(await errorOf(group.claim({ consumer: "c" }))).toMatchObject({ code: "unauthenticated" });
    expect(net.sent).toHaveLength(4);
    expect(given).toEqual([old]);
  });

  test("whose function throws is not repeated: the request throws that very error", async () => {
    const broken = new Error("no identity today");
    const token = vi.fn(() => Promise.reject(broken));
    const net = network(() => undefined);
    await expect(clientOf(worker, { token, fetch: net.fetch }).token()).rejects.toBe(broken);
    const sync = () => {
      throw broken;
    };
    await expect(clientOf(worker, { token: sync, fetch: net.fetch }).token()).rejects.toBe(broken);
    expect(token).toHaveBeenCalledTimes(1);
    expect(net.sent).toHaveLength(0);
  });

  test.each(["", "s3cret\r\nx: y", "s3cret s3cret", "s3cret\u0000", "s3crét😀"])(
    "that no header can hold is told, never shown: %j",
    async (token) => {
      const net = network(() => undefined);
      const error = await errorOf(clientOf(worker, { token, fetch: net.fetch }).token());
      expect(error).toBeInstanceOf(AccessError);
      expect(error.code).toBe("unauthenticated");
      expect(`${error.message}${error.stack}${String(error.cause)}`).not.toContain("s3cr");
      expect(net.sent).toHaveLength(0);
    },
  );
});

describe("names and urls", () => {
  test.each(["", ".", "..", "\ud800"])("%j is refused before anything is sent: no URL can hold it", async (name) => {
    const { fetch, urls } = answering(200, "{}");
    const weir = clientOf(worker, { fetch });
    const stream = weir.stream("orders");
    for (const make of [() => weir.stream(name), () => stream.group(name), () => weir.webhook(name)]) {
      expect(make).toThrow(InvalidRequestError);
    }
    // What answers a promise fails as one.
    const works = [
      stream.message(name),
      stream.event(name),
      stream.deleteMessage(name),
      stream.states(name),
      stream.scheduledMessage(name),
      stream.cancelScheduled(name),
      stream.group("g").removeConsumer(name),
      stream.group("g").deadLetter(name),
    ];
    const errors = await Promise.all(works.map(errorOf));
    expect(errors.every((error) => error instanceof InvalidRequestError)).toBe(true);
    expect(urls).toEqual([]);
  });

  test.each(["a/b", "😀", "a b", "%2e%2e", "..%2f", "a?b#c", "ä", "@x"])(
    "%j is one name on its way, and for Weir to refuse",
    async (name) => {
      const error = await errorOf(clientOf(worker).stream(name).get());
      expect(error).toMatchObject({ code: "invalid-request", errors: [{ path: "stream" }] });
      expect(await errorOf(clientOf(worker).stream("orders").group(name).get())).toMatchObject({
        errors: [{ path: "group" }],
      });
    },
  );

  test.each([
    ["http://weir.test", "http://weir.test/v1/token"],
    ["http://weir.test///", "http://weir.test/v1/token"],
    ["https://user:pass@weir.test:8443/some/path//", "https://weir.test:8443/some/path/v1/token"],
    [new URL("https://weir.test/a%20b/?q=1#f"), "https://weir.test/a%20b/v1/token"],
  ])("%s is where requests go to", async (url, expected) => {
    const { fetch, urls } = answering(200, "{}");
    await new WeirClient({ url, token: "t", fetch }).token();
    expect(urls).toEqual([expected]);
  });

  test.each(["weir.example.com", "localhost:8787", "", "/v1", "ftp://weir.test", "file:///x"])(
    "%j is no url",
    (url) => {
      expect(() => new WeirClient({ url, token: "t" })).toThrow(TypeError);
    },
  );

  test("a query is sent encoded, and what is undefined is not", async () => {
    const { fetch, urls } = answering(200, '{"messages":[],"next":null}');
    const query = { start: "2026-01-31T12:00:00+01:00", end: undefined, limit: 5 };
    await clientOf(worker, { fetch }).stream("s").messages(query).toArray();
    expect(new URL(urls[0] ?? "").search).toBe("?start=2026-01-31T12%3A00%3A00%2B01%3A00&limit=5");
  });
});

describe("what cannot be sent", () => {
  test("a header that would be quoted in an error, and JSON that is none, are refused without a repeat", async () => {
    const net = network(() => undefined);
    const stream = clientOf(worker, { fetch: net.fetch }).stream("orders");
    const bad = "p4yl0ad\r\nx: y";
    const contentType = "text/plain";
    for (const work of [
      () => stream.produce({ data: 1 }, { idempotencyKey: bad }),
      () => stream.produceBody("x", { contentType: bad }),
      () => stream.produceBody("x", { contentType, headers: { "ce-id": bad } }),
      () => stream.produceBody("x", { contentType, headers: { [bad]: "1" } }),
      () => stream.produceBody("x", { contentType, headers: { "ce-id": "😀" } }),
    ]) {
      const error = await errorOf(work());
      expect(error).toBeInstanceOf(InvalidRequestError);
      expect(error.cause).toBeUndefined();
    }
    await expect(stream.produce({ data: 1n })).rejects.toThrow(TypeError);
    const circular: unknown[] = [];
    circular.push(circular);
    await expect(stream.produce({ data: circular })).rejects.toThrow(TypeError);
    expect(net.sent).toHaveLength(0);
    expect(await errorOf(stream.produce({ data: 1 }, { idempotencyKey: "" }))).toMatchObject({
      code: "invalid-request",
    });
  });
});

describe("fetch", () => {
  test("of a service binding is called as its method, a function as nobody's", async () => {
    const answer = answering(200, "{}");
    const calledOn: unknown[] = [];
    const binding = {
      fetch(...args: Parameters<Fetch>) {
        calledOn.push(this);
        return answer.fetch(...args);
      },
    };
    await clientOf(worker, { fetch: binding }).token();
    await clientOf(worker, { fetch: binding.fetch }).token();
    expect(calledOn).toEqual([binding, undefined]);
  });

  afterEach(() => vi.unstubAllGlobals());

  test("of the runtime is looked up for each request, so that what is put in its place counts", async () => {
    const weir = clientOf(worker);
    vi.stubGlobal("fetch", answering(200, '{"scope":["stubbed"]}').fetch);
    expect(await weir.token()).toEqual({ scope: ["stubbed"] });
  });

  test("that throws at once is no answer", async () => {
    const fetch = () => {
      throw new TypeError("s0 broken");
    };
    const error = await errorOf(clientOf(worker, { fetch, retry: 0 }).token());
    expect(error).toBeInstanceOf(NoAnswerError);
    expect(error).toBeInstanceOf(WeirError);
    expect(error.message).toContain("s0 broken");
  });

  test("that tried several addresses is told by its code: the error itself says nothing", async () => {
    const cause = Object.assign(new AggregateError([]), { code: "ECONNREFUSED" });
    const fetch = () => Promise.reject(new TypeError("fetch failed", { cause }));
    const error = await errorOf(clientOf(worker, { fetch, retry: 0 }).token());
    expect(error.message).toMatch(/\(ECONNREFUSED\)$/);
  });
});
