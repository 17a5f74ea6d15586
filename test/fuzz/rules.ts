import { type Api, type ApiOperation, partsOf } from "./api.ts";
import { type AnswerCheck, type Complaint, parsed } from "./check.ts";
import type { WireAnswer } from "./http.ts";
import type { FuzzRequest } from "./plan.ts";
import { differences, type RedisState } from "./redis-state.ts";
import { isRefused, permits } from "./tokens.ts";

/** What must hold of a request, its answer and Redis together, whatever the document says of the answer alone. */

/** All that is known of a request that was answered. */
export interface Exchange {
  readonly request: FuzzRequest;
  readonly answer: WireAnswer;
  /** What Redis was asked for meanwhile. */
  readonly commands: number;
  readonly before: RedisState;
  readonly after: RedisState;
  readonly prefix: string;
  /** Where the request led, by its path: undefined for no route. */
  readonly operation: ApiOperation | undefined;
  readonly names: Readonly<Record<string, string>>;
}

type Rule = (exchange: Exchange, check: AnswerCheck) => Complaint[];

export function brokenRules(exchange: Exchange, check: AnswerCheck): Complaint[] {
  return RULES.flatMap((rule) => rule(exchange, check));
}

/** Where a request leads, and the names in its path. */
export function placeOf(api: Api, { method, target }: FuzzRequest): Pick<Exchange, "operation" | "names"> {
  const url = URL.canParse(target, "http://weir.test") ? new URL(target, "http://weir.test") : undefined;
  const operation = url && api.operationAt(method, url.pathname);
  return { operation, names: operation === undefined ? {} : partsOf(operation.path, url?.pathname ?? "") };
}

/** A token that is no token, or that does not grant this, gets nobody in. */
const needsToken: Rule = ({ request: { token }, answer: { status }, operation, names }) => {
  if (operation === undefined || operation.security.length === 0 || token === undefined) return [];
  if (isRefused(token)) return status === 401 ? [] : [{ rule: "needs a token", detail: `${token}: ${status}` }];
  const [permission] = operation.security.flatMap(({ token }) => token ?? []);
  if (permission === undefined) return status === 403 ? [{ rule: "any token will do", detail: `${token}: 403` }] : [];
  if (permits(token, permission, names) || status === 403) return [];
  // Of which stream a source is, the path does not say: a request may be wrong before that is asked.
  if (operation.path.includes("{source}") && status >= 400) return [];
  return [{ rule: "needs a token that grants it", detail: `${token} for ${permission}: ${status}` }];
};

/** What the document forbids is not taken. */
const forbiddenIsRefused: Rule = ({ request, answer: { status }, operation }, check) => {
  if (operation === undefined || status >= 400 || request.body === undefined) return [];
  const json = parsed(request.body.toString());
  const types = request.headers.flatMap(([name, value]) => (name === "content-type" ? [value] : []));
  if (json === undefined || types.join() !== "application/json") return [];
  // In binary mode the body is an event's data, whatever it is.
  if (request.headers.some(([name]) => /^ce-(?:specversion|id|source|type)$/i.test(name))) return [];
  const isPermitted = check.permitsBody(operation, "application/json", json.value);
  return isPermitted === false ? [{ rule: "what the document forbids is refused", detail: "it is taken" }] : [];
};

/** A body in a coding that nobody undoes is not taken for what it is not. */
const codedIsRefused: Rule = ({ request: { headers, body }, answer: { status }, operation }) => {
  const coding =
    headers
      .find(([name]) => name === "content-encoding")?.[1]
      .trim()
      .toLowerCase() ?? "";
  if (body === undefined || operation?.requestBody === undefined || ["", "identity"].includes(coding)) return [];
  return status >= 400 ? [] : [{ rule: "a coded body is refused", detail: `${coding}: ${status}` }];
};

const tellsItsTime: Rule = ({ answer: { headers }, commands }) => {
  const timing = headers["server-timing"];
  if (timing !== undefined && !/^redis;dur=[\d.]+;desc="\d+ commands?, \d+ round trips?"$/.test(timing)) {
    return [{ rule: "Server-Timing has its form", detail: timing }];
  }
  return commands > 0 && timing === undefined
    ? [{ rule: "Server-Timing where Redis was touched", detail: `${commands} commands` }]
    : [];
};

/** Whether an error tells that the request settled something all the same: that stays, and whatever it changed. */
function tellsOfSettling(body: string): boolean {
  return /"settled":\{[^{}[\]]*"(?:retried|rejected|released|extended)":[1-9]/.test(body);
}

/**
 * What only reads, or is refused, changes nothing, but for what it says. What a poll settled stays settled when it is refused
 * by 429.
 */
const untouched: Rule = ({ request: { method, body }, answer, before, after, operation }) => {
  const { status } = answer;
  const onlyReads = method === "GET" || method === "HEAD" || /"dryRun":true/.test(body?.toString() ?? "");
  const isRefused = status >= 400 && status < 500 && status !== 429;
  if ((!onlyReads && !isRefused) || tellsOfSettling(answer.text)) return [];
  // What was appended before the greatest id was reached has been taken back, and Redis gives no id twice.
  if (operation?.operationId === "produce" && status === 409) return [];
  // Acknowledgements are plain commands, sent ahead of the script that is refused: the work was done, and they stand.
  const acknowledged = (status === 409 || status === 404) && /"acks":\["/.test(body?.toString() ?? "");
  const isProduce = operation?.operationId === "produce";
  // The note by when to visit the stream goes with a produce, stored or not: a visit too many.
  const changes = differences(before, after).filter((one) => !(isProduce && /^[^{}]*:streams is changed$/.test(one)));
  // What is due is appended by whatever passes by, refused or not; what another client wrote there in its place is taken out.
  if (isProduce && changes.some((one) => /:later-due:|\}:later is gone$/.test(one))) return [];
  const told = changes.filter(
    // The last one of a side store takes its keys along.
    (one) => !(acknowledged && /^[^}]*\}(?: is changed|:again(?:-due)?:.* is (?:changed|gone))$/.test(one)),
  );
  // Extending goes along with a fast poll: what that handed out cannot be told, and comes again, as the error says.
  const isHandedOut = /what was handed out beside comes again/.test(answer.text);
  if (told.length === 0 || (isHandedOut && told.every((one) => /^[^}]*\} is changed$/.test(one)))) return [];
  const rule = onlyReads ? "what only reads changes nothing" : "what is refused changes nothing";
  const kinds = told.map((one) =>
    one.replace(/^[^{]*\{[^}]*\}/, "stream").replace(/:(dead|again[a-z-]*|dead-index|once):.*(?= is)/, ":$1"),
  );
  const about = `${operation?.operationId} ${status}, ${[...new Set(kinds)].sort().join(", ")}`;
  return [{ rule, detail: told.slice(0, 5).join(", "), about }];
};

/**
 * Whether a key is of Weir's: what another client has put there, as another type or under a group that neither the stream nor
 * its settings know, is nobody's to find.
 */
function isOfWeir(key: string, digest: string, known: ReadonlySet<string>): boolean {
  const [, role = "", group] = /\}:([a-z-]+)(?::(.*))?$/s.exec(key) ?? [];
  const kinds: Readonly<Record<string, string>> = {
    dead: "stream",
    again: "hash",
    "again-due": "zset",
    "dead-index": "zset",
    config: "hash",
  };
  const kind = kinds[role];
  return kind === undefined || (digest.startsWith(kind) && (group === undefined || known.has(group)));
}

/** What is deleted leaves nothing behind, but for what goes by itself: answers under an Idempotency-Key have a time to live. */
const deletesAll: Rule = ({ answer: { status }, before, after, prefix, operation, names }) => {
  const { stream = "", group = "" } = names;
  if (status !== 204) return [];
  const ofStream = `${prefix}{${stream}}`;
  const known = new Set([ofStream, `${ofStream}:config`].flatMap((key) => before.keys.get(key)?.groups ?? []));
  const lasting = [...after.keys].flatMap(([key, { ttlMs, digest }]) =>
    ttlMs < 0 && key.startsWith(ofStream) && isOfWeir(key, digest, known) ? [key] : [],
  );
  const left = lasting.filter((key) => {
    if (operation?.operationId === "deleteStream") return true;
    return (
      operation?.operationId === "deleteGroup" &&
      /:(dead|again|again-due|dead-index):/.test(key) &&
      key.endsWith(`:${group}`)
    );
  });
  return left.length === 0 ? [] : [{ rule: "what is deleted leaves nothing behind", detail: left.join(", ") }];
};

const RULES: readonly Rule[] = [needsToken, forbiddenIsRefused, codedIsRefused, tellsItsTime, untouched, deletesAll];
