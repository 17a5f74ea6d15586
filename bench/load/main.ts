// The load generator: a process of its own, so that nothing else is done in it while it measures.
import { answerParent } from "../rpc.ts";
import { bullmqConsume, bullmqProduce } from "./bullmq.ts";
import { clientConsume } from "./client.ts";
import { endToEnd } from "./end-to-end.ts";
import { growth } from "./growth.ts";
import type { Job, Sample } from "./job.ts";
import { memory } from "./memory.ts";
import { natsConsume, natsProduce } from "./nats.ts";
import { rawConsume, rawProduce } from "./raw.ts";
import { weirConsume, weirProduce } from "./weir.ts";

function run(job: Job): Promise<Sample> {
  switch (job.kind) {
    case "weir-produce":
      return weirProduce(job);
    case "weir-consume":
      return weirConsume(job);
    case "client-consume":
      return clientConsume(job);
    case "raw-produce":
      return rawProduce(job);
    case "raw-consume":
      return rawConsume(job);
    case "bullmq-produce":
      return bullmqProduce(job);
    case "bullmq-consume":
      return bullmqConsume(job);
    case "nats-produce":
      return natsProduce(job);
    case "nats-consume":
      return natsConsume(job);
    case "end-to-end":
      return endToEnd(job);
    case "growth":
      return growth(job);
    case "memory":
      return memory(job);
  }
}

answerParent<Job, Sample>(run);
