/** Values below the first bound count as the first bucket, those above the last as the last. */
const FIRST = 50;
const GROWTH = 1.1;
const BUCKETS = 160;
const LOG_GROWTH = Math.log(GROWTH);

/** Non-empty buckets, [number, count]: what is written down. */
export type HistogramCounts = readonly (readonly [bucket: number, count: number])[];

/**
 * Counts in buckets that grow by a tenth: quantiles to within a tenth over seven decades, 50 µs to 3 min when the values
 * are microseconds. Histograms of several processes and times add up.
 */
export class LogHistogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;

  static of(...parts: readonly HistogramCounts[]): LogHistogram {
    const sum = new LogHistogram();
    for (const part of parts) sum.add(part);
    return sum;
  }

  get count(): number {
    return this.#count;
  }

  observe(value: number): void {
    const at = value <= FIRST ? 0 : Math.ceil(Math.log(value / FIRST) / LOG_GROWTH);
    const bucket = Math.min(BUCKETS - 1, at);
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#count++;
  }

  add(counts: HistogramCounts): void {
    for (const [bucket, count] of counts) {
      if (!Number.isInteger(bucket) || bucket < 0 || bucket >= BUCKETS || !(count > 0)) continue;
      this.#counts[bucket] = (this.#counts[bucket] as number) + count;
      this.#count += count;
    }
  }

  counts(): HistogramCounts {
    const counts: (readonly [number, number])[] = [];
    this.#counts.forEach((count, bucket) => {
      if (count > 0) counts.push([bucket, count]);
    });
    return counts;
  }

  /** Null while it is empty. Linear within its bucket. */
  quantile(share: number): number | null {
    return this.#count === 0 ? null : this.#atRank(share * this.#count);
  }

  /**
   * A quantile with the interval that `z` standard deviations of its rank give (binomial, so nothing is assumed of the
   * values' distribution); never narrower than its bucket. Null while it is empty.
   */
  quantileInterval(
    share: number,
    z: number,
  ): { readonly low: number; readonly value: number; readonly high: number } | null {
    if (this.#count === 0) return null;
    const spread = z * Math.sqrt(this.#count * share * (1 - share));
    const rank = share * this.#count;
    return {
      low: this.#atRank(Math.max(0, rank - spread)),
      value: this.#atRank(rank),
      high: this.#atRank(Math.min(this.#count, rank + spread)),
    };
  }

  #atRank(rank: number): number {
    let below = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const count = this.#counts[bucket] as number;
      if (count > 0 && below + count >= rank) {
        const low = bucket === 0 ? 0 : FIRST * GROWTH ** (bucket - 1);
        const high = FIRST * GROWTH ** bucket;
        return low + ((high - low) * Math.max(0, rank - below)) / count;
      }
      below += count;
    }
    return FIRST * GROWTH ** (BUCKETS - 1);
  }
}
