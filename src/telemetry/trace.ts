/** Values that few digits or few words say: names, numbers, reasons. Never a text, a vector or a key. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** A span of another trace that this one has to do with. */
export interface SpanLink {
  readonly traceId: string;
  readonly spanId: string;
}

/** The parts of a query as traces show them. */
export type SpanName = 'pick' | 'cache' | 'encode' | 'encode_batch' | 'search' | 'mirror';

export interface SpanEnd {
  /** Why it failed: a reason of the catalogue. */
  readonly failed?: string;
  readonly links?: readonly SpanLink[];
}

/**
 * A span under which work is recorded. Whoever may be traced is handed one or undefined, and asks that one thing: what
 * is not traced costs nothing. Work is recorded when it is over; times are `performance.now()` of this process.
 */
export interface Span {
  record(name: SpanName, startMs: number, endMs: number, attributes: SpanAttributes, end?: SpanEnd): void;
  /** For work that has parts of its own. */
  open(name: SpanName, startMs: number): OpenSpan;
  /** A trace of its own for work that several requests share; they link to it. */
  shared(name: SpanName, startMs: number, endMs: number, attributes: SpanAttributes): SpanLink;
}

export interface OpenSpan extends Span {
  end(endMs: number, attributes: SpanAttributes, failed?: string): void;
}

/** The span of a whole request. */
export interface RequestSpan extends OpenSpan {
  readonly traceId: string;
  /** W3C `traceresponse`: what the client is told. */
  readonly traceResponse: string;
}

/** What a client said about its own trace. */
export interface RemoteParent {
  readonly traceId: string;
  readonly spanId: string;
  /** W3C `tracestate` as it came; '' for none. */
  readonly state: string;
}

/** Where spans go. */
export interface SpanSink {
  request(name: string, startMs: number, parent: RemoteParent | null): RequestSpan;
  /** Sends what is left. */
  close(): Promise<void>;
}
