import type { Reason, SwitchyardError } from '../errors.js';
import type { SnapshotTarget } from './snapshot.js';

/**
 * What failed within one batch. Its items are asked together, and each has an error object of its own even where one
 * moment failed them all: those of one reason at one target are judged as one failure, by the first of them.
 */
export class BatchFailures {
  readonly #first = new Map<SnapshotTarget, Map<Reason, SwitchyardError>>();

  firstLike(target: SnapshotTarget, error: SwitchyardError): SwitchyardError {
    const ofTarget = this.#first.get(target) ?? new Map<Reason, SwitchyardError>();
    this.#first.set(target, ofTarget);
    const first = ofTarget.get(error.reason) ?? error;
    ofTarget.set(error.reason, first);
    return first;
  }
}
