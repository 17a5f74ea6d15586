// One request to the deployment that is verified: what it answered, and what is wrong with that.

/** What a step expected and did not get. */
export class Unexpected extends Error {
  override readonly name = "Unexpected";
}

/** An answer, with its JSON if it has any. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: unknown;
}

export interface SendOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Another token than the deployment's, or none. */
  readonly token?: string | null;
}

const TIMEOUT_MS = 15_000;

/** Sends requests to one deployment, and counts them and what they cost. */
export class Client {
  requests = 0;
  commands = 0;
  /** Of each answer that touched Redis, what one round trip to Redis took, in ms. */
  readonly roundTripMs: number[] = [];
  readonly #url: string;
  readonly #token: string;
  readonly #signal: AbortSignal;

  constructor(url: string, token: string, signal: AbortSignal) {
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
    this.#signal = signal;
  }

  /** The same deployment, by another signal: for cleaning up after all was called off. */
  with(signal: AbortSignal): Client {
    return new Client(this.#url, this.#token, signal);
  }

  /**
   * Sends a request.
   * @param body goes as JSON, text as it is
   * @throws {Unexpected} when the answer has another status, saying what came
   */
  async expect(status: number, method: string, path: string, options: SendOptions = {}): Promise<Answer> {
    const answer = await this.send(method, path, options);
    if (answer.status === status) return answer;
    throw new Unexpected(
      `expected ${status} from ${method} ${path}, got ${answer.status}: ${answer.text.slice(0, 300)}`,
    );
  }

  async send(method: string, path: string, { body, headers, token = this.#token }: SendOptions = {}): Promise<Answer> {
    this.requests += 1;
    const response = await fetch(this.#url + path, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const text = await response.text();
    this.#count(response.headers.get("server-timing") ?? "");
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
  }

  #count(serverTiming: string): void {
    const [, dur, commands, trips] =
      /redis;dur=([\d.]+);desc="(\d+) commands?, (\d+) round trip/.exec(serverTiming) ?? [];
    this.commands += Number(commands ?? 0);
    if (dur !== undefined) this.roundTripMs.push(Number(dur) / Number(trips));
  }
}

/** @throws {Unexpected} unless both are the same as JSON */
export function same(what: string, got: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
  if (a !== b) throw new Unexpected(`${what}: expected ${b}, got ${a}`);
}
