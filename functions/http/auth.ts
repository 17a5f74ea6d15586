import { timingSafeEqual } from "node:crypto";
import { createMiddleware } from "hono/factory";
import { verify } from "hono/jwt";
import * as z from "zod";
import type { Config } from "../../shared/config.ts";
import type { AppContext, AppEnv, RequestContext } from "../context.ts";
import { HttpError } from "./errors.ts";
import { once } from "./once.ts";
import { type Grants, mayAccess, type Permission, type Resource, scopesFor } from "./permissions.ts";

/** What an access token says. */
export interface AccessToken {
  /** By which it can be revoked; null in one that Weir did not issue and that has none. */
  readonly id: string | null;
  readonly subject: string | null;
  readonly scope: readonly string[];
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

/** Who calls. */
export type Caller = "root" | AccessToken;

/** The claims of an access token that count. */
const claimsSchema = once(() =>
  z.object({
    exp: z.number(),
    scope: z.array(z.string()),
    sub: z.string().optional(),
    jti: z.string().optional(),
  }),
);

/** Finds out who calls: the holder of the root token, or of an access token that is valid now. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const header = c.req.header("authorization");
  const token = /^Bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  if (token === undefined) {
    const got = header === undefined ? "no Authorization header" : "another Authorization header";
    throw new HttpError("unauthenticated", `expected "Authorization: Bearer <token>", got ${got}`);
  }
  c.set("caller", await identify(token, c.var.context));
  return next();
});

/**
 * Whose token this is.
 * @throws {HttpError} `unauthenticated`
 * @throws {WeirError} `redis-unavailable` when it cannot be told whether an access token is revoked
 */
export async function identify(token: string, context: RequestContext): Promise<Caller> {
  const { config, redis, revocations, now } = context;
  if (isRootToken(token, config)) return "root";
  const caller = await readAccessToken(token, config);
  const isOver = caller.expiresAt <= now();
  if (isOver || (caller.id !== null && (await revocations.has(redis, config.keyPrefix, caller.id)))) throw notValid();
  return caller;
}

/** Whether the caller may do this to the stream or group. */
export function isAuthorized(c: AppContext, permission: Permission, resource: Resource): boolean {
  return mayAccess(grantsOf(c.var.caller), permission, resource);
}

/** @throws {HttpError} `forbidden` when the caller may not do this to the stream or group in the path */
export function authorize(c: AppContext, permission: Permission): void {
  const { stream, group } = c.req.param();
  if (isAuthorized(c, permission, { stream, group })) return;
  const needed = permission === "root" ? "the root token" : scopesFor(permission, { stream, group }).join(" or ");
  throw new HttpError("forbidden", `this needs ${needed}, which the token does not grant`);
}

function grantsOf(caller: Caller): Grants {
  return caller === "root" ? caller : caller.scope;
}

/** Whether the signature, the form or the expiry was wrong, or the token was revoked, is none of the caller's business. */
function notValid(): HttpError {
  return new HttpError("unauthenticated", "the token is not valid");
}

async function readAccessToken(token: string, config: Config): Promise<AccessToken> {
  const claims = claimsSchema().safeParse(await verifiedPayload(token, config));
  if (!claims.success) throw notValid();
  const { exp, scope, sub = null, jti = null } = claims.data;
  return { id: jti, subject: sub, scope, expiresAt: Math.floor(exp * 1000) };
}

/** What the current secret has signed, or the one before; undefined: neither has. */
async function verifiedPayload(token: string, { tokenSecret, previousTokenSecret }: Config): Promise<unknown> {
  for (const secret of [tokenSecret, previousTokenSecret]) {
    if (secret === undefined) continue;
    // The expiry is looked at by the app's own clock.
    const payload = await verify(token, secret, { alg: "HS256", exp: false }).catch(() => undefined);
    if (payload !== undefined) return payload;
  }
  return undefined;
}

/** Compares in a time that tells nothing about the secret but its length. */
function isRootToken(token: string, config: Config): boolean {
  const given = utf8.encode(token);
  const expected = rootBytes(config);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

const utf8 = new TextEncoder();

/** Settings stay the same for an isolate's life. */
const bytesOfRoots = new WeakMap<Config, Uint8Array>();

function rootBytes(config: Config): Uint8Array {
  const known = bytesOfRoots.get(config);
  if (known !== undefined) return known;
  const bytes = utf8.encode(config.rootToken);
  bytesOfRoots.set(config, bytes);
  return bytes;
}
