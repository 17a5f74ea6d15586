import { WeirClient } from "../../client/index.ts";
import type { Usage } from "./usage.ts";

/** Where Weir is, and the token for it. `log` is told when a request has to be repeated. */
export interface Endpoint {
  readonly url: string;
  readonly token: string;
  readonly log: (line: string) => void;
}

const TIMEOUT_MS = 30_000;

/**
 * A client of the Weir that the demo runs against.
 * @param usage counts what its requests cost
 */
export function connect({ url, token, log }: Endpoint, usage?: Usage): WeirClient {
  return new WeirClient({
    url,
    token,
    timeoutMs: TIMEOUT_MS,
    onAttempt(attempt) {
      usage?.add(attempt);
      const { method, path, number } = attempt;
      if (number > 1) log(`${method} ${path}: sent again, attempt ${number}`);
    },
  });
}
