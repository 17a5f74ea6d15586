import { createMiddleware } from "hono/factory";
import { timingSafeEqual } from "hono/utils/buffer";
import { WeirError } from "../shared/errors.ts";
import type { AppEnv } from "./app.ts";

/** Lets requests with the root token pass. Compared by hash, in constant time. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const header = c.req.header("authorization");
  const token = /^Bearer +(\S+) *$/i.exec(header ?? "")?.[1];
  if (token === undefined) {
    const got = header === undefined ? "no Authorization header" : "another Authorization header";
    throw new WeirError("unauthenticated", `expected "Authorization: Bearer <token>", got ${got}`);
  }
  if (!(await timingSafeEqual(token, c.var.weir.config.rootToken))) {
    throw new WeirError("unauthenticated", "the token is not valid");
  }
  return next();
});
