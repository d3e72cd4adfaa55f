import { availableParallelism } from 'node:os';
import { SwitchyardError } from '../errors.js';
import {
  type Fingerprint,
  isCorpusName,
  isFingerprint,
  isModelName,
  isVersionName,
  type Metric,
  type Quantization,
} from '../vocabulary.js';
import { type Format, formatOf, RESCORE_FACTOR_MAX } from './formats.js';
import type { ManifestChunking } from './manifest.js';
import { CONNECTIVITY_MAX, DIMENSIONS_MAX, EXPANSION_MAX } from './manifest-schema.js';
import type { RowProvenance } from './provenance.js';
import type { RecallSample } from './recall.js';
import type { StoredDocument } from './search-index.js';

export interface BuildRow {
  /** 1..512 bytes of UTF-8. */
  readonly documentId: string;
  /** From 0. The chunks of a document follow one another, in order. */
  readonly chunk: number;
  /** Whether the chunk was cut at the model's max tokens. */
  readonly truncated: boolean;
  /** Read from chunk 0 when `storeDocuments` is set. */
  readonly document?: StoredDocument;
  /** Read when `storeProvenance` is set. */
  readonly provenance?: RowProvenance;
}

export interface BuildBatch {
  /** rows.length × dimensions, row-major. Copied before the next batch is asked for. */
  readonly vectors: Float32Array;
  readonly rows: readonly BuildRow[];
  /**
   * Documents that are taken out again, those of this batch excepted, which may bring them anew; ones that never came are
   * no error. Only while every document has one row.
   */
  readonly removed?: Iterable<string>;
}

export interface BuildProgress {
  readonly phase: 'add' | 'save' | 'recall' | 'publish';
  /** Rows this phase is done with. */
  readonly rowsDone: number;
  /** Rows of the build as far as they are known. */
  readonly rowsTotal: number;
}

export interface BuildOptions {
  readonly bundlesFolder: string;
  readonly corpus: string;
  readonly version: string;
  readonly model: { readonly name: string; readonly version: string; readonly fingerprint: Fingerprint };
  /** Of the vectors that are given: the model's. */
  readonly dimensions: number;
  /** Of the graph, which takes the first numbers of each vector (Matryoshka). Default: `dimensions`. */
  readonly indexDimensions?: number;
  readonly metric: Metric;
  readonly quantization?: Quantization;
  readonly connectivity?: number;
  readonly expansionAdd?: number;
  readonly expansionSearch?: number;
  /** Candidates per wanted row, for formats that are rescored. Default: what the format does by itself. */
  readonly rescoreFactor?: number;
  readonly documentTemplate: string;
  readonly textNormalisation: string;
  /** How the caller cut texts into rows; for the manifest. Default: one row a document. */
  readonly chunking?: ManifestChunking;
  readonly storeDocuments: boolean;
  /** Keep what each row was made of. Default: false. */
  readonly storeProvenance?: boolean;
  /** Share of chunks cut at max tokens above which the build fails, 0..1. */
  readonly truncatedShareMax: number;
  /** Of rows that come from another build, which knows how many were cut and not which. Default: counted. */
  readonly truncatedCount?: number;
  /** Threads of usearch. Default: all cores. With 1 the same input gives the same bytes and digest. */
  readonly threads?: number;
  /** Name and version of the program that builds, for the manifest. */
  readonly builder?: string;
  readonly source: {
    readonly name: string;
    /** Of the source's bytes; a function is asked once all rows were read, as for the watermark. */
    readonly sha256: string | (() => string | Promise<string>);
    readonly watermark: string | null | (() => string | null | Promise<string | null>);
    /** The feed that the watermark is of. */
    readonly feed?: string;
  };
  readonly recall?: RecallSample;
  readonly onProgress?: (progress: BuildProgress) => void;
  readonly signal?: AbortSignal;
}

/** Options with every default filled in and every relation checked. */
export interface BuildPlan {
  readonly format: Format;
  /** Of the graph. */
  readonly dimensions: number;
  /** Of the vectors given and of vectors.f32. */
  readonly fullDimensions: number;
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly expansionSearch: number;
  readonly threads: number;
  readonly recall: RecallSample;
}

/** Each costs a search of everything: so many take about 3 % of a build, and tell recall to about half a percent. */
const RECALL_SAMPLES = 64;

export function planBuild(options: BuildOptions): BuildPlan {
  require(isCorpusName(options.corpus), 'corpus must be lower-case letters, digits, _ and -, 1..64 of them');
  require(isVersionName(options.version), 'version must be letters, digits, ., _ and -, 1..32 of them');
  require(isModelName(options.model.name), 'model.name is not a model name');
  require(isFingerprint(options.model.fingerprint), 'model.fingerprint is not a fingerprint');
  const { dimensions: fullDimensions, indexDimensions = fullDimensions, truncatedShareMax } = options;
  within('dimensions', fullDimensions, 1, DIMENSIONS_MAX);
  within('indexDimensions', indexDimensions, 1, fullDimensions);
  if (options.rescoreFactor !== undefined)
    within('rescoreFactor', options.rescoreFactor, 1, RESCORE_FACTOR_MAX);
  const plan: BuildPlan = {
    format: formatOf({
      quantization: options.quantization ?? 'bf16',
      metric: options.metric,
      dimensions: indexDimensions,
      full_dimensions: fullDimensions,
      ...rescoreFactorOf(options),
    }),
    dimensions: indexDimensions,
    fullDimensions,
    connectivity: within('connectivity', options.connectivity ?? 16, 2, CONNECTIVITY_MAX),
    expansionAdd: within('expansionAdd', options.expansionAdd ?? 128, 1, EXPANSION_MAX),
    expansionSearch: within('expansionSearch', options.expansionSearch ?? 128, 1, EXPANSION_MAX),
    threads: within('threads', options.threads ?? availableParallelism(), 1, 1024),
    recall: options.recall ?? { sampleCount: RECALL_SAMPLES, seed: 1 },
  };
  within('recall.sampleCount', plan.recall.sampleCount, 1, 10_000);
  within('recall.seed', plan.recall.seed, 0, 0xffff_ffff);
  require(truncatedShareMax >= 0 &&
    truncatedShareMax <= 1, `truncatedShareMax ${truncatedShareMax} must be within 0 and 1`);
  return plan;
}

/** As a manifest has it: only where it was given. */
export const rescoreFactorOf = ({ rescoreFactor }: BuildOptions): { readonly rescore_factor?: number } =>
  rescoreFactor === undefined ? {} : { rescore_factor: rescoreFactor };

function within(name: string, value: number, min: number, max: number): number {
  require(Number.isInteger(value) &&
    value >= min &&
    value <= max, `${name} ${value} must be an integer from ${min} to ${max}`);
  return value;
}

function require(holds: boolean, message: string): void {
  if (!holds) throw new SwitchyardError('INVALID_ARGUMENT', message);
}
