import { runtimeProcess } from "./process.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";

/**
 * A consumer's name that nobody else has, such as `mail.host-12.4711.k3f9x2`: who it is for, the machine and the process
 * where they are known, and something random.
 */
export function consumerName(group: string): string {
  const random = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => LETTERS[byte % LETTERS.length]);
  return [group.slice(0, 40), ...place(), random.join("")].join(".");
}

function place(): string[] {
  return [hostname(), runtimeProcess()?.pid].flatMap((part) =>
    part === undefined || part === "" ? [] : [String(part)],
  );
}

function hostname(): string | undefined {
  try {
    const name = runtimeProcess()?.getBuiltinModule?.("node:os")?.hostname();
    return name?.replaceAll(/[^A-Za-z0-9._:-]/g, "-").slice(0, 40);
  } catch {
    // Deno asks for a permission: the name is better off without the machine than the consumer without a name.
    return undefined;
  }
}
