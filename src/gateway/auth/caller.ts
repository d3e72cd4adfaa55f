import { SwitchyardError } from '../../errors.js';
import type { KeyRole } from '../../registry/schema.js';
import { echo } from '../limits.js';
import type { Quota } from './quota.js';

/** Who sends a request, as far as the listener asked. */
export interface Caller {
  /** Of the key, for the audit; null where no key is asked for. */
  readonly keyId: string | null;
  /** Who counts as having asked; empty where no key is asked for. */
  readonly keyName: string;
  readonly role: KeyRole | null;
  /** Errors: PERMISSION_DENIED, the same for a corpus that exists and one that does not. */
  checkCorpus(corpus: string): void;
  /**
   * Once a request is there whole, which may be long after it was let in. Errors: UNAUTHENTICATED where the key ended
   * meanwhile, REGISTRY_UNAVAILABLE where the keys are too old by now.
   */
  checkStanding(): void;
  /** Counts a request against the quota; each that entered must leave. Errors: QUOTA_EXCEEDED. */
  enter(): void;
  leave(): void;
  /** A request that holds several was entered as one. */
  charge(more: number): void;
}

const nothing = (): void => undefined;

/** Whoever reaches a listener that asks for no key. */
export const ANYONE: Caller = Object.freeze({
  keyId: null,
  keyName: '',
  role: null,
  checkCorpus: nothing,
  checkStanding: nothing,
  enter: nothing,
  leave: nothing,
  charge: nothing,
});

/** The holder of a key that was verified. */
export class KeyHolder implements Caller {
  readonly keyId: string;
  readonly keyName: string;
  readonly role: KeyRole;
  readonly #corpora: ReadonlySet<string> | null;
  readonly #quota: Quota;
  readonly #checkStanding: (keyId: string) => void;

  /** `corpora` empty: all. `checkStanding` throws where the key would not be let in any more. */
  constructor(
    { keyId, name }: { readonly keyId: string; readonly name: string },
    role: KeyRole,
    corpora: readonly string[],
    quota: Quota,
    checkStanding: (keyId: string) => void,
  ) {
    this.keyId = keyId;
    this.keyName = name;
    this.role = role;
    this.#corpora = corpora.length === 0 ? null : new Set(corpora);
    this.#quota = quota;
    this.#checkStanding = checkStanding;
  }

  checkStanding(): void {
    this.#checkStanding(this.keyId);
  }

  checkCorpus(corpus: string): void {
    if (this.#corpora === null || this.#corpora.has(corpus)) return;
    throw new SwitchyardError(
      'PERMISSION_DENIED',
      `key ${this.keyId} is not for corpus ${echo(corpus)}: use a key that is`,
      { details: { key_id: this.keyId } },
    );
  }

  enter(): void {
    this.#quota.enter();
  }

  leave(): void {
    this.#quota.leave();
  }

  charge(more: number): void {
    this.#quota.charge(more);
  }
}
