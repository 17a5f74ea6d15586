/** What a caller may do: everything, or what its token's scope names. */
export type Grants = "root" | readonly string[];

/** What a request needs: by a token's scope, the root token itself, or any token that is valid. */
export type Permission = "produce" | "consume" | "read" | "admin" | "metrics" | "root" | "any";

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
export function mayAccess(caller: Grants, permission: Permission, { stream, group }: Resource): boolean {
  if (permission === "any") return true;
  const ofGroup = `${stream}/${group}`;
  if (isPermitted(caller, permission, permission === "consume" ? ofGroup : stream)) return true;
  return permission === "read" && group !== undefined && isPermitted(caller, "consume", ofGroup);
}

/**
 * The scopes of which a token needs one, as {@link mayAccess} takes them; none where any token will do, or only the root
 * token.
 * @param names how stream and group are called there: in the documentation by the path's parameters
 */
export function scopesFor(permission: Permission, { stream, group }: Resource): readonly string[] {
  if (permission === "any" || permission === "root") return [];
  const admin = `admin:${stream ?? "*"}`;
  if (permission === "metrics") return ["metrics", admin];
  if (permission === "admin") return [admin];
  const ofGroup = group === undefined ? [] : [`consume:${stream}/${group}`];
  if (permission === "consume") return [...ofGroup, admin];
  return permission === "read"
    ? [`read:${stream ?? "*"}`, ...ofGroup, admin]
    : [`${permission}:${stream ?? "*"}`, admin];
}

/**
 * Whether a caller may do something.
 * @param resource the stream, or for `consume` the `stream/group`; undefined for what concerns all streams
 */
function isPermitted(caller: Grants, permission: Permission, resource: string | undefined): boolean {
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
