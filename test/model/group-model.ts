import { compareIds } from "../../shared/ids.ts";
import { type Lease, leaseFormat } from "../../shared/lease.ts";
import type { Settled, SettleRequest } from "../../shared/stream/settle.ts";

/** A promise that was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
}

function promise(holds: boolean, broken: () => string): void {
  if (!holds) throw new Violation(broken());
}

export interface Handed {
  readonly id: string;
  readonly deliveries: number;
  readonly lease: string;
}

export interface DeadRecord {
  readonly id: string;
  readonly reason: string;
}

/** How a batch was come by: a poll and a native read must respect every running lease, the others only those of others. */
export interface HandOut {
  readonly consumer: string;
  /** The consumer asked for its own, or took by force. */
  readonly mayRepeat: boolean;
  readonly isForced: boolean;
  /** Whether nothing ran beside it, so that its place in the order is known. */
  readonly isAlone: boolean;
  /** Something beside it may have broken leases by name. */
  readonly isLoose: boolean;
}

/** One message as a group has it: the entry of the stream, or a copy in the group's side store. */
interface Copy {
  readonly id: string;
  readonly isMain: boolean;
  deliveries: number;
  lease: string | undefined;
  consumer: string;
  isRunning: boolean;
  /** Retried with a delay that has not passed. */
  isWaiting: boolean;
  end: "acked" | "moved" | "rejected" | "dead" | undefined;
  /** What came first is not known: not judged until it is handed out again. */
  isUnsure: boolean;
  /** It was settled and handed out at once, and what came first is not known. */
  readonly isSettledBeside: boolean;
  /** A seek has made it begin anew. */
  readonly isReread: boolean;
  /** How often it was handed out for the last permitted time. */
  lastChances: number;
}

/** What one group must do, by the promises, tracked beside what it does. Throws {@link Violation}. */
export class GroupModel {
  readonly name: string;
  readonly maxDeliveries: number;
  /** Ids that this group must finish. */
  readonly expected = new Set<string>();
  /** Ids that a seek has passed over. */
  readonly skipped = new Set<string>();
  /** Ids that were pending here when they were deleted from the stream. */
  readonly ghosts = new Set<string>();
  readonly #read: (lease: string) => Lease | string;
  readonly #copies = new Map<string, Copy>();
  /** Copies in the side store that were never handed out. */
  #fresh: { readonly id: string; readonly deliveries: number; isDue: boolean }[] = [];
  /** Ids that a seek has put before the cursor again. */
  readonly #reread = new Set<string>();
  #cursor = "0-0";
  readonly #rejects = new Map<string, number>();
  readonly #lastRetries = new Map<string, number>();

  constructor(stream: string, name: string, maxDeliveries: number) {
    this.name = name;
    this.maxDeliveries = maxDeliveries;
    const format = leaseFormat(stream, name);
    this.#read = (lease) => format.read(lease);
  }

  get isRereading(): boolean {
    return this.#reread.size > 0;
  }

  /** A batch was handed out. */
  handOut(batch: readonly Handed[], how: HandOut): void {
    for (const message of batch) {
      const lease = this.#read(message.lease);
      if (typeof lease === "string") throw new Violation(`${this.name} handed out a lease that reads as ${lease}`);
      const told = `${lease.id} ${lease.deliveries} ${lease.consumer}`;
      promise(
        told === `${message.id} ${message.deliveries} ${how.consumer}`,
        () => `the lease of ${message.id} says ${told}`,
      );
      this.#handOutOne(message.id, lease.side, message.deliveries, message.lease, how);
    }
  }

  /** A native client read new entries. */
  readNatively(ids: readonly string[], how: HandOut): void {
    for (const id of ids) this.#handOutOne(id, undefined, 1, undefined, how);
  }

  #handOutOne(id: string, side: string | undefined, deliveries: number, lease: string | undefined, how: HandOut): void {
    const what = `${this.name}: delivery ${deliveries} of ${side === undefined ? id : `${id} (side ${side})`}`;
    promise(deliveries <= this.maxDeliveries, () => `${what} is above maxDeliveries ${this.maxDeliveries}`);
    const before = this.#copies.get(side ?? id);
    // After a seek a lease of before may read like the one that is handed out now, and so settle it at once.
    const isOrderUnknown = before !== undefined && (how.isLoose || (before.isUnsure && !how.isAlone));
    const isReread = side === undefined && (before?.isReread === true || this.#reread.has(id));
    if (side === undefined && deliveries === 1) this.#checkFirst(what, id, before, how);
    else if (before === undefined) this.#checkBorn(what, id, { side, deliveries, isLoose: how.isLoose });
    else this.#checkAgain(what, before, deliveries, how);
    const isLast = deliveries === this.maxDeliveries;
    this.#copies.set(side ?? id, {
      id,
      isMain: side === undefined,
      deliveries,
      lease,
      consumer: how.consumer,
      isRunning: !how.isLoose,
      isWaiting: false,
      end: undefined,
      isUnsure: how.isLoose,
      isReread,
      isSettledBeside: isOrderUnknown && (before.end !== undefined || before.isSettledBeside),
      lastChances: (before?.lastChances ?? 0) + (isLast ? 1 : 0),
    });
  }

  #checkFirst(what: string, id: string, before: Copy | undefined, { isAlone, isLoose }: HandOut): void {
    const isReread = this.#reread.delete(id);
    promise(this.expected.has(id) || isReread || isLoose, () => `${what} was not for this group`);
    promise(before === undefined || isReread || isLoose, () => `${what} came before`);
    promise(!isAlone || compareIds(id, this.#cursor) > 0, () => `${what} came after ${this.#cursor}`);
    if (compareIds(id, this.#cursor) > 0) this.#cursor = id;
  }

  #checkBorn(what: string, id: string, of: { side: string | undefined; deliveries: number; isLoose: boolean }): void {
    const { side, deliveries, isLoose } = of;
    if (side === undefined && isLoose) return;
    promise(side !== undefined, () => `${what} came before delivery 1`);
    const at = this.#fresh.findIndex((fresh) => fresh.id === id && fresh.deliveries === deliveries && fresh.isDue);
    promise(at !== -1, () => `${what} came without a retry or replay that is due`);
    this.#fresh.splice(at, 1);
  }

  #checkAgain(what: string, before: Copy, deliveries: number, how: HandOut): void {
    if (before.isUnsure || how.isLoose) return;
    promise(before.end === undefined, () => `${what} came after it was ${before.end}`);
    promise(!before.isWaiting, () => `${what} came before its delay was over`);
    promise(deliveries === before.deliveries + 1, () => `${what} followed delivery ${before.deliveries}`);
    if (!before.isRunning || how.isForced) return;
    const isOwn = before.consumer === how.consumer && how.mayRepeat;
    promise(isOwn, () => `${what} went to ${how.consumer} while the lease of ${before.consumer} was running`);
  }

  /** What has no delivery left may be taken to the dead letters though its lease runs: it is claimed or recovered. */
  mayDie(consumer: string | undefined): void {
    for (const copy of this.#copies.values()) {
      if (consumer !== undefined && copy.consumer !== consumer) continue;
      if (copy.deliveries >= this.maxDeliveries) copy.isRunning = false;
    }
  }

  /** Checks that an answer tells of every lease once. */
  checkSettled(request: SettleRequest, settled: Settled): void {
    const acks = new Set(request.acks);
    const actions = fencedActions(request);
    const staleLeases = settled.stale.map(({ lease }) => lease);
    const stale = new Map(settled.stale.map(({ lease, outcome }) => [lease, outcome]));
    promise(stale.size === staleLeases.length, () => `a lease is stale twice: ${JSON.stringify(settled)}`);
    for (const [lease, outcome] of stale) {
      promise(acks.has(lease) || actions.has(lease), () => `a lease is stale that nobody sent: ${lease}`);
      const read = this.#read(lease);
      if (typeof read === "string") promise(outcome === read, () => `${lease} is ${read}, not ${outcome}`);
      else promise(actions.has(lease) && /^(superseded|settled)$/.test(outcome), () => `${lease} is not ${outcome}`);
    }
    for (const lease of [...acks, ...actions.keys()]) {
      promise(stale.has(lease) || typeof this.#read(lease) !== "string", () => `${lease} is not told to be stale`);
    }
    const done = (wanted: string) => [...actions].filter(([lease, is]) => is === wanted && !stale.has(lease)).length;
    const counts = {
      retried: done("retry"),
      rejected: done("reject"),
      released: done("release"),
      extended: done("extend"),
    };
    const { acked } = settled;
    promise(
      Object.entries(counts).every(([name, count]) =>
        Object.entries(settled).some(([n, c]) => n === name && c === count),
      ),
      () => `the counts do not add up: ${JSON.stringify({ settled, expected: counts })}`,
    );
    const ackable = new Set([...acks].flatMap((lease) => this.#keyOf(lease) ?? []));
    promise(acked <= ackable.size, () => `${acked} acknowledged of ${ackable.size}`);
  }

  /** Retries, rejects and extends were answered. @param isAlone whether nothing ran beside them, so that they are judged */
  fenced(request: SettleRequest, settled: Settled, isAlone: boolean): void {
    const stale = new Set(settled.stale.map(({ lease }) => lease));
    const delays = new Map(request.retries.map(({ lease, delayMs }) => [lease, delayMs]));
    for (const [text, action] of fencedActions(request)) {
      const lease = this.#read(text);
      const copy = this.#copyOf(text);
      if (typeof lease === "string" || copy === undefined) continue;
      const isHeld = copy.lease === text && copy.end === undefined;
      const what = () => `${this.name}: ${action} of delivery ${lease.deliveries} of ${lease.id}`;
      if (isAlone && !copy.isUnsure) {
        const mustHold = isHeld && copy.isRunning && !(copy.isMain && this.ghosts.has(copy.id));
        promise(!mustHold || !stale.has(text), () => `${what()} is stale though that delivery holds the message`);
        // What is held for redelivery knows its delivery number only: after a seek or a handover two leases have it.
        const isHandedOn = copy.isReread || copy.lease === undefined;
        const isNobodys = !copy.isRunning || lease.consumer === copy.consumer;
        const mayHold = isHeld || (isHandedOn && isNobodys && copy.end === undefined);
        promise(mayHold || stale.has(text), () => `${what()} was done though that delivery does not hold the message`);
      }
      if (stale.has(text)) continue;
      copy.lease = text;
      this.#apply(copy, lease, action, delays.get(text));
    }
  }

  #apply(copy: Copy, lease: Lease, action: string, delayMs: number | undefined): void {
    copy.consumer = lease.consumer;
    copy.isRunning = action === "extend";
    if (action === "extend") return;
    if (action === "release") {
      // Not counted: handed out again under the number that it had.
      copy.end = "moved";
      this.#fresh.push({ id: copy.id, deliveries: lease.deliveries, isDue: true });
    } else if (action === "reject") {
      copy.end = "rejected";
      add(this.#rejects, copy.id);
    } else if (lease.deliveries >= this.maxDeliveries) {
      copy.end = "dead";
      add(this.#lastRetries, copy.id);
    } else if (copy.isMain) {
      copy.end = "moved";
      this.#fresh.push({ id: copy.id, deliveries: lease.deliveries + 1, isDue: delayMs === 0 });
    } else {
      copy.lease = undefined;
      copy.isWaiting = delayMs !== 0;
    }
  }

  /** Acknowledgements were answered. */
  acked(leases: readonly string[]): void {
    for (const lease of leases) this.#finish(this.#copyOf(lease));
  }

  ackedNatively(ids: readonly string[]): void {
    for (const id of ids) this.#finish(this.#copies.get(id));
  }

  #finish(copy: Copy | undefined): void {
    if (copy === undefined) return;
    copy.end ??= "acked";
    copy.isRunning = false;
  }

  replayed(ids: readonly string[]): void {
    for (const id of ids) this.#fresh.push({ id, deliveries: 1, isDue: true });
  }

  /** The leases of those entries have ended. */
  expired(ids: Iterable<string>): void {
    for (const id of ids) {
      const copy = this.#copies.get(id);
      if (copy !== undefined) copy.isRunning = false;
    }
  }

  /** All leases have ended, and all delays are over. */
  sideTimePassed(): void {
    for (const copy of this.#copies.values()) {
      if (copy.isMain) continue;
      copy.isRunning = false;
      copy.isWaiting = false;
    }
    for (const fresh of this.#fresh) fresh.isDue = true;
  }

  removed(consumer: string, heir: string | undefined): void {
    for (const copy of this.#copies.values()) {
      if (copy.consumer !== consumer || copy.end !== undefined || copy.isWaiting) continue;
      // What had expired may have been held by Weir already, and then it was not handed over.
      if (!copy.isRunning) copy.isUnsure = true;
      else if (heir === undefined) copy.isRunning = false;
      else Object.assign(copy, { lease: undefined, consumer: heir });
    }
  }

  /** What Weir held was handed over: which of the expired that was is not known. */
  heldRemoved(heir: string | undefined): void {
    if (heir === undefined) return;
    for (const copy of this.#copies.values()) if (!copy.isRunning && copy.end === undefined) copy.isUnsure = true;
  }

  /** @param ids what the stream holds */
  sought(cursor: string, ids: readonly string[]): void {
    this.#cursor = cursor;
    this.#reread.clear();
    for (const id of ids) {
      if (compareIds(id, cursor) <= 0) continue;
      this.expected.add(id);
      if (this.#copies.has(id)) this.#reread.add(id);
    }
    for (const id of this.expected) {
      if (compareIds(id, cursor) <= 0 && !this.#copies.has(id)) this.skipped.add(id);
    }
  }

  deleted(id: string): void {
    const copy = this.#copies.get(id);
    if (copy === undefined) this.skipped.add(id);
    else if (copy.end === undefined || copy.isUnsure) this.ghosts.add(id);
    this.#reread.delete(id);
  }

  /** From here on, what came first is not known for anything of this group. */
  blur(): void {
    for (const copy of this.#copies.values()) {
      copy.isUnsure = true;
      copy.isRunning = false;
    }
  }

  /** Checks, after all was drained, that everything has ended in one of the ways that there are. */
  checkEnd(letters: readonly DeadRecord[]): void {
    const where = (id: string) => `${this.name}: ${id}`;
    promise(this.#fresh.length === 0, () => `${this.name}: never handed out again: ${JSON.stringify(this.#fresh)}`);
    promise(this.#reread.size === 0, () => `${this.name}: not read again after a seek: ${[...this.#reread]}`);
    const byId = Map.groupBy(this.#copies.values(), ({ id }) => id);
    for (const id of this.expected) {
      promise(this.#copies.has(id) || this.skipped.has(id), () => `LOST ${where(id)} was never handed out`);
    }
    for (const [id, copies] of byId) {
      const reasons = letters.filter((letter) => letter.id === id).map(({ reason }) => reason);
      const count = (...wanted: string[]) => reasons.filter((reason) => wanted.includes(reason)).length;
      const rejects = this.#rejects.get(id) ?? 0;
      promise(count("rejected") === rejects, () => `${where(id)} was rejected ${rejects} times, letters: ${reasons}`);
      const open = copies.filter(({ end, isSettledBeside }) => end === undefined && !isSettledBeside).length;
      const lastRetries = this.#lastRetries.get(id) ?? 0;
      const dead = count("max-deliveries", "payload-missing");
      promise(dead >= open + lastRetries, () => `LOST ${where(id)} neither acknowledged nor dead, letters: ${reasons}`);
      const lastChances = copies.reduce((sum, copy) => sum + copy.lastChances, 0);
      const most = lastChances + (this.ghosts.has(id) ? 1 : 0);
      promise(dead <= most, () => `${where(id)} died ${dead} times of at most ${most}, letters: ${reasons}`);
      promise(count("payload-missing") === 0 || this.ghosts.has(id), () => `${where(id)} lost its payload`);
    }
    const known = letters.every(({ id }) => byId.has(id));
    promise(known, () => `${this.name}: dead letters of messages that were never handed out`);
  }

  #keyOf(text: string): string | undefined {
    const lease = this.#read(text);
    return typeof lease === "string" ? undefined : (lease.side ?? lease.id);
  }

  #copyOf(text: string): Copy | undefined {
    const key = this.#keyOf(text);
    return key === undefined ? undefined : this.#copies.get(key);
  }
}

function fencedActions({ extends: extended, retries, rejects, releases }: SettleRequest): Map<string, string> {
  return new Map([
    ...releases.map((lease): [string, string] => [lease, "release"]),
    ...extended.map((lease): [string, string] => [lease, "extend"]),
    ...retries.map(({ lease }): [string, string] => [lease, "retry"]),
    ...rejects.map(({ lease }): [string, string] => [lease, "reject"]),
  ]);
}

function add(counts: Map<string, number>, id: string): void {
  counts.set(id, (counts.get(id) ?? 0) + 1);
}
