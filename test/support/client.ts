import { WeirClient } from "../../client/client.ts";
import type { ClientOptions, Fetch, FetchAnswer, FetchInit } from "../../client/http.ts";
import { ROOT_TOKEN, type WorkerUnderTest } from "./worker.ts";

/** A client of the Worker under test, with the root token. */
export function clientOf(worker: Pick<WorkerUnderTest, "url">, options: Partial<ClientOptions> = {}): WeirClient {
  return new WeirClient({ url: worker.url(), token: ROOT_TOKEN, ...options });
}

/** What may become of a request on its way. */
export type Fault =
  /** It never arrives. */
  | "no-connection"
  /** It is served, and the answer gets lost. */
  | "lost-answer"
  /** It arrives twice, one after the other; the second answer is the one that comes back. */
  | "doubled"
  /** It is served, and the answer never comes. */
  | "no-end"
  /** Something on the way answers; it never arrives. */
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string };

/** A request as the network sees it. */
export interface Sent {
  /** From 1 on. */
  readonly number: number;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: FetchInit["body"];
}

export interface Network {
  readonly fetch: Fetch;
  /** All that was sent so far. */
  readonly sent: readonly Sent[];
}

/** A network that does with each request what it is told; without a fault it goes to where it is meant to go. */
export function network(faultOf: (sent: Sent) => Fault | undefined | Promise<Fault | undefined>): Network {
  const all: Sent[] = [];
  const go: Fetch = (url, init) => fetch(url, init);
  const send: Fetch = async (url, init) => {
    const { method, headers, body } = init;
    const { pathname, search } = new URL(url);
    const sent: Sent = { number: all.length + 1, method, path: pathname + search, headers, body };
    all.push(sent);
    const fault = await faultOf(sent);
    if (fault === undefined) return go(url, init);
    if (fault === "no-connection") throw new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") });
    if (typeof fault === "object") return made(fault);
    // Read to its end, so that it was served; and not called off, as what is under way on a network is not.
    const { signal: _, ...uncalled } = init;
    const served = async () => {
      const answer = await fetch(url, uncalled);
      await answer.arrayBuffer();
    };
    await served();
    if (fault === "doubled") return go(url, init);
    if (fault === "lost-answer") throw new TypeError("fetch failed", { cause: new Error("read ECONNRESET") });
    return until(init.signal);
  };
  return { fetch: send, sent: all };
}

function made({ status, headers = {}, body = "" }: Exclude<Fault, string>): FetchAnswer {
  return new Response(body, { status, headers });
}

/** Nothing, until it is called off. */
function until(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop);
  return promise;
}

/** An error answer as Weir gives it. */
export function problem(status: number, code: string, headers: Readonly<Record<string, string>> = {}): Fault {
  const body = JSON.stringify({
    type: `urn:weir:error:${code}`,
    title: code,
    status,
    detail: `${code} by the test`,
    code,
  });
  return { status, headers: { "content-type": "application/problem+json", ...headers }, body };
}
