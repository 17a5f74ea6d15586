import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

/** What a receiver of alerts was told. */
export interface Told {
  readonly id: string;
  readonly type: string;
  readonly timestamp: string;
  readonly data: {
    readonly stream: string | null;
    readonly group: string | null;
    readonly metric: string;
    readonly value: number | null;
    readonly threshold: number;
    readonly since: number;
  };
}

export interface Receiver {
  readonly webhook: { readonly url: string; readonly secret: string };
  /** What came, whatever it was answered; each verified by the library. */
  readonly told: Told[];
  /** The status that it answers with, or that it does not. */
  answer: number | "hang up" | "never answer";
  close(): Promise<void>;
}

/** A receiver of Standard Webhooks on this machine. What is not signed rightly is answered 401 and not noted. */
export async function startReceiver(): Promise<Receiver> {
  const secret = `whsec_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64")}`;
  const told: Told[] = [];
  const server = createServer(async (request, response) => {
    if (request.method === "GET") {
      // Where a redirect leads: all is well there, but the message would be lost.
      response.writeHead(200).end();
      return;
    }
    const body = Buffer.concat(await Array.fromAsync(request)).toString();
    const header = (name: string) => String(request.headers[name] ?? "");
    const id = header("webhook-id");
    const signed = {
      "webhook-id": id,
      "webhook-timestamp": header("webhook-timestamp"),
      "webhook-signature": header("webhook-signature"),
    };
    try {
      new Webhook(secret).verify(body, signed);
    } catch (error) {
      response.writeHead(401).end(String(error));
      return;
    }
    told.push({ id, ...JSON.parse(body) });
    if (receiver.answer === "hang up") request.socket.destroy();
    else if (receiver.answer !== "never answer") response.writeHead(receiver.answer, { location: "/" }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("the receiver has no port");
  const receiver: Receiver = {
    webhook: { url: `http://127.0.0.1:${address.port}/alerts`, secret },
    told,
    answer: 204,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return receiver;
}
