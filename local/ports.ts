// Ports of 127.0.0.1.
import { createServer } from "node:net";

/**
 * A port that nobody listens on at this moment; somebody else may still take it before it is used.
 *
 * @returns a port number
 */
export async function freePort(): Promise<number> {
  return bindOnce(0);
}

/**
 * Whether a server could listen on the port now.
 *
 * @param port 1 to 65535
 * @throws the system's error when it is another than "address in use"
 */
export async function isPortFree(port: number): Promise<boolean> {
  try {
    await bindOnce(port);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") return false;
    throw error;
  }
}

async function bindOnce(port: number): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const server = createServer();
  server.once("error", reject);
  server.listen(port, "127.0.0.1", () => {
    const address = server.address();
    const bound = typeof address === "object" && address !== null ? address.port : port;
    server.close(() => resolve(bound));
  });
  return promise;
}
