import { Buffer } from "node:buffer";
import { CloudEvent } from "cloudevents";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isEventText, isTimestamp, isUri, isUriReference } from "../../shared/cloud-event-attributes.ts";
import { cloudEventJson } from "../../shared/cloud-event-json.ts";
import { encodeMessage, type NewMessage } from "../../shared/message.ts";
import type { Reply } from "../../shared/redis/connection.ts";

const ID = "1690000000000-3";
const SOURCE = "/v1/streams/orders";

/** The event that a client gets of fields that lie in Redis. The SDK throws on one that is not valid. */
function eventOf(fields: readonly Reply[], id = ID): Record<string, unknown> {
  const event: Record<string, unknown> = JSON.parse(cloudEventJson(id, fields, SOURCE));
  expect(new CloudEvent(event).validate()).toBe(true);
  return event;
}

/** The same for a message that Weir stored. */
const stored = (message: NewMessage) => eventOf(encodeMessage(message));

const attributes = { "ce-specversion": "1.0", "ce-id": "A1", "ce-source": "https://shop.example/#a" };

describe("a message that did not come as a CloudEvent becomes one", () => {
  test("with its id, its stream, its type, its time, its key and its attributes", () => {
    const message = { type: "order.paid", key: "4711", data: '{"a":1.0}', attributes: { traceparent: "00-a-b-01" } };
    expect(stored(message)).toEqual({
      specversion: "1.0",
      id: ID,
      source: SOURCE,
      type: "order.paid",
      time: "2023-07-22T04:26:40.000Z",
      traceparent: "00-a-b-01",
      partitionkey: "4711",
      weirid: ID,
      datacontenttype: "application/json",
      data: { a: 1 },
    });
    expect(cloudEventJson(ID, encodeMessage(message), SOURCE)).toContain('"data":{"a":1.0}}');
  });

  test("without a type that an event can have is of the type weir.message", () => {
    for (const type of [undefined, "", "a\nb", "\u0085", "\ufffe"]) {
      expect(stored({ type }).type).toBe("weir.message");
    }
    expect(eventOf(["type", new Uint8Array([0xff])]).type).toBe("weir.message");
  });

  test("leaves out what an event cannot hold, and what would be taken for something else", () => {
    const event = stored({
      key: "a\u0000b",
      attributes: {
        ...{ source: "shop", id: "7", subject: "x", time: "noon", dataschema: "x", specversion: "0.3", weirid: "1-1" },
        ...{ "webhook-id": "x", Upper: "x", "": "x", "ce-id": "alone", é: "x", control: "a\tb", data_base64: "x" },
        fits: "",
      },
    });
    expect(event).toEqual({
      ...{ specversion: "1.0", id: ID, source: SOURCE, type: "weir.message" },
      ...{ time: "2023-07-22T04:26:40.000Z", fits: "", weirid: ID },
    });
  });

  test("has no time where its id is of a time that has no four digits for its year", () => {
    for (const id of ["18446744073709551615-0", "253402300800000-0"])
      expect(eventOf([], id)).not.toHaveProperty("time");
    expect(eventOf([], "253402300799999-0").time).toBe("9999-12-31T23:59:59.999Z");
    expect(eventOf([], "0-1").time).toBe("1970-01-01T00:00:00.000Z");
  });

  test("has its data as JSON, text, bytes, or none at all", () => {
    expect(stored({ data: "null" })).toMatchObject({ data: null, datacontenttype: "application/json" });
    expect(stored({ data: "[]", datacontenttype: "a/b+json" })).toMatchObject({
      data: [],
      datacontenttype: "a/b+json",
    });
    expect(stored({ data: "42", datacontenttype: "text/xml" })).toMatchObject({
      data: "42",
      datacontenttype: "text/xml",
    });
    const bytes = { data: "AP8=", isBase64: true };
    expect(stored({ ...bytes, datacontenttype: "image/png" })).toMatchObject({
      data_base64: "AP8=",
      datacontenttype: "image/png",
    });
    expect(stored(bytes)).not.toHaveProperty("datacontenttype");
    for (const none of [{}, { attributes }]) {
      expect(stored(none)).not.toHaveProperty("data");
      expect(stored(none)).not.toHaveProperty("datacontenttype");
    }
    expect(stored({ datacontenttype: "text/plain" })).toMatchObject({ datacontenttype: "text/plain" });
  });

  test("has a media type that there can be, whatever another client has stated", () => {
    for (const stated of ["", "text", "a/b\n", "é/b", `a/${"b".repeat(300)}`]) {
      expect(eventOf(["datacontenttype", stated, "data", "x"])).toMatchObject({
        datacontenttype: "text/plain",
        data: "x",
      });
      expect(eventOf(["datacontenttype", stated])).not.toHaveProperty("datacontenttype");
    }
    expect(eventOf(["data", Buffer.from([0xff])])).toMatchObject({
      datacontenttype: "application/octet-stream",
      data_base64: "/w==",
    });
    expect(eventOf(["data", "{"])).toMatchObject({ datacontenttype: "text/plain", data: "{" });
  });
});

describe("a message that came as a CloudEvent", () => {
  test("comes back with its own attributes, and with the message's id", () => {
    const all = {
      ...attributes,
      "ce-subject": "parcel 7",
      "ce-time": "2026-01-31T12:00:00+02:00",
      "ce-dataschema": "urn:schema:1",
      "ce-sequence": "42",
      "ce-retried": "true",
      "ce-text": "42",
      "ce-weirid": "9-9",
    };
    expect(stored({ type: "t", key: "k", data: "1", attributes: all, ceScalars: ["sequence", "retried"] })).toEqual({
      specversion: "1.0",
      id: "A1",
      source: "https://shop.example/#a",
      type: "t",
      subject: "parcel 7",
      time: "2026-01-31T12:00:00+02:00",
      dataschema: "urn:schema:1",
      sequence: 42,
      retried: true,
      text: "42",
      partitionkey: "k",
      weirid: ID,
      datacontenttype: "application/json",
      data: 1,
    });
    expect(stored({ type: "t", attributes })).not.toHaveProperty("time");
  });

  test("is one only with a version, an id and a source that are valid; otherwise the stream is its source", () => {
    for (const wrong of [
      { "ce-specversion": "0.3" },
      { "ce-id": "" },
      { "ce-source": "" },
      { "ce-source": "a b" },
      { "ce-source": "\n" },
    ]) {
      expect(stored({ attributes: { ...attributes, ...wrong } })).toMatchObject({ id: ID, source: SOURCE });
    }
  });

  test("leaves out what another client has made of its attributes that is not valid", () => {
    const wrong = {
      "ce-time": "noon",
      "ce-dataschema": "x",
      "ce-subject": "",
      "ce-Odd": "x",
      "ce-type": "y",
      "ce-x": "\n",
    };
    expect(stored({ type: "t", attributes: { ...attributes, ...wrong } })).toEqual({
      ...{ specversion: "1.0", id: "A1", source: "https://shop.example/#a", type: "t", weirid: ID },
    });
    const flat = Object.entries({ ...attributes, "ce-a": "01", "ce-b": "2147483648", "ce-c": "1e3" }).flat();
    expect(eventOf([...flat, "weir-ce-scalars", "a,b,c,id,missing"])).toMatchObject({
      a: "01",
      b: "2147483648",
      c: "1e3",
    });
  });
});

test("whatever lies in Redis, the SDK takes the event for a valid one", () => {
  const name = fc.oneof(
    fc.constantFrom("type", "key", "data", "datacontenttype", "weir-encoding", "weir-ce-scalars", "ce-specversion"),
    fc.constantFrom("ce-id", "ce-source", "ce-time", "ce-subject", "ce-dataschema", "ce-a", "a", "__proto__", "time"),
    fc.string({ unit: "binary" }),
  );
  const value = fc.oneof(
    fc.constantFrom("1.0", "base64", "AAAA", "/x", "urn:x", "2026-01-31T12:00:00Z", "a", "text/plain", "a/b+json", "7"),
    fc.string({ unit: "binary" }),
    fc.uint8Array({ maxLength: 6 }),
    fc.json(),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), (pairs) => {
      const event = eventOf(pairs.flat());
      expect(event.weirid).toBe(ID);
      for (const [member, text] of Object.entries(event)) {
        if (typeof text === "string" && member !== "data") expect(isEventText(text)).toBe(true);
      }
    }),
    { numRuns: 3_000 },
  );
});

describe("what an attribute may be", () => {
  test.each([
    "/",
    "a",
    "1-555-123-4567",
    "/sensors/tn-1234567/alerts",
    "cloudevents/spec/pull/123",
    "https://u:p@h.example:80/a/b?c=d/?#e?/",
    "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
    "mailto:a@b.example",
    "http://[::1]:80/",
    "//h/a",
    "?a",
    "#",
    "file:///a",
    "a%20b",
    "a/b:c",
  ])("%j is a URI-reference", (text) => expect(isUriReference(text)).toBe(true));

  test.each([
    "",
    " ",
    "a b",
    "é",
    "a%2",
    "%",
    "1:2",
    ":a",
    "a[b",
    "http://[1:2]/",
    "http://[::1",
    "#a#b",
    "\n",
    "a\\b",
  ])("%j is none", (text) => expect(isUriReference(text)).toBe(false));

  test("every URI-reference is one for the SDK too, and every URI", () => {
    const made = fc.string({
      unit: fc.constantFrom(..."ab1:/?#[]@!$&'()*+,;=%-._~ ".split(""), "%41", "//", "http://", "[::1]", "::"),
    });
    fc.assert(
      fc.property(made, (text) => {
        const event = { id: "1", type: "t", source: "/" };
        if (isUriReference(text)) new CloudEvent({ ...event, source: text });
        if (isUri(text)) new CloudEvent({ ...event, dataschema: text });
      }),
      { numRuns: 20_000 },
    );
  });

  test.each(["2026-01-31T12:00:00Z", "2024-02-29t23:59:59.123456789z", "0001-01-01T00:00:00-23:59"])(
    "%j is a timestamp",
    (text) => {
      expect(isTimestamp(text)).toBe(true);
      new CloudEvent({ id: "1", type: "t", source: "/", time: text });
    },
  );

  test.each([
    "",
    "2026-01-31",
    "2026-01-31T12:00Z",
    "2026-01-31T12:00:00",
    "2026-02-30T12:00:00Z",
    "2026-01-31T24:00:00Z",
    "2016-12-31T23:59:60Z",
    "2026-01-31T12:00:00+24:00",
    "2026-01-31 12:00:00Z",
    `2026-01-31T12:00:00.${"1".repeat(50)}Z`,
  ])("%j is none", (text) => expect(isTimestamp(text)).toBe(false));
});
