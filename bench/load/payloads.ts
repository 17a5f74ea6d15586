import examples from "@octokit/webhooks-examples" with { type: "json" };

/** What messages hold: JSON of 200 bytes, of 4 KB, or GitHub's webhooks as they are. */
export type PayloadKind = "200 B" | "4 KB" | "webhooks";

/** The largest message that a stream for such payloads has to take; it bounds a batch, by 8 MiB in all. */
export const MAX_MESSAGE_BYTES: Readonly<Record<PayloadKind, number>> = {
  "200 B": 8_192,
  "4 KB": 8_192,
  webhooks: 65_536,
};

/** @returns JSON texts, to be used in turn */
export function payloads(kind: PayloadKind): readonly string[] {
  if (kind === "webhooks") return webhooks();
  const bytes = kind === "200 B" ? 200 : 4_096;
  return Array.from({ length: 16 }, (_, i) => order(i, bytes));
}

/** An order of so many bytes. */
function order(number: number, bytes: number): string {
  const base = {
    orderId: 1_000_000 + number,
    customer: `c-${4_711 + number}`,
    total: 129.5,
    currency: "EUR",
    paid: true,
    items: [{ sku: "A-1", quantity: 2 }],
    note: "",
  };
  const missing = bytes - JSON.stringify(base).length;
  return JSON.stringify({ ...base, note: "Leave it with the neighbours, please. ".repeat(120).slice(0, missing) });
}

function webhooks(): string[] {
  const texts = examples.flatMap((event) => event.examples.map((example) => JSON.stringify(example)));
  return texts.filter((text) => Buffer.byteLength(text) < MAX_MESSAGE_BYTES.webhooks);
}
