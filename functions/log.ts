/**
 * Writes one line of JSON to the log: Workers' logs and container platforms both read it as fields.
 * @param fields no payload, no secret; those that are undefined are left out
 */
export function log(level: "info" | "error", message: string, fields: Readonly<Record<string, unknown>> = {}): void {
  const line = JSON.stringify({ time: new Date().toISOString(), level, message, ...fields });
  if (level === "error") console.error(line);
  else console.log(line);
}
