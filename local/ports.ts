// Ports of 127.0.0.1.
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Below those that systems give to outgoing connections (Linux from 32,768, others from 49,152). */
const [LEAST_PORT, MOST_PORT] = [10_000, 32_000];

/**
 * A port that nobody listens on at this moment, by chance: one that the system would give out might be the next outgoing
 * connection's, or another process's that asked as well, before it is used.
 *
 * @throws Error when no port is free, the system's own when one cannot be tried
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(LEAST_PORT, MOST_PORT);
    if (await isPortFree(port)) return port;
  }
  throw new Error(`no port from ${LEAST_PORT} to ${MOST_PORT} is free`);
}

/**
 * Whether a server could listen on the port now.
 *
 * @param port 1 to 65535
 * @throws the system's error when it is another than "address in use"
 */
export async function isPortFree(port: number): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EADDRINUSE") resolve(false);
    else reject(error);
  });
  server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  return promise;
}
