import { NotFoundError } from "./errors.ts";
import type { Call, CallOptions, Http } from "./http.ts";

/**
 * Deletes something. That it is gone is no error where an attempt before, whose answer was lost, may have deleted it.
 * @returns what was answered; undefined where that answer was lost
 * @throws {NotFoundError} when it was not there
 */
export async function remove<Body = void>(
  http: Http,
  path: string,
  options?: CallOptions,
  query?: Call["query"],
): Promise<Body | undefined> {
  let repeats = 0;
  const beforeRepeat = async () => {
    repeats++;
    return undefined;
  };
  try {
    return (await http.send<Body>({ method: "DELETE", path, query, isRepeatable: true, beforeRepeat }, options)).body;
  } catch (error) {
    if (error instanceof NotFoundError && repeats > 0) return undefined;
    throw error;
  }
}
