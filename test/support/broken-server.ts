import { createServer, type Server, type Socket } from "node:net";
import { onTestFinished } from "vitest";
import { freePort } from "../../local/ports.ts";

/** Servers that are broken on purpose. */

/** What a broken server does with a connection, and with what it is sent. */
export interface Behaviour {
  accepted?(socket: Socket): void;
  /** Called with each whole request, or as many commands as came together: what comes in parts is not answered early. */
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
    let request = "";
    socket.on("data", (data) => {
      text += data.toString("latin1");
      request += data.toString("latin1");
      if (!isWhole(request)) return;
      const whole = request;
      request = "";
      behaviour.received?.(socket, whole);
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

/** Whether that ends where an HTTP request or a command of Redis ends. */
function isWhole(text: string): boolean {
  if (!text.startsWith("*")) {
    const [head = "", body] = splitAt(text, "\r\n\r\n");
    return body !== undefined && body.length >= Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  }
  let rest = text;
  while (rest !== "") {
    const command = /^\*(\d+)\r\n/.exec(rest);
    if (command === null) return false;
    rest = rest.slice(command[0].length);
    for (let i = 0; i < Number(command[1]); i++) {
      const size = /^\$(\d+)\r\n/.exec(rest);
      if (size === null) return false;
      const end = size[0].length + Number(size[1]) + 2;
      if (rest.length < end) return false;
      rest = rest.slice(end);
    }
  }
  return true;
}

function splitAt(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
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
