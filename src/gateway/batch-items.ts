import { REASONS, type Reason, SwitchyardError } from '../errors.js';
import type { SearchOutcome } from '../router/query.js';
import { LineLimit } from '../telemetry/line-limit.js';
import type { Logger } from '../telemetry/log.js';

/** Of each reason, of all batches; one batch says one line. */
const LINES_PER_S_MAX = 10;

/** What became of the items of a batch, without the answers themselves, which may be large. */
export interface ItemsAnswered {
  readonly foundCount: number;
  readonly errors: readonly SwitchyardError[];
}

export function itemsAnswered(items: readonly (SearchOutcome | SwitchyardError)[]): ItemsAnswered {
  const errors = items.filter((item) => item instanceof SwitchyardError);
  return { foundCount: items.length - errors.length, errors };
}

/**
 * Lines about items of batches that failed. Their errors travel inside an answer, so the request itself ends as OK and
 * says nothing of them.
 */
export class FailedItems {
  readonly #log: Logger;
  /** Many of one reason hide none of another. */
  readonly #lines = new Map<Reason, LineLimit>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** The first cause that no client is told, as it is logged of a single request. */
  write(errors: readonly SwitchyardError[], operation: string, requestId: string): void {
    const worst =
      errors.find(({ reason }) => reason === 'INTERNAL') ??
      errors.find(({ reason, cause }) => cause !== undefined && REASONS[reason].http >= 500);
    if (worst === undefined || !this.#linesOf(worst.reason).takes(performance.now())) return;
    const { reason } = worst;
    const fields = {
      err: worst.cause ?? worst,
      operation,
      requestId,
      reason,
      items: errors.filter((error) => error.reason === reason).length,
    };
    if (reason === 'INTERNAL') this.#log.error(fields, 'items of a batch failed');
    else this.#log.warn(fields, 'items of a batch failed');
  }

  #linesOf(reason: Reason): LineLimit {
    const known = this.#lines.get(reason);
    if (known !== undefined) return known;
    const fresh = new LineLimit(LINES_PER_S_MAX);
    this.#lines.set(reason, fresh);
    return fresh;
  }
}
