/** What a caller may do: everything, or what its token's scope names. */
export type Caller = "root" | readonly string[];

/** What a request needs: by a token's scope, or the root token itself. */
export type Permission =
  | "produce"
  | "consume"
  | "read"
  | "admin"
  | "metrics"
  | "root"
  /** Any valid token: the handler decides, by what the request is about. */
  | "any";

/** What a request is about; both undefined for what concerns all streams. */
export interface Resource {
  readonly stream?: string | undefined;
  readonly group?: string | undefined;
}

const NAME = "(?!\\.{1,2}(?:/|$))[A-Za-z0-9._:-]{1,128}";
const BEGINNING = "[A-Za-z0-9._:-]{0,128}\\*";
const RESOURCE = `(?:${NAME}|${BEGINNING})`;

/**
 * A scope that can permit something: it names what there can be, or how that begins, and then a star. What is none of
 * these grants nothing, which nobody would notice before it is needed.
 */
export const SCOPE = new RegExp(
  `^(?:metrics|(?:produce|read|admin):${RESOURCE}|consume:(?:${BEGINNING}|${NAME}/${RESOURCE}))$`,
);

/** Whether a caller may do something. Who may consume as a group may also read all that is below it. */
export function mayAccess(caller: Caller, permission: Permission, { stream, group }: Resource): boolean {
  if (permission === "any") return true;
  const ofGroup = `${stream}/${group}`;
  if (isPermitted(caller, permission, permission === "consume" ? ofGroup : stream)) return true;
  return permission === "read" && group !== undefined && isPermitted(caller, "consume", ofGroup);
}

/**
 * Whether a caller may do something.
 * @param resource the stream, or for `consume` the `stream/group`; undefined for what concerns all streams
 */
function isPermitted(caller: Caller, permission: Permission, resource: string | undefined): boolean {
  if (caller === "root") return true;
  if (permission === "root") return false;
  return caller.some((scope) => {
    const [granted, pattern] = splitScope(scope);
    if (granted === "admin") return covers(pattern, streamOf(resource));
    return granted === permission && (permission === "metrics" || covers(pattern, resource));
  });
}

function splitScope(scope: string): [permission: string, pattern: string] {
  const colon = scope.indexOf(":");
  return colon === -1 ? [scope, ""] : [scope.slice(0, colon), scope.slice(colon + 1)];
}

/** What concerns all streams needs a pattern that covers all. */
function covers(pattern: string, resource: string | undefined): boolean {
  if (pattern.endsWith("*")) return (resource ?? "").startsWith(pattern.slice(0, -1));
  return resource !== undefined && pattern === resource;
}

function streamOf(resource: string | undefined): string | undefined {
  return resource?.split("/")[0];
}
