import type * as z from "zod";
import { WeirError } from "../../shared/errors.ts";
import { isJsonType, type NewMessage, type Schedule } from "../../shared/message.ts";
import { type JsonPlace, tooDeepIn } from "./body.ts";
import { TooDeep } from "./json-text.ts";
import type { newMessageSchema } from "./message-schemas.ts";

/** What every form of a produce request is held to, and how its parts become messages. */

/** Messages of a request. */
export const MAX_MESSAGES = 1_000;
/**
 * Arrays, objects and members: so many take JSON.parse up to 60 MB (measured in Node), and an isolate has 128. Ordinary
 * JSON of 8 MiB has fewer: one in 16 bytes.
 */
export const MAX_PARTS = 500_000;

type ParsedMessage = z.output<ReturnType<typeof newMessageSchema>>;

/** @param dataText the text of `data` in the request */
export function toMessage(message: ParsedMessage, dataText: string | undefined): NewMessage {
  const { type, key, attributes, datacontenttype, data, dataBase64 } = message;
  const schedule = scheduleOf(message);
  const common = { type: type ?? undefined, key: key ?? undefined, attributes: attributes ?? undefined, schedule };
  if (dataBase64 !== undefined) {
    return { ...common, datacontenttype: datacontenttype ?? undefined, data: dataBase64, isBase64: true };
  }
  // Absent means JSON: that is not worth a field in every entry.
  const stated = datacontenttype && !/^application\/json\s*(;|$)/i.test(datacontenttype) ? datacontenttype : undefined;
  if (stated === undefined || isJsonType(stated)) return { ...common, datacontenttype: stated, data: dataText };
  if (data !== undefined && typeof data !== "string") throw new WeirError("internal-error", "data is not a string");
  return { ...common, datacontenttype: stated, data };
}

function scheduleOf({ delayMs, deliverAt }: ParsedMessage): Schedule | undefined {
  if (deliverAt !== undefined) return { deliverAtMs: deliverAt };
  return delayMs === undefined ? undefined : { delayMs };
}

/** @throws {WeirError} `invalid-request` when a payload is nested too deeply: the scanner meets it in what it cuts out */
export function cutOut<Texts>(json: string, place: JsonPlace, cut: () => Texts): Texts {
  try {
    return cut();
  } catch (error) {
    if (error instanceof TooDeep) throw tooDeepIn(json, place);
    throw error;
  }
}
