import type * as z from "zod";
import type * as Wire from "../../client/wire.ts";
import type { Differences, Same } from "./same.ts";

/**
 * What each operation takes and answers on the wire, by `operationId`: its query, its JSON body, and the JSON of its
 * answers. What is absent it has not. `route()` compiles only where its schemas are the same, to the letter.
 */
export interface Operations {
  getHealth: { answer: Wire.Status };
  getReadiness: { answer: Wire.Status };

  putStream: { body: Wire.StreamSettings; answer: Wire.Stream };
  listStreams: { query: Wire.PageQuery; answer: Wire.StreamPage };
  getStream: { answer: Wire.Stream };
  deleteStream: NoJson;
  trimStream: { body: Wire.TrimRequest; answer: Wire.TrimAnswer };
  getRetention: { answer: Wire.RetentionForecast };

  produce: { query: Wire.ProduceQuery; body: Wire.ProduceRequest; answer: Wire.ProduceAnswer };
  readMessages: { query: Wire.ReadQuery; answer: Wire.MessagePage };
  getMessage: { answer: Wire.Message };
  messageStates: { answer: Wire.MessageStates };
  deleteMessage: NoJson;
  listScheduled: { query: Wire.PageQuery; answer: Wire.ScheduledPage };
  getScheduled: { answer: Wire.Scheduled };
  cancelScheduled: NoJson;

  putWebhookSource: { body: Wire.WebhookSettings; answer: Wire.WebhookSource };
  listWebhookSources: { query: Wire.PageQuery; answer: Wire.WebhookPage };
  getWebhookSource: { answer: Wire.WebhookSource };
  deleteWebhookSource: NoJson;
  verifyWebhook: { body: Wire.VerifyWebhookRequest; answer: Wire.VerifyWebhookAnswer };

  putGroup: { body: Wire.GroupSettings; answer: Wire.Group };
  listGroups: { query: Wire.PageQuery; answer: Wire.GroupPage };
  getGroup: { answer: Wire.Group };
  deleteGroup: NoJson;
  seek: { body: Wire.SeekRequest; answer: Wire.SeekAnswer };
  replay: { body: Wire.ReplayRequest; answer: Wire.ReplayAnswer };

  consume: { body: Wire.ConsumeRequest; answer: Wire.Batch };
  settle: { body: Wire.SettleRequest; answer: Wire.SettleAnswer };
  listPending: { query: Wire.PendingQuery; answer: Wire.PendingPage };
  listDelayed: { query: Wire.PageQuery; answer: Wire.DelayedPage };
  claim: { body: Wire.ClaimRequest; answer: Wire.ClaimAnswer };
  listConsumers: { query: Wire.PageQuery; answer: Wire.ConsumerPage };
  removeConsumer: { query: Wire.RemoveConsumerQuery; answer: Wire.RemoveConsumerAnswer };

  listDeadLetters: { query: Wire.DeadLetterQuery; answer: Wire.DeadLetterPage };
  summarizeDeadLetters: { answer: Wire.DeadLetterSummary };
  getDeadLetter: { answer: Wire.DeadLetter };
  redrive: { body: Wire.RedriveRequest; answer: Wire.RedriveAnswer };
  deleteDeadLetters: { body: Wire.DeleteDeadLettersRequest; answer: Wire.DeleteDeadLettersAnswer };

  runReaper: { answer: Wire.ReaperRun };
  listReaperRuns: { answer: Wire.ReaperRuns };
  issueToken: { body: Wire.IssueTokenRequest; answer: Wire.IssuedToken };
  revokeToken: { body: Wire.RevokeTokenRequest };
  getToken: { answer: Wire.TokenInfo };
  listAlerts: { answer: Wire.Alerts };

  // For people and for other programs than the client.
  getStart: { answer: { name: "Weir"; links: Record<"console" | "reference" | "openapi" | "ready", string> } };
  getReference: NoJson;
  getApiDocument: { answer: Record<string, unknown> };
  getMetrics: NoJson;
}

export type OperationId = keyof Operations;

type NoJson = Readonly<Record<never, never>>;

type Part<Id extends OperationId, Name extends string> =
  Operations[Id] extends Readonly<Record<Name, infer Type>> ? Type : never;

/** What is added to the type of a route's query, body or answers: nothing where it is as the wire types say. */
type AsOnWire<Schema, Type> = Same<Schema, Type> extends true ? unknown : Differs<Differences<Schema, Type>>;

/** No schema has this member: the compiler names it, and with it where the schema differs from the wire type. */
interface Differs<Paths> {
  readonly "the schema differs from the wire type": Paths;
}

export type QueryAsOnWire<Id extends OperationId, Query extends z.ZodObject> = AsOnWire<
  z.input<Query>,
  [Part<Id, "query">] extends [never] ? Record<string, never> : AsText<Part<Id, "query">>
>;

/** In a query all is text. */
type AsText<Query> = {
  [Name in keyof Query]: number extends Query[Name] ? Exclude<Query[Name], number> | string : Query[Name];
};

export type BodyAsOnWire<Id extends OperationId, Schemas> = AsOnWire<
  Schemas extends { readonly "application/json": infer Schema extends z.ZodType } ? z.input<Schema> : never,
  Part<Id, "body">
>;

/** @template Answers what is answered with each status; unknown: without JSON */
export type AnswersAsOnWire<Id extends OperationId, Answers> = AsOnWire<
  { [Status in keyof Answers]: unknown extends Answers[Status] ? never : Answers[Status] }[keyof Answers],
  Part<Id, "answer">
>;
