import { sign } from "hono/jwt";
import * as z from "zod";
import { WeirError } from "../../shared/errors.ts";
import { jsonBody, nothing, type Route, route } from "../http/endpoint.ts";
import { SCOPE } from "../http/permissions.ts";
import { integer, limitedText } from "../http/schemas.ts";

const MAX_LIFE_MS = 10 * 365 * 24 * 3_600_000;

const Scope = z
  .string()
  .regex(SCOPE, "expected a scope that can match, such as produce:orders, consume:orders/mail or consume:orders*")
  .meta({
    description:
      "Such as `produce:orders`, `consume:orders/mail`, `read:*` or `metrics`: what can match no name is refused",
  });

const issueTokenRoute = route(
  { method: "post", path: "/v1/tokens", permission: "root" },
  () => ({
    operationId: "issueToken",
    tag: "Access tokens",
    summary: "Issue an access token (JWT, HS256)",
    description:
      "`scope` holds `produce:<stream>`, `consume:<stream>/<group>`, `read:<stream>`, `admin:<stream>` and `metrics`; " +
      "a trailing `*` matches any. It cannot be revoked before it expires, but by another `TOKEN_SECRET`.",
    params: nothing,
    query: nothing,
    body: jsonBody(
      z.strictObject({
        subject: limitedText(1, 256),
        scope: z.array(Scope).min(1).max(100),
        expiresInMs: integer(1_000, MAX_LIFE_MS),
      }),
    ),
    answers: {
      200: { description: "The token", schema: z.object({ token: z.string(), expiresAt: z.int() }) },
    },
    errors: [],
  }),
  async ({ body, context, c }) => {
    const { tokenSecret } = context.config;
    if (tokenSecret === undefined) throw new WeirError("misconfigured", "TOKEN_SECRET is not set");
    // A JWT's times are whole seconds.
    const exp = Math.floor((context.now() + body.expiresInMs) / 1000);
    const claims = { sub: body.subject, jti: crypto.randomUUID(), exp, scope: body.scope };
    return c.json({ token: await sign(claims, tokenSecret, "HS256"), expiresAt: exp * 1000 });
  },
);

export const tokenRoutes: readonly Route[] = [issueTokenRoute];
