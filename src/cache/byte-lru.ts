import { LRUCache } from 'lru-cache';
import type { CacheKey } from './keys.js';

/** What an entry takes beside its value (measured): the key, places in map and order, the objects around the bytes. */
export const ENTRY_OVERHEAD_BYTES = 600;
/** No entry may take more than this share of the whole. */
const ENTRY_SHARE = 8;

interface Held<V> {
  readonly value: V;
  readonly expiresAtMs: number;
}

/** The layer in this process: least recently used goes first, bounded by bytes. */
export class ByteLru<V> {
  readonly #held: LRUCache<CacheKey, Held<V>>;
  readonly #nowMs: () => number;
  #evictions = 0;

  constructor(bytesMax: number, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#held = new LRUCache({
      maxSize: bytesMax,
      maxEntrySize: Math.max(1, Math.floor(bytesMax / ENTRY_SHARE)),
      // Replacements and expiries are no evictions.
      dispose: (_value, _key, reason) => {
        if (reason === 'evict') this.#evictions++;
      },
    });
  }

  get bytes(): number {
    return this.#held.calculatedSize;
  }

  get count(): number {
    return this.#held.size;
  }

  get evictions(): number {
    return this.#evictions;
  }

  get(key: CacheKey): V | null {
    const held = this.#held.get(key);
    if (held === undefined) return null;
    if (this.#nowMs() < held.expiresAtMs) return held.value;
    this.#held.delete(key);
    return null;
  }

  /** `bytes`: of the value alone. One that is too large for the whole is not kept. */
  set(key: CacheKey, value: V, bytes: number, ttlMs: number): void {
    this.#held.set(
      key,
      { value, expiresAtMs: this.#nowMs() + ttlMs },
      { size: bytes + ENTRY_OVERHEAD_BYTES },
    );
  }

  delete(key: CacheKey): void {
    this.#held.delete(key);
  }
}
