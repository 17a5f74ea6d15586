import { expect, inject, test } from "vitest";
import { ConnectionPool } from "../../shared/redis/pool.ts";
import { TcpConnection } from "../../shared/redis/tcp.ts";
import { nativeClient, uniquePrefix } from "../support/redis.ts";

/** A pool whose connections can be told apart in Redis. */
function openPool(size: number) {
  const url = new URL(inject("redisUrl"));
  const native = nativeClient();
  const name = uniquePrefix();
  const pool = new ConnectionPool(() => new TcpConnection({ url: url.href, timeoutMs: 10_000 }), size);
  const idOf = async () => Number((await pool.run([["CLIENT", "ID"]]))[0]);
  return { pool, native, name, idOf };
}

test("what is sent in one turn stays on one connection, whose answers come in order", async () => {
  const { pool, idOf } = openPool(4);
  const ids = await Promise.all(Array.from({ length: 20 }, idOf));
  expect(new Set(ids).size).toBe(1);
  await pool.close();
});

test("a connection that waits for a long answer holds up no other", async () => {
  const { pool, native, name, idOf } = openPool(2);
  const busy = idOf();
  const slow = pool.run([["XREAD", "BLOCK", 10_000, "STREAMS", name, "$"]]);
  const blocked = await busy;
  // While the first is busy, all else goes over the second.
  expect(await idOf()).not.toBe(blocked);
  expect(await idOf()).not.toBe(blocked);
  await native.xadd(name, "*", "a", "1");
  expect(await slow).toMatchObject([[[name, [[expect.any(String), ["a", "1"]]]]]]);
  await pool.close();
});

test("a connection that is lost is made anew, and the others stay as they are", async () => {
  const { pool, native, idOf } = openPool(2);
  const lost = await idOf();
  await native.call("CLIENT", "KILL", "ID", lost);
  // At most one request meets the end of the connection.
  await idOf().catch(() => undefined);
  expect(await idOf()).not.toBe(lost);
  expect(await idOf()).not.toBe(lost);
  await pool.close();
});
