import { expect } from "vitest";
import { ERROR_CODES, type ProblemCode } from "../../functions/http/errors.ts";
import type { Answer } from "./worker.ts";

/** Checks the whole form of a problem, and that it tells nothing that it should not: no token, no place in the code, no `p4yl0ad`. */
export function expectProblem(answer: Answer, code: ProblemCode): Answer["json"] {
  const { status, title } = ERROR_CODES[code];
  expect({ status: answer.status, code: answer.json?.code, text: answer.text }).toMatchObject({ status, code });
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  const { errors, settled, ...problem } = answer.json;
  expect(problem).toEqual({ type: `urn:weir:error:${code}`, title, status, code, detail: expect.any(String) });
  expect(problem.detail).not.toBe("");
  if (errors !== undefined) {
    expect(errors.length).toBeGreaterThan(0);
    for (const error of errors) expect(error).toEqual({ path: expect.any(String), message: expect.any(String) });
  }
  if (settled !== undefined) expect(settled).toMatchObject({ acked: expect.any(Number), stale: expect.any(Array) });
  expect(answer.text).not.toMatch(/p4yl0ad|root-token|test-token|\.ts:|node_modules|at [A-Za-z]+ \(|127\.0\.0\.1/);
  expect(answer.headers.has("retry-after")).toBe([503, 507, 429].includes(status));
  expect(answer.headers.has("www-authenticate")).toBe(status === 401);
  expect(answer.headers.has("allow")).toBe(status === 405);
  return answer.json;
}

/** The paths of what was wrong; one value may have several faults. */
export const paths = (problem: Answer["json"]): string[] => [
  ...new Set<string>(problem.errors.map(({ path }: { path: string }) => path)),
];

/** Checks that a request went well, and that it says what it cost. */
export function expectOk(answer: Answer): Answer["json"] {
  expect({ status: answer.status, text: answer.text.slice(0, 500) }).toMatchObject({
    status: expect.toBeOneOf([200, 201]),
  });
  expect(answer.headers.get("server-timing")).toMatch(/^redis;dur=[\d.]+;desc="\d+ commands?, \d+ round trips?"$/);
  return answer.json;
}
