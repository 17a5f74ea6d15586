import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { WireRequest } from "./http.ts";

/** Longer bodies go into a file. */
const MAX_INLINE = 4_096;

/** A request as a command for a shell. @param name of the file that a long body, or one of odd bytes, is written to, if any */
export function curlOf(request: WireRequest, base: URL, name?: string): string {
  const { method, target, headers, framing } = request;
  const parts = ["curl --globoff --path-as-is -sS -i", ...(method === "HEAD" ? ["-I"] : ["-X", quoted(method)])];
  for (const [header, value] of headers) parts.push("-H", quoted(`${header}: ${value}`));
  if (framing === "chunked") parts.push("-H", quoted("Transfer-Encoding: chunked"));
  parts.push(...bodyOf(request, name), quoted(`${base.origin}${target}`));
  return parts.join(" ") + (framing === "short" ? " # with a Content-Length of 10 more, then closed" : "");
}

function bodyOf({ body, headers }: WireRequest, name: string | undefined): string[] {
  if (body === undefined) return [];
  const type = headers.some(([header]) => header === "content-type") ? [] : ["-H", quoted("content-type;")];
  const text = body.toString();
  const isInline = body.length <= MAX_INLINE && !/[\0\ufffd]/.test(text);
  if (isInline) return [...type, "--data-binary", quoted(text)];
  if (name === undefined) return [`--data-binary '@${body.length} bytes'`];
  const file = join(tmpdir(), `weir-fuzz-${name}.body`);
  writeFileSync(file, body);
  return [...type, "--data-binary", quoted(`@${file}`)];
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
