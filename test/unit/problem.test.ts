import { describe, expect, test } from "vitest";
import { ERROR_CODES, HttpError } from "../../functions/http/errors.ts";
import { problemResponse } from "../../functions/http/problem.ts";
import { WeirError } from "../../shared/errors.ts";

/** The contract's table. */
const STATUSES = {
  400: ["invalid-request", "stale-webhook"],
  401: ["unauthenticated", "bad-signature"],
  403: ["forbidden"],
  404: ["unknown-stream", "unknown-group", "unknown-consumer", "unknown-message", "unknown-dead-letter", "not-found"],
  405: ["method-not-allowed"],
  409: ["conflict"],
  413: ["payload-too-large"],
  415: ["unsupported-media-type"],
  422: ["idempotency-mismatch"],
  429: ["too-many-pending", "rate-limited"],
  500: ["internal-error", "misconfigured"],
  501: ["not-available"],
  503: ["redis-unavailable", "outcome-unknown"],
  507: ["stream-full", "redis-full"],
};

describe("an error answer", () => {
  test("has the contract's status for each code", () => {
    const rows = Object.entries(STATUSES).flatMap(([status, codes]) => codes.map((code) => [code, Number(status)]));
    const ours = Object.entries(ERROR_CODES).map(([code, { status }]) => [code, status]);
    expect(ours.sort()).toEqual(rows.sort());
  });

  test("says which request creates a stream that is not there, where the path names one", async () => {
    const error = new WeirError("unknown-stream", 'there is no stream "orders"');
    const problemAt = (path: string) => problemResponse(error, { path }).json();
    expect(await problemAt("/v1/streams/orders/groups/mail/consume")).toMatchObject({
      detail: 'there is no stream "orders"; PUT /v1/streams/orders creates it',
    });
    expect(await problemAt("/hooks/github")).toMatchObject({ detail: 'there is no stream "orders"' });
  });

  test("says what repeating the request means, only where its outcome is unknown", async () => {
    const failed = { path: "/v1/streams/orders", repeat: "repeating it is safe" };
    const detailOf = async (code: "outcome-unknown" | "redis-unavailable") =>
      problemResponse(new WeirError(code, "Redis is away"), failed).json();
    expect(await detailOf("outcome-unknown")).toMatchObject({ detail: "Redis is away; repeating it is safe" });
    expect(await detailOf("redis-unavailable")).toMatchObject({ detail: "Redis is away" });
  });

  test("has what was settled all the same", async () => {
    const settled = { acked: 1, retried: 0, rejected: 0, released: 0, extended: 0, stale: [] };
    const error = new WeirError("too-many-pending", "too many", { settled });
    expect(await problemResponse(error, { path: "/" }).json()).toMatchObject({ code: "too-many-pending", settled });
  });

  test("tells the methods of a path, and when to try again", () => {
    const wrongMethod = new HttpError("method-not-allowed", "expected GET, got PUT", { allow: ["GET", "PUT"] });
    expect(problemResponse(wrongMethod, { path: "/" }).headers.get("allow")).toBe("GET, PUT");
    const away = new WeirError("redis-unavailable", "Redis is away", { retryAfterS: 5 });
    expect(problemResponse(away, { path: "/" }).headers.get("retry-after")).toBe("5");
  });
});
