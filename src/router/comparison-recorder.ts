import { createHmac } from 'node:crypto';
import type { Digest, Fingerprint } from '../vocabulary.js';
import { type Comparison, SCORE_QUANTILES } from './comparison.js';
import { Distribution, type DistributionReport } from './distribution.js';
import type { PairKind } from './pair-kind.js';

export interface ComparedTarget {
  readonly version: string;
  readonly build: Digest;
  readonly model: string;
  readonly fingerprint: Fingerprint;
}

export interface ComparedPair {
  readonly corpus: string;
  readonly kind: PairKind;
  readonly primary: ComparedTarget;
  readonly shadow: ComparedTarget;
}

/** What was asked; `text` is null for a raw vector. */
export interface ComparedQuery {
  readonly text: string | null;
  readonly vector: Float32Array | null;
  readonly primaryIds: readonly string[];
  readonly shadowIds: readonly string[];
}

export interface WorstQuery {
  /** Keyed hash of the query: tells equal queries apart from others without saying what they are. */
  readonly queryHash: string;
  /** Only when the recorder keeps texts. */
  readonly text: string | null;
  readonly k: number;
  readonly rbo: number;
  readonly overlap: number;
  readonly jaccard: number;
  readonly primaryIds: readonly string[];
  readonly shadowIds: readonly string[];
  readonly atMs: number;
}

export interface PairReport {
  readonly pair: ComparedPair;
  readonly compared: number;
  readonly top1Matches: number;
  /** Answers in which the shadow had fewer hits than the primary. */
  readonly shadowShorter: number;
  readonly distributions: Readonly<Record<ComparisonMeasure, DistributionReport>>;
  /** Lowest RBO first. */
  readonly worst: readonly WorstQuery[];
}

export const COMPARISON_MEASURES = [
  'overlap',
  'jaccard',
  'rbo',
  'primary_underfill',
  'shadow_underfill',
  'primary_score_min',
  'primary_score_p25',
  'primary_score_median',
  'primary_score_p75',
  'primary_score_max',
  'shadow_score_min',
  'shadow_score_p25',
  'shadow_score_median',
  'shadow_score_p75',
  'shadow_score_max',
  'service_delta_us',
] as const;
export type ComparisonMeasure = (typeof COMPARISON_MEASURES)[number];

const SHARES = Array.from({ length: 21 }, (_, at) => at / 20);
const MISSING = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const SCORES = Array.from({ length: 41 }, (_, at) => (at - 20) / 20);
const MICROSECONDS = [100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];
const BOUNDS: Readonly<Record<ComparisonMeasure, readonly number[]>> = {
  overlap: SHARES,
  jaccard: SHARES,
  rbo: SHARES,
  primary_underfill: MISSING,
  shadow_underfill: MISSING,
  primary_score_min: SCORES,
  primary_score_p25: SCORES,
  primary_score_median: SCORES,
  primary_score_p75: SCORES,
  primary_score_max: SCORES,
  shadow_score_min: SCORES,
  shadow_score_p25: SCORES,
  shadow_score_median: SCORES,
  shadow_score_p75: SCORES,
  shadow_score_max: SCORES,
  service_delta_us: [...MICROSECONDS.map((value) => -value).reverse(), 0, ...MICROSECONDS],
};

export interface RecorderOptions {
  /** Secret of the query hashes. */
  readonly hashKey: Uint8Array;
  /** Keep the texts of the worst queries. Off unless the operator wants it. */
  readonly keepTexts: boolean;
  readonly worstQueriesMax: number;
  /** Pairs of builds kept; the one that was compared longest ago gives way. */
  readonly pairsMax: number;
  /** Documents listed per side of a worst query. */
  readonly idsMax: number;
  readonly wallMs: () => number;
}

export const DEFAULT_RECORDER: Omit<RecorderOptions, 'hashKey'> = Object.freeze({
  keepTexts: false,
  worstQueriesMax: 50,
  pairsMax: 64,
  idsMax: 10,
  wallMs: Date.now,
});

/** What mirrors found, per pair of builds, in memory that does not grow with traffic. */
export class ComparisonRecorder {
  private readonly options: RecorderOptions;
  /** In order of last use. */
  private readonly pairs = new Map<string, PairRecord>();

  constructor(options: RecorderOptions) {
    this.options = options;
  }

  record(pair: ComparedPair, comparison: Comparison, query: ComparedQuery): void {
    const record = this.pairRecord(pair);
    record.add(comparison);
    this.keepIfBad(record, comparison, query);
  }

  report(corpus: string): readonly PairReport[] {
    return [...this.pairs.values()]
      .filter(({ pair }) => pair.corpus === corpus)
      .map((record) => record.report());
  }

  /** Puts back worst queries that were persisted by an earlier process. */
  restoreWorst(pair: ComparedPair, worst: readonly WorstQuery[]): void {
    const record = this.pairRecord(pair);
    for (const query of worst) record.keep(query, this.options.worstQueriesMax);
  }

  private pairRecord(pair: ComparedPair): PairRecord {
    const key = `${pair.corpus}/${pair.primary.build}/${pair.shadow.build}`;
    const record = this.pairs.get(key) ?? new PairRecord(pair);
    this.pairs.delete(key);
    this.pairs.set(key, record);
    for (const oldest of this.pairs.keys()) {
      if (this.pairs.size <= this.options.pairsMax) break;
      this.pairs.delete(oldest);
    }
    return record;
  }

  private keepIfBad(record: PairRecord, comparison: Comparison, query: ComparedQuery): void {
    const { hashKey, keepTexts, worstQueriesMax, idsMax, wallMs } = this.options;
    const { k, rbo, overlap, jaccard } = comparison;
    if (rbo === 1 || !record.isAmongWorst(rbo, worstQueriesMax)) return;
    const hmac = createHmac('sha256', hashKey);
    if (query.text !== null) hmac.update('text\0').update(query.text);
    else if (query.vector !== null) hmac.update('vector\0').update(bytesOf(query.vector));
    const worst: WorstQuery = {
      queryHash: hmac.digest('hex').slice(0, 32),
      text: keepTexts ? query.text : null,
      k,
      rbo,
      overlap,
      jaccard,
      primaryIds: query.primaryIds.slice(0, Math.min(k, idsMax)),
      shadowIds: query.shadowIds.slice(0, Math.min(k, idsMax)),
      atMs: wallMs(),
    };
    record.keep(worst, worstQueriesMax);
  }
}

class PairRecord {
  readonly pair: ComparedPair;
  private readonly distributions: ReadonlyMap<ComparisonMeasure, Distribution>;
  private worst: WorstQuery[] = [];
  private compared = 0;
  private top1Matches = 0;
  private shadowShorter = 0;

  constructor(pair: ComparedPair) {
    this.pair = pair;
    this.distributions = new Map(
      COMPARISON_MEASURES.map((measure) => [measure, new Distribution(BOUNDS[measure])] as const),
    );
  }

  add(comparison: Comparison): void {
    this.compared++;
    if (comparison.top1Match) this.top1Matches++;
    if (comparison.shadowUnderfill > comparison.primaryUnderfill) this.shadowShorter++;
    this.observe('overlap', comparison.overlap);
    this.observe('jaccard', comparison.jaccard);
    this.observe('rbo', comparison.rbo);
    this.observe('primary_underfill', comparison.primaryUnderfill);
    this.observe('shadow_underfill', comparison.shadowUnderfill);
    for (const quantile of SCORE_QUANTILES) {
      this.observe(`primary_score_${quantile}`, comparison.primaryScores?.[quantile] ?? null);
      this.observe(`shadow_score_${quantile}`, comparison.shadowScores?.[quantile] ?? null);
    }
    this.observe('service_delta_us', comparison.serviceDeltaUs);
  }

  isAmongWorst(rbo: number, worstQueriesMax: number): boolean {
    const last = this.worst.at(-1);
    return (
      worstQueriesMax > 0 && (this.worst.length < worstQueriesMax || last === undefined || rbo < last.rbo)
    );
  }

  /** One entry per query, its latest, in order of RBO; the best ones give way. */
  keep(query: WorstQuery, worstQueriesMax: number): void {
    const others = this.worst.filter(({ queryHash }) => queryHash !== query.queryHash);
    this.worst = [...others, query].sort((a, b) => a.rbo - b.rbo).slice(0, worstQueriesMax);
  }

  report(): PairReport {
    return {
      pair: this.pair,
      compared: this.compared,
      top1Matches: this.top1Matches,
      shadowShorter: this.shadowShorter,
      distributions: Object.fromEntries(
        [...this.distributions].map(([measure, distribution]) => [measure, distribution.report()]),
      ) as Record<ComparisonMeasure, DistributionReport>,
      worst: this.worst,
    };
  }

  private observe(measure: ComparisonMeasure, value: number | null): void {
    if (value !== null) this.distributions.get(measure)?.observe(value);
  }
}

const bytesOf = (vector: Float32Array): Uint8Array =>
  new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
