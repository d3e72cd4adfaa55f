/** Who shares a limit. Operators' requests are on listeners of their own and never wait for these. */
export const PARTITIONS = ['live', 'shadow', 'bulk'] as const;
export type Partition = (typeof PARTITIONS)[number];
export type Shares = Readonly<Record<Partition, number>>;

/**
 * Requests in flight under one limit. Whoever comes first may have all of it; when it is used up, a partition below its
 * guaranteed share is still let in, so none is starved by the others. What is in flight can therefore exceed the limit
 * for as long as it takes the others to end.
 */
export class Partitions {
  readonly #shares: Shares;
  readonly #limit: () => number;
  readonly #inFlight: Record<Partition, number> = { live: 0, shadow: 0, bulk: 0 };
  #total = 0;

  /** `shares`: 0..1 each, together at most 1. */
  constructor(shares: Shares, limit: () => number) {
    this.#shares = shares;
    this.#limit = limit;
  }

  get total(): number {
    return this.#total;
  }

  /** Whoever comes is let in for the share of his partition alone. */
  get isUsedUp(): boolean {
    return this.#total >= this.#limit();
  }

  inFlightOf(partition: Partition): number {
    return this.#inFlight[partition];
  }

  /**
   * Whether `weight` more would be let in. However heavy, one request alone always is. `inFlight`: of this partition,
   * for what is counted elsewhere.
   */
  hasRoom(partition: Partition, weight: number, inFlight = this.#inFlight[partition]): boolean {
    const limit = this.#limit();
    if (this.#total + weight <= limit || this.#total === 0) return true;
    return inFlight + weight <= Math.max(1, Math.floor(limit * this.#shares[partition]));
  }

  enter(partition: Partition, weight: number): void {
    this.#inFlight[partition] += weight;
    this.#total += weight;
  }

  leave(partition: Partition, weight: number): void {
    this.#inFlight[partition] -= weight;
    this.#total -= weight;
  }
}
