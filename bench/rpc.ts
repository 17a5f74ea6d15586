// Questions and answers between the bench and the processes that it starts, over Node's IPC channel.
import { type ChildProcess, fork } from "node:child_process";

type Answer<Response> = { id: number; response: Response } | { id: number; fault: string };

/** A process that answers questions one after the other. */
export class Child<Request, Response> {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve(response: Response): void; reject(error: Error): void }>();
  readonly #name: string;
  #asked = 0;

  /** @param execArgv options of Node itself, such as `--cpu-prof` */
  constructor(file: string, args: readonly string[] = [], execArgv: readonly string[] = []) {
    this.#name = file;
    this.#process = fork(file, args, { execArgv: [...execArgv], stdio: ["ignore", "ignore", "inherit", "ipc"] });
    this.#process.on("message", (message) => this.#receive(String(message)));
    this.#process.on("exit", (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${file} ended (${signal ?? code})`));
      this.#waiting.clear();
    });
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  /** @throws Error with the child's message, or when it does not answer in time */
  async ask(request: Request, timeoutMs = 120_000): Promise<Response> {
    const id = ++this.#asked;
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    this.#waiting.set(id, { resolve, reject });
    const timer = setTimeout(() => reject(new Error(`${this.#name} did not answer in ${timeoutMs} ms`)), timeoutMs);
    this.#process.send(JSON.stringify({ id, request }));
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(id);
    });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    // Closing the channel lets it end by itself, so that a profile is written; SIGKILL if it does not.
    if (this.#process.connected) this.#process.disconnect();
    const force = setTimeout(() => this.#process.kill("SIGKILL"), 10_000);
    await ended.finally(() => clearTimeout(force));
  }

  #receive(text: string): void {
    const answer: Answer<Response> = JSON.parse(text);
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    if ("fault" in answer) waiting.reject(new Error(answer.fault));
    else waiting.resolve(answer.response);
  }
}

/** The other side: answers each question by `handle`, and ends with the parent. */
export function answerParent<Request, Response>(handle: (request: Request) => Promise<Response>): void {
  process.on("message", async (message) => {
    const { id, request }: { id: number; request: Request } = JSON.parse(String(message));
    const answer = await handle(request).then(
      (response): Answer<Response> => ({ id, response }),
      (error: unknown): Answer<Response> => ({ id, fault: error instanceof Error ? (error.stack ?? "") : "fault" }),
    );
    process.send?.(JSON.stringify(answer));
  });
  process.on("disconnect", () => process.exit());
}
