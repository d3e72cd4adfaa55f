import { REASONS, SwitchyardError } from '../errors.js';
import type { SearchOutcome } from '../router/query.js';
import { LineLimit } from '../telemetry/line-limit.js';
import type { Logger } from '../telemetry/log.js';
import type { FaceMetrics, RequestScope } from './requests.js';

/** Of all batches; one batch says one line. */
const LINES_PER_S_MAX = 10;

/**
 * What is counted and logged of the items of a batch. Their errors travel inside an answer, so the request itself ends
 * as OK and says nothing of them.
 */
export class BatchItems {
  readonly #metrics: FaceMetrics;
  readonly #log: Logger;
  readonly #lines = new LineLimit(LINES_PER_S_MAX);

  constructor(metrics: FaceMetrics, log: Logger) {
    this.#metrics = metrics;
    this.#log = log;
  }

  answered(items: readonly (SearchOutcome | SwitchyardError)[], scope: RequestScope): void {
    const { protocol } = scope;
    const errors = items.filter((item) => item instanceof SwitchyardError);
    const answeredCount = items.length - errors.length;
    if (answeredCount > 0) this.#metrics.batchItems(protocol, 'OK', answeredCount);
    if (errors.length === 0) return;
    for (const { reason } of errors) this.#metrics.batchItems(protocol, reason, 1);
    this.#write(errors, scope);
  }

  /** The first cause that no client is told, as it is logged of a single request. */
  #write(errors: readonly SwitchyardError[], { protocol, requestId }: RequestScope): void {
    const worst =
      errors.find(({ reason }) => reason === 'INTERNAL') ??
      errors.find(({ reason, cause }) => cause !== undefined && REASONS[reason].http >= 500);
    if (worst === undefined || !this.#lines.takes(performance.now())) return;
    const { reason } = worst;
    const fields = {
      err: worst.cause ?? worst,
      operation: `${protocol} batch_search`,
      requestId,
      reason,
      items: errors.filter((error) => error.reason === reason).length,
    };
    if (reason === 'INTERNAL') this.#log.error(fields, 'items of a batch failed');
    else this.#log.warn(fields, 'items of a batch failed');
  }
}
