import type { RemoteParent, RequestSpan, SpanSink } from './trace.js';

/** W3C headers (HTTP) and metadata (gRPC). */
export const TRACE_PARENT = 'traceparent';
export const TRACE_STATE = 'tracestate';
export const TRACE_RESPONSE = 'traceresponse';

const PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;
const PARENT_CHARS_MAX = 128;
const STATE_CHARS_MAX = 512;
const SAMPLED = 1;
const BPS = 10_000;

export interface TracerOptions {
  /** Of the requests that come without a trace of their own, in basis points. */
  readonly sampleBps: number;
  /** Traces begun in one second at most, whatever clients ask for. */
  readonly tracesPerSMax: number;
  readonly sink: SpanSink;
  readonly nowMs: () => number;
  /** [0, 1) */
  readonly random: () => number;
}

/**
 * Decides which requests are traced, before anything is built for them: an unsampled span of the SDK costs more than
 * the rest of a request's bookkeeping. A client's own decision is followed, within a limit.
 */
export class Tracer {
  readonly #options: TracerOptions;
  #second = 0;
  #inSecond = 0;
  readonly counters = { sampled: 0, overLimit: 0 };

  constructor(options: TracerOptions) {
    this.#options = options;
  }

  /** `parent`, `state`: the client's headers, undefined where there are none. Null: the request is not traced. */
  begin(name: string, parent: unknown, state: unknown): RequestSpan | null {
    const given = parent === undefined ? null : parseParent(parent, state);
    const { sampleBps, random, sink, nowMs } = this.#options;
    if (given === null ? random() * BPS >= sampleBps : !given.sampled) return null;
    const atMs = nowMs();
    if (!this.#hasRoom(atMs)) {
      this.counters.overLimit++;
      return null;
    }
    this.counters.sampled++;
    return sink.request(name, atMs, given);
  }

  close(): Promise<void> {
    return this.#options.sink.close();
  }

  #hasRoom(atMs: number): boolean {
    const second = Math.floor(atMs / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    return ++this.#inSecond <= this.#options.tracesPerSMax;
  }
}

/** Null for what is no W3C trace context: then the trace begins here. */
export function parseParent(
  parent: unknown,
  state: unknown,
): (RemoteParent & { readonly sampled: boolean }) | null {
  if (typeof parent !== 'string' || parent.length > PARENT_CHARS_MAX) return null;
  const [, version, traceId, spanId, flags] = PARENT.exec(parent) ?? [];
  if (version === undefined || traceId === undefined || spanId === undefined || flags === undefined)
    return null;
  if (version === 'ff' || (version === '00' && parent.length !== 55)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  return {
    traceId,
    spanId,
    state: typeof state === 'string' && state.length <= STATE_CHARS_MAX ? state : '',
    sampled: (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED,
  };
}
