import { timingSafeEqual } from "node:crypto";
import { z } from "@hono/zod-openapi";
import { createMiddleware } from "hono/factory";
import { verify } from "hono/jwt";
import type { Config } from "../shared/config.ts";
import { WeirError } from "../shared/errors.ts";
import type { AppEnv } from "./app.ts";
import type { Caller } from "./permissions.ts";

/** What of an access token's claims counts; `exp`, which is checked with the signature, must be there. */
const Claims = z.object({ exp: z.number(), scope: z.array(z.string()) });

/** Finds out who calls: the root token, compared in constant time, or an access token that is valid now. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const header = c.req.header("authorization");
  const token = /^Bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  if (token === undefined) {
    const got = header === undefined ? "no Authorization header" : "another Authorization header";
    throw new WeirError("unauthenticated", `expected "Authorization: Bearer <token>", got ${got}`);
  }
  const { config } = c.var.weir;
  c.set("caller", isRootToken(token, config) ? "root" : await readAccessToken(token, config));
  return next();
});

async function readAccessToken(token: string, { tokenSecret }: Config): Promise<Caller> {
  const refused = new WeirError("unauthenticated", "the token is not valid");
  if (tokenSecret === undefined) throw refused;
  const payload: unknown = await verify(token, tokenSecret, "HS256").catch(() => {
    // Which of signature, form and expiry it was is nobody's business.
    throw refused;
  });
  const claims = Claims.safeParse(payload);
  if (!claims.success) throw refused;
  return claims.data.scope;
}

/** In a time that tells nothing of the secret but whether it has this length. */
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
