import { inspect } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { freePort } from "../../local/ports.ts";
import { startRedis } from "../../local/redis.ts";
import { startUpstash } from "../../local/upstash.ts";
import type { WeirError } from "../../shared/errors.ts";
import { ReplyError } from "../../shared/redis/connection.ts";
import { type Call, Redis } from "../../shared/redis/redis.ts";
import { defineScript, type ScriptCall } from "../../shared/redis/script.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { UpstashConnection } from "../../shared/redis/upstash.ts";
import { type Behaviour, brokenServer, httpAnswer } from "../support/broken-server.ts";
import { failure } from "../support/failure.ts";
import { temporaryDir } from "../support/folder.ts";
import { connectionAt, openAt, ownRedis } from "../support/own-redis.ts";
import type { TransportName } from "../support/redis.ts";
import { BOTH_TRANSPORTS } from "../support/redis.ts";
import { eventually } from "../support/wait.ts";

const PAYLOAD = "the-secret-payload";
const READ: Call = ["GET", PAYLOAD];
const WRITE: Call = ["XADD", "k", "*", "data", PAYLOAD];
const ASIDE: ScriptCall = { script: defineScript("aside", [], "return reply(nil)"), keys: [], args: [], isAside: true };
const SCRIPT: Call = { script: defineScript("nothing", [], "return reply(nil)"), keys: [], args: [PAYLOAD] };

const HTML = "<html><body>Bad Gateway</body></html>";
const answer = (bytes: string): Behaviour => ({ received: (socket) => void socket.write(bytes) });
const answerAndEnd = (bytes: string): Behaviour => ({ received: (socket) => void socket.end(bytes) });
const json = (body: string) => answerAndEnd(httpAnswer("200 OK", body));
const closing: Behaviour = { received: (socket) => void socket.end() };
const resetting: Behaviour = { received: (socket) => void socket.resetAndDestroy() };
const stalling: Behaviour = {};

/** Servers that got the whole request and lose the answer to it. */
const LOST_ANSWERS: Record<TransportName, Record<string, Behaviour>> = {
  tcp: {
    "closes the connection": closing,
    "resets the connection": resetting,
    "never answers": stalling,
    "answers something that is not Redis'": answer("SSH-2.0-OpenSSH_9.2\r\n"),
    "answers HTTP": answerAndEnd(httpAnswer("400 Bad Request", HTML, "text/html")),
    "answers half and closes": answerAndEnd("$100\r\nhalf of"),
    "answers half and stalls": answer("$100\r\nhalf of"),
  },
  rest: {
    "closes the connection": closing,
    "resets the connection": resetting,
    "never answers": stalling,
    "answers something that is not HTTP": answerAndEnd("SSH-2.0-OpenSSH_9.2\r\n"),
    "answers half and closes": answerAndEnd('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"result":'),
    "answers half and stalls": answer('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{"result":'),
    "answers the head and stalls": answer("HTTP/1.1 200 OK\r\n"),
    "answers 500 with HTML": answerAndEnd(httpAnswer("500 Internal Server Error", HTML, "text/html")),
    "answers 502 with HTML": answerAndEnd(httpAnswer("502 Bad Gateway", HTML, "text/html")),
    "answers 500 with an error of its own": answerAndEnd(httpAnswer("500 Oops", '{"error":"ERR internal"}')),
    "answers 503 with nothing": answerAndEnd(httpAnswer("503 Service Unavailable", "")),
    "answers 200 with HTML": answerAndEnd(httpAnswer("200 OK", HTML, "text/html")),
    "answers 200 with nothing": json(""),
    "answers null": json("null"),
    "answers an object": json('{"result":"T0s="}'),
    "answers too few results": json("[]"),
    "answers too many results": json('[{"result":1},{"result":2}]'),
    "answers neither result nor error": json("[{}]"),
    "answers null for an item": json("[null]"),
    "answers an error that is no text": json('[{"error":{}}]'),
    "answers a result that is no reply of Redis": json('[{"result":[true]}]'),
    "answers text that is not base64": json('[{"result":"1526919030474-0"}]'),
  },
};

const TIMEOUT_MS = 300;
/**
 * For those whose failure needs no timeout, and must not get one where the machine is busy; and for those that stall: time
 * enough for the request to arrive.
 */
const LONG_TIMEOUT_MS = 10_000;
const STALL_TIMEOUT_MS = 1_000;
const count = (text: string, part: string) => text.split(part).length - 1;

/** Everything that a log could show of an error: messages, causes and properties. */
const shown = (error: WeirError) => inspect(error, { depth: 20, showHidden: true, maxStringLength: null });

async function timed<T>(start: () => Promise<T>): Promise<[T, number]> {
  const started = performance.now();
  return [await start(), performance.now() - started];
}

describe.each(BOTH_TRANSPORTS)("over %s", (transport) => {
  describe.each(Object.entries(LOST_ANSWERS[transport]))("a server that %s", (name, behaviour) => {
    const timeoutMs = /stalls|never/.test(name) ? STALL_TIMEOUT_MS : LONG_TIMEOUT_MS;

    test.each([
      ["a read", READ, "redis-unavailable"],
      ["a write", WRITE, "outcome-unknown"],
      ["a script", SCRIPT, "outcome-unknown"],
    ])("fails %s at once or in time, sent once", async (_, call, code) => {
      const server = await brokenServer(behaviour);
      const redis = openAt(transport, server.port, timeoutMs);
      const [error, elapsedMs] = await timed(() => failure(redis.send(call)));
      expect(error).toMatchObject({ code, options: { retryAfterS: 1 } });
      expect(shown(error)).not.toContain(PAYLOAD);
      expect(elapsedMs).toBeLessThan(STALL_TIMEOUT_MS + 1_500);
      expect(count(server.received(), PAYLOAD)).toBe(1);
      expect(server.connections()).toBe(1);
      expect(redis.usage.roundTrips).toBe(1);
      expect(redis.usage.durationMs).toBeGreaterThan(0);
      expect(redis.usage.durationMs).toBeLessThanOrEqual(elapsedMs);
    });
  });

  test("the timeout is honoured: not earlier, and not much later", async () => {
    const server = await brokenServer(stalling);
    for (const timeoutMs of [200, 2_000]) {
      const redis = openAt(transport, server.port, timeoutMs);
      const [, elapsedMs] = await timed(() => failure(redis.send(READ)));
      expect(elapsedMs).toBeGreaterThan(timeoutMs - 10);
      expect(elapsedMs).toBeLessThan(timeoutMs + 1_500);
    }
  });

  test("one write in a pipeline of reads puts the whole in doubt", async () => {
    const server = await brokenServer(closing);
    const redis = openAt(transport, server.port, TIMEOUT_MS);
    expect(await failure(redis.pipeline([READ, READ]))).toMatchObject({ code: "redis-unavailable" });
    expect(await failure(redis.pipeline([READ, WRITE, READ]))).toMatchObject({ code: "outcome-unknown" });
  });

  test("a port where nobody listens: nothing was sent, so a write is not in doubt", async () => {
    const redis = openAt(transport, await freePort(), TIMEOUT_MS);
    for (const call of [READ, WRITE, SCRIPT]) {
      const error = await failure(redis.send(call));
      expect(error).toMatchObject({ code: "redis-unavailable", options: { retryAfterS: 1 } });
      expect(error.cause).toMatchObject({ message: expect.stringContaining("ECONNREFUSED") });
      expect(shown(error)).not.toContain(PAYLOAD);
    }
  });

  test("a failure in the middle, after something that writes, leaves that done, also where only reads are left", async () => {
    const own = await ownRedis();
    for (const [before, code] of [
      [WRITE, "outcome-unknown"],
      [READ, "redis-unavailable"],
    ] as const) {
      const redis = own.open(transport, TIMEOUT_MS);
      await redis.send(before);
      process.kill(own.redis.pid ?? 0, "SIGSTOP");
      onTestFinished(() => void process.kill(own.redis.pid ?? 0, "SIGCONT"));
      expect(await failure(redis.send(READ))).toMatchObject({ code });
      process.kill(own.redis.pid ?? 0, "SIGCONT");
    }
  });

  test("a server that closes at once, before anything was sent or after: an error, and nothing twice", async () => {
    const server = await brokenServer({ accepted: (socket) => void socket.end() });
    const redis = openAt(transport, server.port, TIMEOUT_MS);
    expect(await failure(redis.send(READ))).toMatchObject({ code: "redis-unavailable" });
    const before = count(server.received(), PAYLOAD);
    const error = await failure(redis.send(WRITE));
    expect(["outcome-unknown", "redis-unavailable"]).toContain(error.code);
    const sent = count(server.received(), PAYLOAD) - before;
    expect(sent).toBeLessThanOrEqual(1);
    if (sent === 1) expect(error.code).toBe("outcome-unknown");
    expect(server.connections()).toBe(2);
  });

  test("what ran beside a script that was missing stays in doubt when its second round trip fails", async () => {
    const noScript = transport === "tcp" ? "+OK\r\n-NOSCRIPT No matching script.\r\n" : undefined;
    const items = '[{"result":"OK"},{"error":"NOSCRIPT No matching script."}]';
    const server = await brokenServer({
      received: (socket, text) => {
        if (text.includes("EVALSHA")) socket.end(noScript ?? httpAnswer("200 OK", items));
        else socket.end();
      },
    });
    const redis = openAt(transport, server.port, TIMEOUT_MS);
    expect(await failure(redis.pipeline([["SET", "k", "v"], SCRIPT]))).toMatchObject({ code: "outcome-unknown" });
    expect(count(server.received(), "SET")).toBe(1);
    // Where only what is aside was missing, the rest was answered.
    const outcomes = await redis.pipeline([["SET", "k", "v"], ASIDE]);
    expect(outcomes).toEqual(["OK", expect.any(ReplyError)]);
  });

  test("an answer of a script that is aside leaves the others' outcomes as they are, also where it cannot be read", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    const odd = { script: defineScript("odd", [], "return 'x'"), keys: [], args: [] };
    const outcomes = await redis.pipeline([{ ...odd, isAside: true }, ["INCR", "n"], ASIDE]);
    expect(outcomes).toEqual([expect.any(ReplyError), 1, null]);
    expect(await failure(redis.send(odd))).toMatchObject({ code: "outcome-unknown" });
  });

  test("a fault is over when it is over: the same connection works once a real server is there", async () => {
    const dir = await temporaryDir();
    const broken = await brokenServer(stalling);
    const { port } = broken;
    const redis = openAt(transport, port, TIMEOUT_MS);
    expect(await failure(redis.send(WRITE))).toMatchObject({ code: "outcome-unknown" });
    await broken.close();
    expect(await failure(redis.send(WRITE))).toMatchObject({ code: "redis-unavailable" });
    const real = await startRedis(transport === "tcp" ? { dir, port } : { dir });
    try {
      const endpoint =
        transport === "rest" ? await startUpstash({ redisUrl: real.url, token: "own-token", port }) : undefined;
      try {
        expect(await redis.send(["INCR", "n"])).toBe(1);
        expect(await redis.send(["XLEN", "k"])).toBe(0);
      } finally {
        await endpoint?.close();
      }
    } finally {
      await real.stop();
    }
  });

  test("Redis restarts on its own data: errors in between, and what was written is still there", async () => {
    const dir = await temporaryDir();
    const first = await startRedis({ dir, persistent: true });
    const endpoint = await startUpstash({ redisUrl: first.url, token: "own-token" });
    let second: Awaited<ReturnType<typeof startRedis>> | undefined;
    try {
      const connection = connectionAt(transport, transport === "tcp" ? first.port : endpoint.port, 2_000);
      // One for each request.
      const send = (call: Call) => new Redis(connection).send(call);
      const id = await send(["XADD", "s", "*", "data", "kept"]);
      await first.stop();
      expect(await failure(send(["XLEN", "s"]))).toMatchObject({ code: "redis-unavailable" });
      // The endpoint can not tell whether the write reached its Redis; a refused connection can.
      const lost = transport === "tcp" ? "redis-unavailable" : "outcome-unknown";
      expect(await failure(send(["XADD", "s", "*", "data", "lost"]))).toMatchObject({ code: lost });
      second = await startRedis({ dir, persistent: true, port: first.port });
      expect(await send(["XRANGE", "s", "-", "+"])).toEqual([[id, ["data", "kept"]]]);
    } finally {
      await endpoint.close();
      await first.stop();
      await second?.stop();
    }
  });

  test("a restart that nobody noticed costs nothing: the next write just works", async () => {
    const dir = await temporaryDir();
    const first = await startRedis({ dir, persistent: true });
    const endpoint = await startUpstash({ redisUrl: first.url, token: "own-token" });
    let second: Awaited<ReturnType<typeof startRedis>> | undefined;
    try {
      const redis = openAt(transport, transport === "tcp" ? first.port : endpoint.port, 2_000);
      expect(await redis.send(["INCR", "n"])).toBe(1);
      await first.stop();
      second = await startRedis({ dir, persistent: true, port: first.port });
      expect(await redis.send(["INCR", "n"])).toBe(2);
    } finally {
      await endpoint.close();
      await first.stop();
      await second?.stop();
    }
  });

  test("a connection that Redis closed for idleness is made again, and no write is in doubt", async () => {
    const own = await ownRedis();
    const redis = own.open(transport);
    expect(await redis.send(["INCR", "n"])).toBe(1);
    // Many times, since ioredis notices a little later than it hears of it.
    for (let n = 2; n <= 40; n++) {
      await own.native.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await eventually("the connections are gone", async () => {
        const clients = String(await own.native.call("CLIENT", "LIST", "TYPE", "normal"));
        return clients.trim().split("\n").length === 1 || undefined;
      });
      expect(await redis.send(["INCR", "n"])).toBe(n);
    }
  });
});

describe("over tcp", () => {
  test("half of a pipeline's answers is no answer", async () => {
    const server = await brokenServer(answerAndEnd("+OK\r\n:1\r\n"));
    const redis = openAt("tcp", server.port, TIMEOUT_MS);
    const three: Call[] = [["SET", "k", PAYLOAD], WRITE, WRITE];
    const error = await failure(redis.pipeline(three));
    expect(error).toMatchObject({ code: "outcome-unknown" });
    expect(shown(error)).not.toContain(PAYLOAD);
    expect(server.connections()).toBe(1);
    expect(count(server.received(), PAYLOAD)).toBe(3);
  });

  test("a password that is missing or wrong is a matter of credentials, and is not shown", async () => {
    const own = await ownRedis();
    await own.native.config("SET", "requirepass", "right-password");
    const open = (user: string) => {
      const url = `redis://${user}127.0.0.1:${own.redis.port}`;
      const connection = new TcpConnection({ url, timeoutMs: 5_000 });
      onTestFinished(() => connection.close());
      return new Redis(connection);
    };
    for (const user of ["", ":wrong-password@", "nobody:wrong-password@"]) {
      for (const call of [READ, WRITE, SCRIPT]) {
        const error = await failure(open(user).send(call));
        expect(error).toMatchObject({ code: "redis-unavailable", message: expect.stringContaining("credentials") });
        expect(shown(error)).not.toMatch(/wrong-password|right-password|the-secret-payload/);
      }
    }
    expect(await open(":right-password@").send(["GET", "none"])).toBeNull();
    expect(await own.native.dbsize()).toBe(0);
  });

  test("a database that is not there is an error, not database 0", async () => {
    const own = await ownRedis();
    const connection = new TcpConnection({ url: `${own.redis.url}/99`, timeoutMs: 5_000 });
    onTestFinished(() => connection.close());
    await failure(new Redis(connection).send(WRITE));
    expect(await own.native.dbsize()).toBe(0);
  });
});

describe("over rest", () => {
  test("a wrong token is a matter of credentials, and neither token is shown", async () => {
    const own = await ownRedis();
    const { url } = own.upstash;
    const redis = new Redis(new UpstashConnection({ url, token: "wrong-token", timeoutMs: 5_000 }));
    for (const call of [READ, WRITE, SCRIPT]) {
      const error = await failure(redis.send(call));
      expect(error).toMatchObject({ code: "redis-unavailable", message: expect.stringContaining("credentials") });
      expect(shown(error)).not.toMatch(/wrong-token|own-token|the-secret-payload/);
    }
    expect(await own.native.dbsize()).toBe(0);
  });

  test("a request above 10 MB is too large, and nothing of it is written", async () => {
    const own = await ownRedis();
    const redis = own.open("rest");
    const half = "x".repeat(5.5 * 1024 * 1024);
    const error = await failure(
      redis.pipeline([
        ["SET", "a", half],
        ["SET", "b", half],
      ]),
    );
    expect(error).toMatchObject({ code: "payload-too-large" });
    expect(shown(error).length).toBeLessThan(10_000);
    expect(await own.native.dbsize()).toBe(0);
    expect(await redis.send(["SET", "a", half])).toBe("OK");
  });

  test("an answer above 10 MB is told apart from a used-up quota", async () => {
    const redis = (await ownRedis()).open("rest");
    await redis.pipeline([["SET", "a", "x".repeat(6 * 1024 * 1024)]]);
    await redis.pipeline([["APPEND", "a", "x".repeat(6 * 1024 * 1024)]]);
    expect(await failure(redis.send(["GET", "a"]))).toMatchObject({ code: "payload-too-large" });
  });

  test.each(["ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.", "ERR max requests limit exceeded."])(
    "a used-up quota is told as such, with a time to try again: %s",
    async (text) => {
      const refused = await brokenServer(answerAndEnd(httpAnswer("400 Bad Request", JSON.stringify({ error: text }))));
      const perItem = await brokenServer(json(JSON.stringify([{ error: text }])));
      for (const { port } of [refused, perItem]) {
        const error = await failure(openAt("rest", port).send(WRITE));
        expect(error).toMatchObject({ code: "redis-unavailable", options: { retryAfterS: 60 } });
        expect(error.message).toContain("quota");
      }
      expect(count(refused.received(), PAYLOAD)).toBe(1);
    },
  );

  test.each([521, 523, 525, 526, 530, 1016, 1033])(
    "Cloudflare's edge could not connect (%i): nothing ran",
    async (code) => {
      const behaviour = answerAndEnd(httpAnswer(`${Math.min(code, 530)} Edge`, `error code: ${code}\n`, "text/plain"));
      const server = await brokenServer(behaviour);
      for (const call of [READ, WRITE, SCRIPT]) {
        const error = await failure(openAt("rest", server.port).send(call));
        expect(error).toMatchObject({ code: "redis-unavailable", options: { retryAfterS: 1 } });
      }
    },
  );

  test.each([520, 522, 524])("Cloudflare's edge got no answer (%i): a write is in doubt", async (code) => {
    const server = await brokenServer(answerAndEnd(httpAnswer(`${code} Edge`, `error code: ${code}`, "text/plain")));
    expect(await failure(openAt("rest", server.port).send(READ))).toMatchObject({ code: "redis-unavailable" });
    expect(await failure(openAt("rest", server.port).send(WRITE))).toMatchObject({ code: "outcome-unknown" });
  });

  test("what ran beside a missing script is in doubt even when the second request is refused; a read is not", async () => {
    const first = '[{"result":"OK"},{"error":"NOSCRIPT No matching script."}]';
    const server = await brokenServer({
      received: (socket, text) => {
        const refused = httpAnswer("400 Bad Request", '{"error":"ERR max requests limit exceeded."}');
        socket.end(text.includes("EVALSHA") ? httpAnswer("200 OK", first) : refused);
      },
    });
    const run = (calls: Call[]) => failure(openAt("rest", server.port).pipeline(calls));
    expect(await run([WRITE, SCRIPT])).toMatchObject({ code: "outcome-unknown", options: { retryAfterS: 60 } });
    expect(await run([READ, SCRIPT])).toMatchObject({ code: "redis-unavailable", options: { retryAfterS: 60 } });
  });

  test("an endpoint whose own Redis is gone leaves a write in doubt", async () => {
    const own = await ownRedis();
    await own.open("rest").send(WRITE);
    await own.redis.stop();
    expect(await failure(own.open("rest").send(WRITE))).toMatchObject({ code: "outcome-unknown" });
    expect(await failure(own.open("rest").send(READ))).toMatchObject({ code: "redis-unavailable" });
  });
});
