// The Upstash-compatible endpoint, in a process of its own as it is in production. argv: Redis' URL, token.
import { startUpstash } from "../../local/upstash.ts";
import { answerParent } from "../rpc.ts";

export interface EndpointQuestion {
  latencyMs: number;
}
export interface EndpointAnswer {
  url: string;
}

// As fast as it can be: its stricter rules cost each command of a script a little.
process.env.UPSTASH_LIBERTIES ??= "all";

const [, , redisUrl = "", token = ""] = process.argv;
const endpoint = startUpstash({ redisUrl, token });

answerParent<EndpointQuestion, EndpointAnswer>(async ({ latencyMs }) => {
  const { url } = await endpoint;
  (await endpoint).latencyMs = latencyMs;
  return { url };
});
