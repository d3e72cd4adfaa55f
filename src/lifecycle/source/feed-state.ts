import type { FeedChange } from './feed.js';

export type FeedEffect = 'applied' | 'stale' | 'repeated';

/** What a feed says of every id, given the changes read so far in any order. */
export class FeedState {
  readonly #latest = new Map<string, FeedChange>();

  /** Of one id the highest version counts, of equal ones the first that came: what is delivered again changes nothing. */
  apply(change: FeedChange): FeedEffect {
    const known = this.#latest.get(change.id);
    if (known !== undefined && change.version < known.version) return 'stale';
    if (known !== undefined && change.version === known.version) return 'repeated';
    this.#latest.set(change.id, change);
    return 'applied';
  }

  /** Whether a change would make a document void, in the version of it that counts now. */
  wouldVoid({ id, version }: FeedChange): boolean {
    const known = this.#latest.get(id);
    return known !== undefined && !known.isDeleted && version > known.version;
  }

  /** Null for an id that never came. */
  latest(id: string): FeedChange | null {
    return this.#latest.get(id) ?? null;
  }

  /** Whether this very version of a document is what counts. */
  isCurrent(id: string, version: number): boolean {
    const known = this.#latest.get(id);
    return known !== undefined && known.version === version && !known.isDeleted;
  }

  /** Those that are not deleted, in the order in which their ids came first. */
  live(): FeedChange[] {
    return [...this.#latest.values()].filter(({ isDeleted }) => !isDeleted);
  }
}
