import { timingSafeEqual } from "node:crypto";
import { createMiddleware } from "hono/factory";
import { verify } from "hono/jwt";
import * as z from "zod";
import type { Config } from "../../shared/config.ts";
import type { AppContext, AppEnv } from "../context.ts";
import { HttpError } from "./errors.ts";
import { type Caller, mayAccess, type Permission, type Resource } from "./permissions.ts";

/** The claims of an access token that count. `exp`, which is checked with the signature, must be there. */
const Claims = z.object({ exp: z.number(), scope: z.array(z.string()) });

/** Finds out who calls: the holder of the root token, or of an access token that is valid now. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const header = c.req.header("authorization");
  const token = /^Bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  if (token === undefined) {
    const got = header === undefined ? "no Authorization header" : "another Authorization header";
    throw new HttpError("unauthenticated", `expected "Authorization: Bearer <token>", got ${got}`);
  }
  const { config } = c.var.context;
  c.set("caller", isRootToken(token, config) ? "root" : await readAccessToken(token, config));
  return next();
});

/** Whether the caller may do this to the stream or group. */
export function isAuthorized(c: AppContext, permission: Permission, resource: Resource): boolean {
  return mayAccess(c.var.caller, permission, resource);
}

/**
 * @param resource what it is about; unless given, the stream and group in the path
 * @throws {HttpError} `forbidden` when the caller may not do this to it
 */
export function authorize(c: AppContext, permission: Permission, resource: Resource = c.req.param()): void {
  const { stream, group } = resource;
  if (mayAccess(c.var.caller, permission, { stream, group })) return;
  const name = permission === "consume" ? `${stream}/${group}` : stream;
  const needed = permission === "root" ? "the root token" : `${permission}${name === undefined ? "" : `:${name}`}`;
  throw new HttpError("forbidden", `this needs ${needed}, which the token does not grant`);
}

async function readAccessToken(token: string, { tokenSecret }: Config): Promise<Caller> {
  const refused = new HttpError("unauthenticated", "the token is not valid");
  if (tokenSecret === undefined) throw refused;
  const payload: unknown = await verify(token, tokenSecret, "HS256").catch(() => {
    // Whether the signature, the form or the expiry was wrong is none of the caller's business.
    throw refused;
  });
  const claims = Claims.safeParse(payload);
  if (!claims.success) throw refused;
  return claims.data.scope;
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
