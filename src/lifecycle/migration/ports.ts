import type { BundleManifest, ManifestSource } from '../../index/manifest.js';
import type { MigrationAt } from '../../registry/migration-at.js';
import type { Digest, Quantization } from '../../vocabulary.js';
import type { Chunking } from '../chunking.js';
import type { EvaluationComparison } from '../evaluation/compare.js';
import type { RebuildSource } from '../rebuild.js';
import type { Migration } from './record.js';

/** How far a long work is; `doneShare` 0..1 and `etaMs` null while they are not known. */
export interface WorkProgress {
  readonly what: string;
  readonly done: number;
  readonly total: number | null;
  readonly etaMs: number | null;
}

export interface GoldenRequest {
  readonly corpus: string;
  readonly fromVersion: string;
  readonly toVersion: string;
  /** Of the old version, the build that the migration started from: it judges by no other one. */
  readonly fromBuild: Digest;
  /** Of the new version, the build that was verified: no other one is judged. */
  readonly toBuild: Digest;
  /** `name` or `name@number`; null: the one named as the corpus. */
  readonly goldenSet: string | null;
  readonly metric: 'ndcg@10' | 'mrr@10' | 'recall@10' | 'map';
  /** Absolute. */
  readonly margin: number;
  /** The 5 % of false promotions that a whole migration may have are divided by this for one look. */
  readonly looks: number;
}

/** Both versions through the real search path, pinned, compared query by query. */
export interface GoldenFinding
  extends Pick<
    EvaluationComparison,
    'verdict' | 'baseline' | 'candidate' | 'difference' | 'confidence' | 'warnings'
  > {
  readonly golden_set: string;
  readonly metric: string;
  /** A loss of the margin or more is ruled out, whatever the verdict. */
  readonly is_non_inferior: boolean;
  readonly low: number;
  readonly high: number;
  readonly margin: number;
  readonly query_count: number;
  readonly queries_needed: number;
  readonly judged_at_10: EvaluationComparison['judgedAt10'];
  /** The queries that lost most, worst first, with the golden set's own texts. */
  readonly worst: readonly {
    readonly query_id: string;
    readonly text: string;
    readonly baseline: number;
    readonly candidate: number;
  }[];
}

export interface BuildRequest {
  readonly corpus: string;
  readonly version: string;
  readonly from: RebuildSource;
  readonly model: string;
  readonly documentTemplate: string;
  /** null: one row a document. */
  readonly chunking: Chunking | null;
  readonly quantization: Quantization;
  readonly expansionSearch: number;
  readonly truncatedShareMax: number;
  /** Null: the configuration's. */
  readonly checkpointDocuments: number | null;
}

export interface RetireRequest {
  readonly corpus: string;
  readonly version: string;
  readonly quietDays: number;
  /** Nothing is taken out of service once the migration went on from here: somebody aborted it, say. */
  readonly during: MigrationAt;
}

export type RetireOutcome =
  | { readonly kind: 'retired'; readonly findings: unknown }
  /** Somebody still depends on it: for a person to read. */
  | { readonly kind: 'blocked'; readonly why: string };

/**
 * What a migration has others do. Long work reports progress, ends with the signal, may be killed at any point, and
 * done again does what is missing.
 */
export interface MigrationPorts {
  /** Null: the corpus has no golden set of that name. Errors: those of searching. */
  compareGolden(request: GoldenRequest, work: Work): Promise<GoldenFinding | null>;
  /** Brings the version up in a process of its own, niced, and records its build. */
  build(request: BuildRequest, work: Work): Promise<{ readonly findings: unknown }>;
  /** Removes the checkpoints of a build that was recorded, which a driver that died left. */
  forgetWork(built: Pick<BundleManifest, 'corpus' | 'version' | 'model' | 'source'>): Promise<void>;
  /** Documents that changed in the source since the watermark; null where it is no feed, or none is known. */
  sourceLag(source: string | null, watermark: string | null): Promise<number | null>;
  /** Why a build was not made of the source of this name, for a person; null when it was. */
  otherSource(source: string, built: ManifestSource): Promise<string | null>;
  retire(request: RetireRequest, work: Work): Promise<RetireOutcome>;
  /** The page on a migration that ended, beside what can be asked for at any moment. */
  writeReport(migration: Migration): Promise<void>;
  /** The mirrored reads that changed most, as this process knows them; for the report. */
  worstMirrored(corpus: string, toVersion: string): readonly unknown[];
}

export interface Work {
  readonly signal: AbortSignal;
  onProgress(progress: WorkProgress): void;
}
