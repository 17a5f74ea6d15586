/** What this package needs of Node's `process`, which Bun and Deno have too, and Workers and browsers have not. */
interface Process {
  readonly pid?: number;
  getBuiltinModule?(name: "node:os"): { hostname(): string } | undefined;
  on?(signal: string, listener: () => void): unknown;
  off?(signal: string, listener: () => void): unknown;
}

/** With something that is there everywhere: types without anything in common are taken for a mistake. */
interface Surroundings {
  readonly process?: Process;
  readonly setTimeout: unknown;
}

/** @returns undefined where there is none */
export function runtimeProcess(): Process | undefined {
  const { process }: Surroundings = globalThis;
  return process;
}
