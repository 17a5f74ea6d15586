import { expect, test } from "vitest";
import { fuzz } from "./run.ts";
import { type Place, startTarget, type Transport } from "./targets.ts";

/** A minute in all; `npm run fuzz` is the long run. */
const SECONDS_EACH = 15;

const TARGETS: readonly (readonly [Place, Transport])[] = [
  ["node", "tcp"],
  ["node", "rest"],
  ["workerd", "tcp"],
  ["workerd", "rest"],
];

test.each(TARGETS)(
  "no request, however odd, is answered other than the document says: %s over %s",
  async (place, transport) => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`npm run fuzz -- --seed ${seed} --on ${place}`);
    const target = await startTarget(place, transport);
    try {
      const deadlineMs = Date.now() + SECONDS_EACH * 1_000;
      const { faults, requests } = await fuzz(target, { seed, requests: 1_000_000, deadlineMs });
      expect(faults.map(({ text }) => text)).toEqual([]);
      // However busy the machine is.
      expect(requests).toBeGreaterThan(20);
    } finally {
      await target.stop();
    }
  },
);
