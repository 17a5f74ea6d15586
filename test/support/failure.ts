import { WeirError } from "../../shared/errors.ts";

/** What a promise that must fail fails with. */
export async function failure(promise: Promise<unknown>): Promise<WeirError> {
  const error = await promise.then(
    (value) => new Error(`it did not fail, but answered ${String(value).slice(0, 100)}`),
    (reason: unknown) => reason,
  );
  if (error instanceof WeirError) return error;
  throw error;
}
