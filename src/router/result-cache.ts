import type { CacheKey, CacheKeys } from '../cache/keys.js';
import { type EntryCodec, LayeredCache, type LayeredCacheOptions } from '../cache/layered-cache.js';
import { type Flown, SingleFlight } from '../cache/single-flight.js';
import { EncodedHits } from './encoded-hits.js';
import type { FoundResult, ResultEntry } from './found.js';
import type { SearchCall } from './query.js';
import type { OpenTarget } from './targets.js';

export const RESULT_CODEC: EntryCodec<ResultEntry> = {
  kind: 'result',
  encode: ({ hits }) => hits.payload,
  decode: (payload, fingerprint) => {
    // A view would keep the socket's whole chunk alive.
    const own = Buffer.allocUnsafeSlow(payload.length);
    own.set(payload);
    const hits = EncodedHits.read(own);
    return hits === null ? null : { fingerprint, hits };
  },
  bytesOf: ({ hits }) => hits.payload.length,
};

/** Answers of builds. A key names the build and everything else an answer depends on, so nothing is ever flushed. */
export class ResultCache {
  readonly layers: LayeredCache<ResultEntry>;
  readonly flights: SingleFlight<FoundResult>;
  private readonly keys: CacheKeys;

  constructor(keys: CacheKeys, options: Omit<LayeredCacheOptions<ResultEntry>, 'codec' | 'keys'>) {
    this.keys = keys;
    this.layers = new LayeredCache({ ...options, keys, codec: RESULT_CODEC });
    this.flights = new SingleFlight(options.timers);
  }

  keyOf(call: SearchCall, { spec, index }: OpenTarget): CacheKey {
    const { query, topK, withDocument } = call;
    return this.keys.result({
      build: spec.build,
      fingerprint: spec.fingerprint,
      expansion: index.bundle.manifest.expansion_search,
      topK,
      withDocument,
      query: query.kind === 'text' ? query.text : query.values,
    });
  }

  recall(key: CacheKey, { spec }: OpenTarget): ResultEntry | null {
    return this.layers.recall(key, spec.fingerprint);
  }

  fetch(key: CacheKey, { spec }: OpenTarget): Promise<ResultEntry | null> {
    return this.layers.fetch(key, spec.fingerprint);
  }

  put(key: CacheKey, entry: ResultEntry): void {
    this.layers.put(key, entry);
  }

  /** `work` once for all who ask the same in the same lane: nobody who is urgent waits for somebody who is not. */
  once(
    key: CacheKey,
    { priority, deadlineAtMs }: SearchCall,
    work: () => Promise<FoundResult>,
  ): Promise<Flown<FoundResult>> {
    return this.flights.run(priority === 'live' ? key : `${priority} ${key}`, deadlineAtMs, work);
  }
}
