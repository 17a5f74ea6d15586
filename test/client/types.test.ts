import { describe, expectTypeOf, test } from "vitest";
import type {
  Batch,
  ClientOptions,
  CloudEvent,
  ConsumeRequest,
  Delivery,
  ErrorCode,
  EventPage,
  GroupClient,
  Message,
  MessagePage,
  NewMessage,
  Pages,
  ProduceOptions,
  StreamClient,
  WeirClient,
  WeirErrorCode,
} from "../../client/index.ts";
import { WeirError } from "../../client/index.ts";

/** Checked by the compiler alone: nothing of this is run. */
function compiled(weir: WeirClient, stream: StreamClient, group: GroupClient): void {
  // @ts-expect-error a url is needed
  const noUrl: ClientOptions = { token: "t" };
  // @ts-expect-error a token is needed
  const noToken: ClientOptions = { url: "http://weir.test" };
  // @ts-expect-error a token is text, or a function that gets text
  const noText: ClientOptions = { url: "http://weir.test", token: () => 1 };
  // @ts-expect-error no such member: what is misspelt must not be sent in vain
  stream.produce({ datta: 1 });
  // @ts-expect-error Weir has no option of that name
  stream.produce({ data: 1 }, { idempotencyKeys: "x" });
  // @ts-expect-error attributes are text
  stream.produce({ attributes: { n: 1 } });
  // @ts-expect-error bytes and text only
  stream.produceBody({ a: 1 }, { contentType: "application/json" });
  // @ts-expect-error a body says of which type it is
  stream.produceBody("text", {});
  // @ts-expect-error an event has a source
  stream.produceEvents({ specversion: "1.0", id: "1", type: "t" });
  // @ts-expect-error no other version
  stream.produceEvents({ specversion: "0.3", id: "1", source: "/", type: "t" });
  // @ts-expect-error a consumer has a name
  group.consume({ batchSize: 10 });
  // @ts-expect-error leases stand in a list
  group.settle({ acks: "lease" });
  // @ts-expect-error a retry names its lease
  group.settle({ retries: [{ delayMs: 1 }] });
  // @ts-expect-error `all` is true, or not there
  group.redrive({ all: false });
  // @ts-expect-error no such reason
  group.deadLetters({ reason: "bored" });
  // @ts-expect-error where it is moved to
  group.seek({});
  // @ts-expect-error no such provider
  weir.webhook("w").put({ provider: "nobody" });
  void [noUrl, noToken, noText];
}

async function changing(weir: WeirClient): Promise<void> {
  const page = await weir.streams().first();
  // @ts-expect-error what was answered stays as it is
  page.streams.push();
  // @ts-expect-error and so does each of its members
  page.next = null;
}

describe("the types", () => {
  test("of what answers are those of the wire", () => {
    expectTypeOf<StreamClient["produce"]>().returns.resolves.toEqualTypeOf<readonly string[]>();
    expectTypeOf<StreamClient["produceEvents"]>().returns.resolves.toEqualTypeOf<readonly string[]>();
    expectTypeOf<StreamClient["messages"]>().returns.toEqualTypeOf<Pages<Message, MessagePage>>();
    expectTypeOf<StreamClient["events"]>().returns.toEqualTypeOf<Pages<CloudEvent, EventPage>>();
    expectTypeOf<StreamClient["event"]>().returns.resolves.toEqualTypeOf<CloudEvent>();
    expectTypeOf<StreamClient["delete"]>().returns.resolves.toEqualTypeOf<void>();
    expectTypeOf<GroupClient["consume"]>().returns.resolves.toEqualTypeOf<Batch>();
    expectTypeOf<GroupClient["claim"]>().returns.resolves.toEqualTypeOf<readonly Delivery[]>();
    expectTypeOf<GroupClient["removeConsumer"]>().returns.resolves.toEqualTypeOf<number | undefined>();
    expectTypeOf<Delivery>().toExtend<Message>();
    expectTypeOf<Message["data"]>().toEqualTypeOf<unknown>();
    expectTypeOf(compiled).toBeFunction();
    expectTypeOf(changing).toBeFunction();
  });

  test("of requests take undefined for what is left out, so that options can be handed on", () => {
    expectTypeOf<{ data: number; key: undefined; delayMs: undefined }>().toExtend<NewMessage>();
    expectTypeOf<{ consumer: string; acks: undefined; pollState: undefined }>().toExtend<ConsumeRequest>();
    expectTypeOf<{ idempotencyKey: undefined; signal: undefined }>().toExtend<ProduceOptions>();
    expectTypeOf<{ url: string; token: string; fetch: undefined; retry: undefined }>().toExtend<ClientOptions>();
    expectTypeOf<Parameters<StreamClient["produce"]>[0]>().toEqualTypeOf<NewMessage | readonly NewMessage[]>();
  });

  test("take the fetch of this runtime, and a token however it is come by", () => {
    expectTypeOf<typeof globalThis.fetch>().toExtend<ClientOptions["fetch"]>();
    expectTypeOf<() => Promise<string>>().toExtend<ClientOptions["token"]>();
    expectTypeOf<() => string>().toExtend<ClientOptions["token"]>();
  });

  test("of errors narrow by class, and have the codes of the wire and the client's own", () => {
    expectTypeOf<ErrorCode>().toExtend<WeirErrorCode>();
    expectTypeOf<"no-answer" | "unexpected-answer">().toExtend<WeirErrorCode>();
    const error: unknown = new WeirError("no-answer", "m");
    if (error instanceof WeirError) expectTypeOf(error.code).toEqualTypeOf<WeirErrorCode>();
  });

  test("of lists are those of their items, however they are read", () => {
    expectTypeOf<Pages<Message, MessagePage>>().toExtend<AsyncIterable<Message>>();
    expectTypeOf<Pages<Message, MessagePage>["toArray"]>().returns.resolves.toEqualTypeOf<Message[]>();
    expectTypeOf<Pages<Message, MessagePage>["first"]>().returns.resolves.toEqualTypeOf<MessagePage>();
  });
});
