/** One label set of a histogram. `buckets` are not cumulative, rise by `le`, and end with Infinity. */
export interface HistogramSeries {
  readonly labels: Readonly<Record<string, string>>;
  readonly count: number;
  readonly sum: number;
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
}

/**
 * Numbers of the path of every request, as plain arrays that prom-client is shown when it is scraped: its own
 * `observe` costs forty times as much.
 */
export class DurationTally {
  readonly #bounds: Float64Array;
  /** Per bound what lies at or below it and above the one before; the last is everything beyond. */
  readonly #counts: Float64Array;
  #sum = 0;
  #count = 0;

  /** Bounds in seconds, rising. */
  constructor(bounds: readonly number[]) {
    this.#bounds = Float64Array.from(bounds);
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(seconds: number): void {
    let at = 0;
    while (at < this.#bounds.length && seconds > (this.#bounds[at] as number)) at++;
    this.#counts[at] = (this.#counts[at] as number) + 1;
    this.#sum += seconds;
    this.#count++;
  }

  series(labels: Readonly<Record<string, string>>): HistogramSeries {
    return {
      labels,
      count: this.#count,
      sum: this.#sum,
      buckets: Array.from(this.#counts, (count, at) => ({
        le: this.#bounds[at] ?? Number.POSITIVE_INFINITY,
        count,
      })),
    };
  }
}

interface Entry<Label extends string> {
  readonly labels: Record<Label, string>;
  count: number;
}

/** A counter of few label sets, each found by the values themselves and without building a string. */
export class LabelledTally<Label extends string> {
  readonly #names: readonly Label[];
  readonly #root = new Map<string, unknown>();
  #entries: Entry<Label>[] = [];

  constructor(names: readonly Label[]) {
    this.#names = names;
  }

  /** Known at nought: a counter that begins with its first event has no increase by it. */
  declare(...values: readonly string[]): void {
    this.#entry(values);
  }

  /** One value per label, in their order. */
  add(...values: readonly string[]): void {
    this.#entry(values).count++;
  }

  /** As `add`, `count` times. */
  addSome(count: number, ...values: readonly string[]): void {
    this.#entry(values).count += count;
  }

  #entry(values: readonly string[]): Entry<Label> {
    if (values.length !== this.#names.length) throw new RangeError(`labels: ${this.#names.join(', ')}`);
    let level = this.#root;
    for (let at = 0; at < values.length - 1; at++) {
      let next = level.get(values[at] as string) as Map<string, unknown> | undefined;
      if (next === undefined) {
        next = new Map();
        level.set(values[at] as string, next);
      }
      level = next;
    }
    const last = values[values.length - 1] as string;
    const known = level.get(last) as Entry<Label> | undefined;
    if (known !== undefined) return known;
    const entry = this.#insert(values);
    level.set(last, entry);
    return entry;
  }

  #insert(values: readonly string[]): Entry<Label> {
    const labels = Object.fromEntries(this.#names.map((name, at) => [name, values[at]])) as Record<
      Label,
      string
    >;
    const entry = { labels, count: 0 };
    this.#entries.push(entry);
    return entry;
  }

  /** Ends label sets; one of them that is counted again begins at nought, as a counter does when it was lost. */
  forget(isGone: (labels: Readonly<Record<Label, string>>) => boolean): void {
    const kept = this.#entries.filter(({ labels }) => !isGone(labels));
    if (kept.length === this.#entries.length) return;
    this.#root.clear();
    this.#entries = [];
    for (const { labels, count } of kept) this.addSome(count, ...this.#names.map((name) => labels[name]));
  }

  *read(): Iterable<readonly [Record<Label, string>, number]> {
    for (const { labels, count } of this.#entries) yield [labels, count];
  }
}

/** Durations by few label sets. */
export class LabelledDurations<Label extends string> {
  readonly #names: readonly Label[];
  readonly #bounds: readonly number[];
  readonly #tallies = new Map<
    string,
    { readonly values: readonly string[]; readonly tally: DurationTally }
  >();

  constructor(names: readonly Label[], bounds: readonly number[]) {
    this.#names = names;
    this.#bounds = bounds;
  }

  /** The tally of a label set, to be kept by whoever observes often. */
  of(...values: readonly string[]): DurationTally {
    const key = values.join('\0');
    const known = this.#tallies.get(key);
    if (known !== undefined) return known.tally;
    const tally = new DurationTally(this.#bounds);
    this.#tallies.set(key, { values, tally });
    return tally;
  }

  series(): HistogramSeries[] {
    return [...this.#tallies.values()].map(({ values, tally }) =>
      tally.series(Object.fromEntries(this.#names.map((name, at) => [name, values[at] ?? '']))),
    );
  }
}
