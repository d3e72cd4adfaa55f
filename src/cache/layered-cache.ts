import type { Timers } from '../process/timers.js';
import type { Fingerprint } from '../vocabulary.js';
import { ByteLru } from './byte-lru.js';
import {
  type CacheKind,
  encodeFrame,
  type FrameDefect,
  frameExpiresAtMs,
  isMixUp,
  readFrame,
} from './frame.js';
import type { CacheKey, CacheKeys } from './keys.js';
import type { RedisLayer } from './redis-layer.js';

/** An entry says itself which space it belongs to; it is compared wherever it is used (invariant 1). */
export interface CacheEntry {
  readonly fingerprint: Fingerprint;
}

/** How the entries of one kind become bytes and come back. */
export interface EntryCodec<Entry extends CacheEntry> {
  readonly kind: CacheKind;
  /** The payload; not changed afterwards. */
  encode(entry: Entry): Uint8Array;
  /** An entry with memory of its own, or null for a payload that is no entry. */
  decode(payload: Buffer, fingerprint: Fingerprint): Entry | null;
  /** What the entry takes in this process. */
  bytesOf(entry: Entry): number;
}

export interface LayeredCacheOptions<Entry extends CacheEntry> {
  readonly codec: EntryCodec<Entry>;
  readonly keys: CacheKeys;
  readonly bytesMax: number;
  readonly ttlMs: number;
  readonly redis: RedisLayer | null;
  readonly timers: Timers;
  /** Milliseconds since 1970: what gateways that share Redis can compare. */
  readonly wallClockMs: () => number;
  /** [0, 1) */
  readonly random: () => number;
}

/** Share of the time to live that is random, so that what was written together does not expire together. */
const TTL_JITTER = 0.15;

export interface CacheCounters {
  readonly memory: { hits: number; misses: number; refused: number };
  readonly redis: {
    hits: number;
    misses: number;
    /** Not asked: breaker open, or too much under way. */
    skipped: number;
    failed: number;
    /** Values that were not taken, by why. */
    invalid: Map<FrameDefect | 'payload', number>;
  };
}

/** Entries of one kind: first in this process, then in Redis where there is one. Nothing here rejects. */
export class LayeredCache<Entry extends CacheEntry> {
  readonly #options: LayeredCacheOptions<Entry>;
  readonly #memory: ByteLru<Entry>;
  readonly counters: CacheCounters = {
    memory: { hits: 0, misses: 0, refused: 0 },
    redis: { hits: 0, misses: 0, skipped: 0, failed: 0, invalid: new Map() },
  };

  constructor(options: LayeredCacheOptions<Entry>) {
    this.#options = options;
    this.#memory = new ByteLru(options.bytesMax, () => options.timers.nowMs());
  }

  get kind(): CacheKind {
    return this.#options.codec.kind;
  }

  get bytes(): number {
    return this.#memory.bytes;
  }

  get count(): number {
    return this.#memory.count;
  }

  get evictions(): number {
    return this.#memory.evictions;
  }

  /** From this process, at once. */
  recall(key: CacheKey, fingerprint: Fingerprint): Entry | null {
    const { memory } = this.counters;
    const entry = this.#memory.get(key);
    if (entry === null) {
      memory.misses++;
      return null;
    }
    if (entry.fingerprint !== fingerprint) {
      this.refuse(key);
      return null;
    }
    memory.hits++;
    return entry;
  }

  /** From Redis, into this process. Null also where there is no Redis. */
  async fetch(key: CacheKey, fingerprint: Fingerprint): Promise<Entry | null> {
    const { redis: layer, codec, keys, ttlMs, wallClockMs } = this.#options;
    const { redis } = this.counters;
    if (layer === null) return null;
    const shared = keys.shared(key);
    const read = await layer.get(shared);
    if (read === 'absent') redis.misses++;
    else if (read === 'skipped') redis.skipped++;
    else if (read === 'failed') redis.failed++;
    else {
      const payload = readFrame(read, { kind: codec.kind, fingerprint, key: shared });
      if (typeof payload === 'string') {
        if (isMixUp(payload)) layer.mixedUp();
        return this.#invalid(payload);
      }
      const entry = codec.decode(payload, fingerprint);
      if (entry === null) return this.#invalid('payload');
      redis.hits++;
      layer.trusted();
      // It has lived there already. The clocks of two hosts may differ, but nothing is kept for longer than one time to live.
      const leftMs = Math.min(frameExpiresAtMs(read) - wallClockMs(), ttlMs);
      if (leftMs > 0) this.#remember(key, entry, leftMs);
      return entry;
    }
    return null;
  }

  /** Whoever asked cannot use the entry: it is forgotten here. */
  refuse(key: CacheKey): void {
    this.counters.memory.refused++;
    this.#memory.delete(key);
  }

  put(key: CacheKey, entry: Entry): void {
    const { redis, codec, keys, wallClockMs } = this.#options;
    const ttlMs = this.#ttlMs();
    this.#remember(key, entry, ttlMs);
    if (redis === null) return;
    const { fingerprint } = entry;
    const label = { kind: codec.kind, fingerprint, key: keys.shared(key) };
    redis.set(label.key, encodeFrame(label, codec.encode(entry), wallClockMs() + ttlMs), ttlMs);
  }

  #remember(key: CacheKey, entry: Entry, ttlMs: number): void {
    this.#memory.set(key, entry, this.#options.codec.bytesOf(entry), ttlMs);
  }

  #invalid(why: FrameDefect | 'payload'): null {
    const { invalid } = this.counters.redis;
    invalid.set(why, (invalid.get(why) ?? 0) + 1);
    return null;
  }

  /** At most the configured time. */
  #ttlMs(): number {
    const { ttlMs, random } = this.#options;
    return ttlMs * (1 - TTL_JITTER * random());
  }
}
