import * as z from "zod";
import { once } from "./once.ts";

/** What settling did: of a consume, of a settle, and of either where the rest of it failed. */
export const settledSchema = once(() =>
  z
    .object({
      acked: z.int().meta({ description: "Deliveries that this took off the pending ones" }),
      retried: z.int(),
      rejected: z.int(),
      released: z.int(),
      extended: z.int(),
      stale: z.array(
        z.object({ lease: z.string(), outcome: z.enum(["superseded", "settled", "foreign", "malformed"]) }),
      ),
    })
    .meta({ id: "Settled" }),
);
