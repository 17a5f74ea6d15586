import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, expect, test } from "vitest";
import { clientOf } from "../support/client.ts";
import { eventually } from "../support/wait.ts";
import { ROOT_TOKEN, startWorker } from "../support/worker.ts";

/** The order service of docs/consuming.md, as a process of its own. */
const SERVICE = "test/client/fixtures/order-service.ts";
const RESTARTS = 20;
/** Less than the work on a large order takes: 5 s. */
const ACK_WAIT_MS = 3_000;

interface Handled {
  readonly group: "mail" | "ledger";
  readonly id: string;
  readonly deliveries: number;
}

const worker = startWorker();
const handled: Handled[] = [];
/** What `stopOnSignals` gave, for each process and group. */
const stopped: { readonly unsettled: number }[] = [];
const errors: string[] = [];
let service: ChildProcess | undefined;

afterAll(() => service?.kill("SIGKILL"));

function start(): ChildProcess {
  const env = { ...process.env, WEIR_URL: worker.url().href, WEIR_TOKEN: ROOT_TOKEN };
  const child = spawn(process.execPath, [SERVICE], { env, stdio: ["ignore", "pipe", "pipe"] });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const told = JSON.parse(line);
    if ("stopped" in told) stopped.push(...told.stopped);
    else handled.push(told);
  });
  createInterface({ input: child.stderr }).on("line", (line) => errors.push(line));
  service = child;
  return child;
}

/** @returns with which exit code or signal it ended */
async function stop(child: ChildProcess): Promise<unknown> {
  const closed = once(child, "close");
  child.kill("SIGTERM");
  const [code, signal] = await closed;
  return signal ?? code;
}

/** Each has a customer; every 10th is greylisted at first, every 15th has no address, few are large. */
function order(n: number) {
  const email = n % 15 === 0 ? null : n % 10 === 0 ? `${n}@greylisting.example` : `${n}@mail.example`;
  return { type: "order.paid", key: `customer-${n % 7}`, data: { email, total: n === 40 || n === 400 ? 20_000 : n } };
}

test("an order service that is restarted 20 times under load loses nothing, and handles nothing twice", async () => {
  const stream = clientOf(worker).stream("orders");
  await stream.put();
  for (const name of ["mail", "ledger"]) await stream.group(name).put({ ackWaitMs: ACK_WAIT_MS });
  const ids: string[] = [];
  let isOver = false;
  const produce = async () => {
    for (let n = 1; !isOver; n += 10) {
      ids.push(...(await stream.produce(Array.from({ length: 10 }, (_, i) => order(n + i)))));
      // Load that it can bear: the ledger has 7 customers, 10 ms an order.
      await eventually("the service keeps up", () => isOver || ids.length - countOf("ledger") < 200);
    }
  };
  const producing = produce();
  for (let restart = 1; restart <= RESTARTS; restart++) {
    const [mails, bookings] = [countOf("mail"), countOf("ledger")];
    const child = start();
    // At another moment each time.
    const more = 1 + ((restart * 7) % 30);
    await eventually("it works", () => countOf("mail") >= mails + more && countOf("ledger") >= bookings + more);
    expect(await stop(child)).toBe(0);
  }
  isOver = true;
  await producing;
  const last = start();
  const groups = [stream.group("mail"), stream.group("ledger")];
  await eventually("all is done", async () => {
    const left = await Promise.all(groups.map((group) => group.get()));
    return left.every(({ lag, pending, delayed }) => lag === 0 && pending === 0 && delayed === 0);
  });
  expect(await stop(last)).toBe(0);

  expect(errors).toEqual([]);
  expect(stopped).toEqual(Array(2 * (RESTARTS + 1)).fill({ unsettled: 0 }));
  expect(ids.length).toBeGreaterThan(400);
  const isOf = (wanted: (n: number) => boolean) => ids.filter((_, i) => wanted(i + 1)).sort();
  expect(idsOf(({ group }) => group === "ledger")).toEqual([...ids].sort());
  expect(idsOf(({ group, deliveries }) => group === "ledger" && deliveries !== 1)).toEqual([]);
  expect(idsOf(({ group }) => group === "mail")).toEqual(isOf((n) => n % 15 !== 0));
  expect(idsOf(({ group, deliveries }) => group === "mail" && deliveries !== 1)).toEqual(
    isOf((n) => n % 10 === 0 && n % 15 !== 0),
  );
  const dead = await stream.group("mail").deadLetters().toArray();
  expect(dead.map(({ message }) => message.id).sort()).toEqual(isOf((n) => n % 15 === 0));
  expect(await stream.group("ledger").deadLetters().toArray()).toEqual([]);
}, 180_000);

function countOf(wanted: Handled["group"]): number {
  return handled.filter(({ group }) => group === wanted).length;
}

/** Sorted, each as often as it was handled. */
function idsOf(isWanted: (handled: Handled) => boolean): string[] {
  return handled
    .filter(isWanted)
    .map(({ id }) => id)
    .sort();
}
