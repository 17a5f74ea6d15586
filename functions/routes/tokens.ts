import { sign } from "hono/jwt";
import * as z from "zod";
import type { RequestContext } from "../context.ts";
import { jsonBody, noBody, nothing, type Route, route } from "../http/endpoint.ts";
import { HttpError } from "../http/errors.ts";
import { SCOPE } from "../http/permissions.ts";
import { integer, limitedText } from "../http/schemas.ts";

const tag = "Access tokens";
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
    tag,
    summary: "Issue an access token (JWT, HS256)",
    description:
      "`scope` holds `produce:<stream>`, `consume:<stream>/<group>`, `read:<stream>`, `admin:<stream>` and `metrics`; " +
      "a trailing `*` matches any. Keep `id` and `expiresAt`, which are not secret: the token is revoked by them.",
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
      200: {
        description: "The token",
        schema: z.object({ token: z.string(), id: z.string(), expiresAt: z.int() }),
      },
    },
    errors: ["not-available"],
  }),
  async ({ body, context, c }) => {
    const secret = tokenSecret(context);
    // A JWT's times are whole seconds.
    const exp = Math.floor((context.now() + body.expiresInMs) / 1000);
    const id = crypto.randomUUID();
    const token = await sign({ sub: body.subject, jti: id, exp, scope: body.scope }, secret, "HS256");
    return c.json({ token, id, expiresAt: exp * 1000 });
  },
);

const revokeTokenRoute = route(
  { method: "post", path: "/v1/tokens/revoke", permission: "root" },
  () => ({
    operationId: "revokeToken",
    repeat: "repeating it is safe",
    tag,
    summary: "Revoke an access token: refused everywhere within 10 seconds",
    description:
      "By the `id` that issuing it answered (`jti` in the token). With its `expiresAt` the revocation is forgotten a day " +
      "after that; without one it is kept for as long as any token may live. At most 10,000 are kept at once (409).",
    params: nothing,
    query: nothing,
    body: jsonBody(
      z.strictObject({
        id: limitedText(1, 128),
        expiresAt: integer(0, Number.MAX_SAFE_INTEGER)
          .optional()
          .meta({ description: "When the token ends by itself, as issuing it answered: not earlier" }),
      }),
    ),
    answers: { 204: { description: "It is revoked" } },
    errors: ["not-available", "conflict", "outcome-unknown", "redis-full"],
  }),
  async ({ body, context, c }) => {
    tokenSecret(context);
    const { redis, config, revocations, now } = context;
    const endsAtMs = body.expiresAt ?? now() + MAX_LIFE_MS;
    await revocations.revoke(redis, config.keyPrefix, { id: body.id, endsAtMs });
    return c.body(null, 204);
  },
);

const getTokenRoute = route(
  { method: "get", path: "/v1/token", permission: "any" },
  () => ({
    operationId: "getToken",
    tag,
    summary: "What the caller's own token permits",
    description: "Of the root token `scope` is `root`, which permits everything; it has no subject and no end.",
    params: nothing,
    query: nothing,
    body: noBody,
    answers: {
      200: {
        description: "What it says",
        schema: z.object({
          subject: z.string().nullable(),
          scope: z.array(z.string()),
          expiresAt: z.int().nullable(),
        }),
      },
    },
    errors: [],
  }),
  ({ c }) => {
    const { caller } = c.var;
    if (caller === "root") return c.json({ subject: null, scope: ["root"], expiresAt: null });
    const { subject, scope, expiresAt } = caller;
    return c.json({ subject, scope, expiresAt });
  },
);

/** @throws {HttpError} `not-available` where there are no access tokens */
function tokenSecret({ config }: RequestContext): string {
  if (config.tokenSecret === undefined) {
    throw new HttpError("not-available", "access tokens need the secret TOKEN_SECRET, which is not set");
  }
  return config.tokenSecret;
}

export const tokenRoutes: readonly Route[] = [issueTokenRoute, revokeTokenRoute, getTokenRoute];
