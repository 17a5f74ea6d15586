// The aims that were set for the hot paths, each with what this run measured. It judges nothing.
import {
  BULLMQ,
  BULLMQ_100,
  CLIENT,
  CORE,
  nameOf,
  type Operation,
  RAW_CONSUME,
  RAW_PRODUCE,
  type Throughput,
} from "../sections/throughput.ts";
import type { Aim, Results } from "./results.ts";

const NODE = "Weir Node, TCP";
const REST = "Weir workerd, REST";

export function compareWithAims(results: Omit<Results, "aims">): Aim[] {
  const { throughput, distance, memory } = results;
  const row = (operation: Operation, system: string) => find(throughput, operation, system);
  const ratio = (operation: Operation, system: string, peer: string) => {
    const [ours, theirs] = [row(operation, system), row(operation, peer)];
    return ours && theirs && (ours.messagesPerSecond.median / theirs.messagesPerSecond.median).toFixed(2);
  };
  const both = (...parts: (string | undefined)[]) => parts.filter((part) => part !== undefined).join(", ") || undefined;
  const labelled = (label: string, value: string | undefined) => value && `${label} ${value}`;
  const speed = (operation: Operation, system: string) => row(operation, system)?.messagesPerSecond.median ?? 0;
  const fasterBullmq = (operation: Operation) =>
    speed(operation, BULLMQ_100) > speed(operation, BULLMQ) ? BULLMQ_100 : BULLMQ;
  const bullmq = (operation: Operation) => [
    labelled(`${operation}: Node`, ratio(operation, NODE, fasterBullmq(operation))),
    labelled("workerd REST", ratio(operation, REST, fasterBullmq(operation))),
  ];
  const at20 = distance.find(({ latencyMs, system }) => latencyMs === 20 && system === REST);
  const commands = (operation: Operation) => row(operation, REST)?.commandsPerMessage?.toFixed(3);
  const cpu = (operation: Operation) => {
    const ms = row(operation, REST)?.cpuMsPerRequest?.median.toFixed(2);
    return ms && `${ms} ms ${operation}`;
  };
  return [
    {
      about: "produce, batch 100, 16 connections, Node / ioredis pipelined XADD, one connection",
      aim: "1.0",
      measured: ratio("produce", NODE, RAW_PRODUCE),
    },
    { about: "the same through workerd over REST", aim: "0.6", measured: ratio("produce", REST, RAW_PRODUCE) },
    {
      about: "consume and acknowledge, batch 100, 16 connections, Node / ioredis XREADGROUP, then XACK, one connection",
      aim: "0.9",
      measured: ratio("consume", NODE, RAW_CONSUME),
    },
    { about: "the same through workerd over REST", aim: "0.6", measured: ratio("consume", REST, RAW_CONSUME) },
    {
      about: "against BullMQ, matched batches in flight (its better concurrency)",
      aim: "5",
      measured: both(...bullmq("produce"), ...bullmq("consume")),
    },
    {
      about: "the client's Consumer with an empty handler / the hand-written loop, batch 100, 16 connections, Node",
      aim: "0.9",
      measured: ratio("consume", `${NODE}${CLIENT}`, NODE),
    },
    {
      about: "one pipeline per batch against read-then-ack, 20 ms to Redis",
      aim: "1.85",
      measured: at20 && (at20.onePipeline.median / at20.readThenAck.median).toFixed(2),
    },
    {
      about: "commands per message at batch 100",
      aim: "at most 0.03 consumed, 1.02 produced",
      measured: both(labelled("consumed", commands("consume")), labelled("produced", commands("produce"))),
    },
    {
      about: "CPU in workerd for a batch of 100, median (all threads of the process, per request)",
      aim: "at most 5 ms",
      measured: both(cpu("produce"), cpu("consume")),
    },
    {
      about: "Redis memory per 200-byte message / payload; per pending message",
      aim: "at most 1.2; 90 B",
      measured:
        memory &&
        `${(memory.bytesPerMessage / memory.bytesPerPayload).toFixed(2)}; ${memory.bytesPerPending.toFixed(0)} B`,
    },
  ];
}

function find(throughput: readonly Throughput[], operation: Operation, system: string): Throughput | undefined {
  const name = nameOf({ operation, system, shape: CORE });
  return throughput.find((row) => nameOf(row) === name);
}
