import { NotFoundError, type WeirError } from "./errors.ts";
import { type Call, type CallOptions, type Http, wasNotLetIn } from "./http.ts";

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
  let mayBeGone = false;
  const beforeRepeat = async (failed: WeirError) => {
    mayBeGone ||= !wasNotLetIn(failed);
  };
  try {
    return (await http.send<Body>({ method: "DELETE", path, query, isRepeatable: true, beforeRepeat }, options)).body;
  } catch (error) {
    if (error instanceof NotFoundError && mayBeGone) return undefined;
    throw error;
  }
}
