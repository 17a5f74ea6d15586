import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, inject, test } from "vitest";

const run = promisify(execFile);

/** A process of its own imports both adapters, as the Worker does, uses one and lists the modules that are loaded. */
async function loadedModules(construct: string): Promise<string[]> {
  const folder = join(import.meta.dirname, "../../shared/redis");
  const program = `
    import { createRequire } from "node:module";
    import { TcpConnection } from ${JSON.stringify(join(folder, "tcp.ts"))};
    import { UpstashConnection } from ${JSON.stringify(join(folder, "upstash.ts"))};
    const connection = ${construct};
    const [answer] = await connection.run([["PING"]]);
    await connection.close();
    const loaded = Object.keys(createRequire(${JSON.stringify(import.meta.filename)}).cache);
    console.log(JSON.stringify({ answer, loaded }));`;
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", program]);
  const { answer, loaded } = JSON.parse(stdout);
  expect(answer).toBe("PONG");
  return loaded.filter((path: string) => path.includes("/node_modules/ioredis/"));
}

test("ioredis is not loaded where REST is used, though both adapters are imported", async () => {
  const options = JSON.stringify({ ...inject("upstash"), timeoutMs: 10_000 });
  expect(await loadedModules(`new UpstashConnection(${options})`)).toEqual([]);
});

test("ioredis is loaded by the first command over TCP, which shows that the check above can fail", async () => {
  const options = JSON.stringify({ url: inject("redisUrl"), timeoutMs: 10_000 });
  expect(await loadedModules(`new TcpConnection(${options})`)).not.toEqual([]);
});
