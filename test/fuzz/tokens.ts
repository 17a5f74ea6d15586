import { sign } from "hono/jwt";

/** Tokens that permit all, some or nothing. */

export const ROOT_TOKEN = "root-token-of-the-fuzzer";
export const TOKEN_SECRET = "a secret of the fuzzer, long enough for HS256";

const SCOPES = {
  producer: ["produce:s0"],
  consumer: ["consume:s0/g0"],
  reader: ["read:*"],
  admin: ["admin:s*"],
  metrics: ["metrics"],
} as const;

const REFUSED = ["none", "wrong", "expired", "unsigned", "basic"] as const;

export type TokenKind = "root" | keyof typeof SCOPES | (typeof REFUSED)[number];

export const TOKEN_KINDS: readonly TokenKind[] = [
  "root",
  "producer",
  "consumer",
  "reader",
  "admin",
  "metrics",
  ...REFUSED,
];

export function isRefused(kind: TokenKind): boolean {
  return REFUSED.some((refused) => refused === kind);
}

/**
 * Whether a token grants a permission, told anew from the contract for the few that there are.
 * @param names in the path
 */
export function permits(
  kind: TokenKind,
  permission: string,
  { stream, group }: Readonly<Record<string, string>>,
): boolean {
  switch (kind) {
    case "root":
      return true;
    case "producer":
      return permission === "produce" && stream === "s0";
    case "consumer":
      return ["consume", "read"].includes(permission) && stream === "s0" && group === "g0";
    case "reader":
      return permission === "read";
    case "admin":
      return !["root", "metrics"].includes(permission) && stream?.startsWith("s") === true;
    default:
      return kind === permission;
  }
}

/** The Authorization headers of each kind; undefined: none is sent. */
export async function makeTokens(): Promise<(kind: TokenKind) => string | undefined> {
  const inAnHour = Math.floor(Date.now() / 1000) + 3_600;
  const claims = (scope: readonly string[], exp = inAnHour) => ({
    sub: "fuzzer",
    jti: "token-of-the-fuzzer",
    exp,
    scope,
  });
  const headers = new Map<TokenKind, string>([
    ["root", `Bearer ${ROOT_TOKEN}`],
    ["wrong", `Bearer ${ROOT_TOKEN}x`],
    ["basic", `Basic ${btoa(`root:${ROOT_TOKEN}`)}`],
    ["expired", `Bearer ${await sign(claims(["admin:*"], inAnHour - 7_200), TOKEN_SECRET, "HS256")}`],
    ["unsigned", `Bearer ${await sign(claims(["admin:*"]), `${TOKEN_SECRET}x`, "HS256")}`],
  ]);
  for (const [kind, scope] of Object.entries(SCOPES)) {
    headers.set(scopedKind(kind), `Bearer ${await sign(claims(scope), TOKEN_SECRET, "HS256")}`);
  }
  return (kind) => headers.get(kind);
}

function scopedKind(name: string): TokenKind {
  const kind = TOKEN_KINDS.find((kind) => kind === name);
  if (kind === undefined) throw new TypeError(`no such kind of token: ${name}`);
  return kind;
}
