import type { Config } from "../../shared/config.ts";
import type { Secrets } from "./keys.ts";

/** The name of a source's secret among the deployment's settings. */
export function secretVariable(source: string): string {
  return `WEBHOOK_SECRET_${inUpperCase(source)}`;
}

/** @returns undefined when it is not set */
export function secretsOf({ webhookSecrets }: Config, source: string): Secrets | undefined {
  const variable = secretVariable(source);
  const current = webhookSecrets.get(variable);
  return current === undefined ? undefined : { current, previous: webhookSecrets.get(`${variable}_PREVIOUS`) };
}

/** What Meta asks for before it sends anything; undefined when it is not set. */
export function verifyTokenOf({ webhookSecrets }: Config, source: string): string | undefined {
  return webhookSecrets.get(verifyTokenVariable(source));
}

export function verifyTokenVariable(source: string): string {
  return `WEBHOOK_VERIFY_TOKEN_${inUpperCase(source)}`;
}

/** Names of settings hold nothing else; `scripts/put-webhook.lua.ts` does the same. */
function inUpperCase(source: string): string {
  return source.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
}
