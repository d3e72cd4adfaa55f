/** A histogram of fixed size, with what a mean and a range need. */
export interface DistributionReport {
  readonly count: number;
  readonly sum: number;
  readonly min: number | null;
  readonly max: number | null;
  /** `count` values are at most `le` and above the last bucket's; the last bucket's `le` is Infinity. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
}

/** Values by bucket. Memory does not grow with what is observed. */
export class Distribution {
  private readonly bounds: readonly number[];
  private readonly counts: Float64Array;
  private count = 0;
  private sum = 0;
  private min = Number.POSITIVE_INFINITY;
  private max = Number.NEGATIVE_INFINITY;

  /** `bounds` rise; what is above the last falls into a bucket of its own. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let at = 0;
    while (at < this.bounds.length && value > (this.bounds[at] as number)) at++;
    this.counts[at] = (this.counts[at] as number) + 1;
    this.count++;
    this.sum += value;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
  }

  report(): DistributionReport {
    return {
      count: this.count,
      sum: this.sum,
      min: this.count === 0 ? null : this.min,
      max: this.count === 0 ? null : this.max,
      buckets: [...this.counts].map((count, at) => ({
        le: this.bounds[at] ?? Number.POSITIVE_INFINITY,
        count,
      })),
    };
  }
}
