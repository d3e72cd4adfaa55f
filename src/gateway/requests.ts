import type { Reason } from '../errors.js';
import type { SearchOutcome } from '../router/query.js';
import { LineLimit } from '../telemetry/line-limit.js';
import type { Logger } from '../telemetry/log.js';
import type { RequestSpan, SpanAttributes } from '../telemetry/trace.js';
import { TRACE_PARENT, TRACE_STATE, type Tracer } from '../telemetry/tracer.js';
import type { Priority } from '../vocabulary.js';
import { FailedItems, type ItemsAnswered } from './batch-items.js';

export const PROTOCOLS = ['grpc', 'http'] as const;
export type Protocol = (typeof PROTOCOLS)[number];
export const OPERATIONS = ['search', 'batch_search', 'embed'] as const;
export type Operation = (typeof OPERATIONS)[number];

const OPERATION_OF_METHOD: ReadonlyMap<string, Operation> = new Map([
  ['/switchyard.v1.SearchService/Search', 'search'],
  ['/switchyard.v1.SearchService/BatchSearch', 'batch_search'],
  ['/switchyard.v1.SearchService/Embed', 'embed'],
]);

/** Of a gRPC method's path; undefined for what is none of the three. */
export const operationOf = (path: string): Operation | undefined => OPERATION_OF_METHOD.get(path);

/** What became of a request. CANCELLED: its client went away before it was answered, so nobody was told anything. */
export type RequestEnd = Reason | 'OK' | 'CANCELLED';

/**
 * Reasons that are the gateway's own fault, as the alerts on failing requests count them: load that is shed, deadlines and
 * what clients do wrong are none. A test compares them with the rules.
 */
export const OWN_FAILURES = [
  'INTERNAL',
  'QUEUE_FULL',
  'ENCODER_UNAVAILABLE',
  'INDEX_UNAVAILABLE',
  'REGISTRY_UNAVAILABLE',
  'CORRUPT_MODEL',
  'CORRUPT_BUNDLE',
  'CORRUPT_SNAPSHOT',
  'CORRUPT_ARCHIVE',
  'CORRUPT_CHECKPOINT',
  'FINGERPRINT_MISMATCH',
  'PROBE_MISMATCH',
] as const satisfies readonly Reason[];

export interface FaceMetrics {
  /**
   * Told once per request of the three operations, whatever became of it. `durationMs`: null where nothing was done for
   * it, since it was refused at the door or did not arrive whole: what it took then is its client's own time.
   * `priority`: live also where it was refused before it was read.
   */
  requestFinished(
    protocol: Protocol,
    operation: Operation,
    end: RequestEnd,
    durationMs: number | null,
    priority: Priority,
  ): void;
  /** Told of the items of a batch that was answered: each has an outcome of its own. */
  batchItems(protocol: Protocol, outcome: Reason | 'OK', count: number): void;
}

/** Lines about slow requests of one priority in one second at most: a slow disk under the log must not make the next ones slow. */
const SLOW_LINES_PER_S_MAX = 10;

/** One request of the three operations, as the log and the trace know it. */
export interface RequestScope {
  readonly protocol: Protocol;
  readonly operation: Operation;
  readonly requestId: string;
  /** Of the API key that it came with, which is no secret; null where none is asked for. */
  readonly keyId: string | null;
  /** Null for a request that is not traced. */
  readonly trace: RequestSpan | null;
  /** As it says itself, once it is read; a batch is bulk work when all its items are. */
  priority: Priority;
  /** When it had arrived whole; null before. */
  arrivedAtMs: number | null;
  /** When its answer or refusal was finished and had yet to be sent; null before, and where the two are one. */
  answeredAtMs: number | null;
  /** The answer to a search, once there is one. */
  answer: SearchOutcome | null;
  /** What became of the items of a batch, once they are answered. */
  items: ItemsAnswered | null;
}

export interface RequestsOptions {
  readonly log: Logger;
  readonly metrics: FaceMetrics;
  /** Null: nothing is traced. */
  readonly tracer: Tracer | null;
  /** 0: none is logged for being slow. */
  readonly slowRequestMs: number;
}

/** What is counted, logged and traced of every request, whatever became of it. */
export class Requests {
  readonly #options: RequestsOptions;
  readonly #logsAll: boolean;
  /** Of each priority its own: bulk work is slow by design, and hides nobody who waits. */
  readonly #slowLines: Readonly<Record<Priority, LineLimit>> = {
    live: new LineLimit(SLOW_LINES_PER_S_MAX),
    bulk: new LineLimit(SLOW_LINES_PER_S_MAX),
  };
  readonly #failedItems: FailedItems;

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#failedItems = new FailedItems(options.log);
    this.#logsAll = options.log.isLevelEnabled('debug');
  }

  /** `header`: one of the request's headers or metadata by its name; asked only where tracing is on. */
  begin<Headers>(
    protocol: Protocol,
    operation: Operation,
    requestId: string,
    keyId: string | null,
    headers: Headers,
    header: (headers: Headers, name: string) => unknown,
  ): RequestScope {
    const { tracer } = this.#options;
    const trace =
      tracer === null
        ? null
        : tracer.begin(
            `${protocol} ${operation}`,
            header(headers, TRACE_PARENT),
            header(headers, TRACE_STATE),
          );
    return scopeOf(protocol, operation, requestId, keyId, trace);
  }

  /** A request that was refused before it began: it is counted, and neither timed, traced nor logged. */
  refused(protocol: Protocol, operation: Operation, reason: Reason): void {
    this.#options.metrics.requestFinished(protocol, operation, reason, null, 'live');
  }

  finish(scope: RequestScope, outcome: RequestEnd): void {
    const endedAtMs = scope.answeredAtMs ?? performance.now();
    // Not how long its client took to send it, nor to read the answer: neither is the gateway's.
    const durationMs = scope.arrivedAtMs === null ? null : endedAtMs - scope.arrivedAtMs;
    const { metrics, slowRequestMs } = this.#options;
    metrics.requestFinished(scope.protocol, scope.operation, outcome, durationMs, scope.priority);
    // Of a batch that was refused after all, or that nobody waited for, nobody was told of any item.
    if (scope.items !== null && outcome === 'OK') this.#countItems(scope, scope.items);
    scope.trace?.end(endedAtMs, attributesOf(scope), outcome === 'OK' ? undefined : outcome);
    const isSlow =
      slowRequestMs > 0 &&
      durationMs !== null &&
      durationMs >= slowRequestMs &&
      this.#slowLines[scope.priority].takes(endedAtMs);
    if (isSlow || this.#logsAll) this.#write(scope, outcome, durationMs, isSlow);
  }

  #countItems({ protocol, operation, requestId }: RequestScope, { foundCount, errors }: ItemsAnswered): void {
    const { metrics } = this.#options;
    if (foundCount > 0) metrics.batchItems(protocol, 'OK', foundCount);
    if (errors.length === 0) return;
    for (const { reason } of errors) metrics.batchItems(protocol, reason, 1);
    this.#failedItems.write(errors, `${protocol} ${operation}`, requestId);
  }

  #write(scope: RequestScope, outcome: RequestEnd, durationMs: number | null, isSlow: boolean): void {
    const { protocol, operation, requestId, keyId, trace, answer } = scope;
    const fields = {
      protocol,
      operation,
      requestId,
      ...(keyId === null ? {} : { keyId }),
      ...(trace === null ? {} : { traceId: trace.traceId }),
      priority: scope.priority,
      outcome,
      ...(durationMs === null ? {} : { durationMs: Number(durationMs.toFixed(3)) }),
      ...(answer === null ? {} : { queryId: answer.queryId, ...answer.servedBy, ...answer.timings }),
    };
    if (isSlow) this.#options.log.warn(fields, 'a request was slow');
    else this.#options.log.debug(fields, 'a request was answered');
  }
}

/** Of a request that begins to arrive. */
export const scopeOf = (
  protocol: Protocol,
  operation: Operation,
  requestId: string,
  keyId: string | null,
  trace: RequestSpan | null,
): RequestScope => ({
  protocol,
  operation,
  requestId,
  keyId,
  trace,
  priority: 'live',
  arrivedAtMs: null,
  answeredAtMs: null,
  answer: null,
  items: null,
});

/** By the conventions of OpenTelemetry where they have a name. */
function attributesOf({ protocol, operation, requestId, answer }: RequestScope): SpanAttributes {
  return {
    'rpc.system': protocol,
    'rpc.method': operation,
    request_id: requestId,
    ...(answer === null
      ? {}
      : {
          query_id: answer.queryId,
          corpus_version: answer.servedBy.corpusVersion,
          build: answer.servedBy.build.slice(0, 16),
          model: answer.servedBy.model,
          fingerprint: answer.servedBy.fingerprint,
          route_revision: answer.servedBy.routeRevision,
          tier: answer.servedBy.tier,
          result_cache: answer.servedBy.resultCache,
        }),
  };
}
