import type { Hit } from '../index/search-index.js';
import type { EncodedHits } from './encoded-hits.js';
import type { SearchOutcome, ServedBy } from './query.js';

/** An answer whose hits are encoded already, and become objects only for whoever looks at them. */
export class EncodedOutcome implements SearchOutcome {
  readonly queryId: string;
  readonly servedBy: ServedBy;
  readonly degraded: readonly string[];
  readonly timings: SearchOutcome['timings'];
  private readonly encoded: EncodedHits;
  private decoded: readonly Hit[] | null = null;

  constructor(fields: Omit<SearchOutcome, 'hits' | 'hitsWire'>, encoded: EncodedHits) {
    this.queryId = fields.queryId;
    this.servedBy = fields.servedBy;
    this.degraded = fields.degraded;
    this.timings = fields.timings;
    this.encoded = encoded;
  }

  get hits(): readonly Hit[] {
    this.decoded ??= this.encoded.decode();
    return this.decoded;
  }

  get hitsWire(): Buffer {
    return this.encoded.wire;
  }
}
