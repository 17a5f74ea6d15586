import { createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { freePort } from "../../local/ports.ts";

/** Servers that are broken on purpose. */

/** What a broken server does with a connection, and with what it is sent. */
export interface Behaviour {
  accepted?(socket: Socket): void;
  received?(socket: Socket, text: string): void;
}

export interface BrokenServer {
  readonly port: number;
  /** Everything that any client has sent. */
  received(): string;
  connections(): number;
  close(): Promise<void>;
}

/** A server that never works as Redis does; gone with the test. */
export async function brokenServer(behaviour: Behaviour): Promise<BrokenServer> {
  const sockets = new Set<Socket>();
  let text = "";
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    // A client that gives up resets the connection.
    socket.on("error", () => socket.destroy());
    socket.on("data", (data) => {
      text += data.toString();
      behaviour.received?.(socket, data.toString());
    });
    behaviour.accepted?.(socket);
  });
  const port = await listen(server);
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    if (!server.listening) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    await promise;
  };
  onTestFinished(close);
  return { port, received: () => text, connections: () => connections, close };
}

async function listen(server: Server): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const port = await freePort();
  server.once("error", reject);
  server.listen(port, "127.0.0.1", resolve);
  await promise;
  return port;
}

/** An HTTP answer that ends with its connection. */
export function httpAnswer(status: string, body: string, type = "application/json"): string {
  const length = Buffer.byteLength(body);
  return `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`;
}
