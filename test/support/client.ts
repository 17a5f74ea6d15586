import { setImmediate } from "node:timers/promises";
import { vi } from "vitest";
import { WeirClient } from "../../client/client.ts";
import { WeirError } from "../../client/errors.ts";
import type { ClientOptions, Fetch, FetchAnswer, FetchInit } from "../../client/http.ts";
import { ROOT_TOKEN, type WorkerUnderTest } from "./worker.ts";

/** A client of the Worker under test, with the root token. */
export function clientOf(worker: Pick<WorkerUnderTest, "url">, options: Partial<ClientOptions> = {}): WeirClient {
  return new WeirClient({ url: worker.url(), token: ROOT_TOKEN, ...options });
}

/** The error of the client's that this ends in. */
export async function errorOf(work: Promise<unknown>): Promise<WeirError> {
  const ended: unknown = await work.catch((error: unknown) => error);
  if (ended instanceof WeirError) return ended;
  throw new Error("expected an error of the client's", { cause: ended });
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
  /** By `performance.now()`. */
  readonly atMs: number;
}

export interface Network {
  readonly fetch: Fetch;
  /** All that was sent so far. */
  readonly sent: readonly Sent[];
  /** Whether a request is being served. */
  isBusy(): boolean;
}

/** A network that does with each request what it is told; without a fault it goes to where it is meant to go. */
export function network(faultOf: (sent: Sent) => Fault | undefined | Promise<Fault | undefined>): Network {
  const all: Sent[] = [];
  let busy = 0;
  /** To the end of its answer. */
  const go: Fetch = async (url, init) => {
    busy++;
    try {
      const { status, headers, text } = await whole(await fetch(url, init));
      return { status, headers, text: async () => text };
    } finally {
      busy--;
    }
  };
  const send: Fetch = async (url, init) => {
    const { method, headers, body } = init;
    const { pathname, search } = new URL(url);
    const sent: Sent = {
      number: all.length + 1,
      method,
      path: pathname + search,
      headers,
      body,
      atMs: performance.now(),
    };
    all.push(sent);
    const fault = await faultOf(sent);
    if (fault === undefined) return go(url, init);
    if (fault === "no-connection") throw new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") });
    if (typeof fault === "object") return made(fault);
    // Not called off, as what is under way on a network is not.
    await go(url, { ...init, signal: new AbortController().signal });
    if (fault === "doubled") return go(url, init);
    if (fault === "lost-answer") throw new TypeError("fetch failed", { cause: new Error("read ECONNRESET") });
    return until(init.signal);
  };
  return { fetch: send, sent: all, isBusy: () => busy > 0 };
}

async function whole(answer: Response) {
  const { status, headers } = answer;
  return { status, headers, text: await answer.text() };
}

/**
 * Does something with a clock by which pauses, and answers that never come, take no time: as soon as nothing is being
 * served, the next timer is due.
 */
export async function hurry<Result>({ isBusy }: Pick<Network, "isBusy">, work: () => Promise<Result>): Promise<Result> {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  try {
    let isDone = false;
    const ended = work().finally(() => {
      isDone = true;
    });
    ended.catch(() => undefined);
    while (!isDone) {
      const wasBusy = isBusy();
      // A turn for what is done with an answer, so that only what waits for a timer is left.
      await setImmediate();
      if (!isDone && !wasBusy && !isBusy()) vi.advanceTimersToNextTimer();
    }
    return await ended;
  } finally {
    vi.useRealTimers();
  }
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
