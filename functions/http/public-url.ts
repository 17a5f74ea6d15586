import type { Config } from "../../shared/config.ts";

/**
 * A request's URL as the one who sent it knows it: behind a proxy, `PUBLIC_URL` says how it begins. Path and query stay as
 * they came: some providers sign them to the letter.
 */
export function publicUrlOf({ publicUrl }: Config, url: string): string {
  return publicUrl === undefined ? url : publicUrl + url.slice(originOf(url).length);
}

/** Where the deployment is reached, without a slash at the end. */
export function publicOrigin({ publicUrl }: Config, url: string): string {
  return publicUrl ?? originOf(url);
}

function originOf(url: string): string {
  return new URL(url).origin;
}
