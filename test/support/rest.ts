/** What the endpoint answered: the status, the headers and the parsed body. */
export type Answer = { status: number; headers: Headers; body: unknown };

/** Sends to an endpoint as Upstash's client does. */
export async function post(
  endpoint: { url: string; token: string },
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const authorization = `Bearer ${endpoint.token}`;
  const response = await fetch(endpoint.url + path, {
    method: "POST",
    body: text,
    headers: { authorization, ...headers },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}
