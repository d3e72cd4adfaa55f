import type { Config } from '../../../config/config.js';
import type { BuildRecords } from '../../build-records.js';
import type { CorpusBuildResult } from '../../corpus-build.js';
import type { RebuildRequest } from '../../rebuild.js';

/** The first line on the child's stdin; what holds secrets is not among it. */
export interface BuildOrder {
  readonly request: RebuildRequest;
  readonly fingerprint: string;
  /** What the registry says of the builds that it reads from. */
  readonly texts: Awaited<ReturnType<BuildRecords['findBuild']>> | null;
  readonly earlier: Awaited<ReturnType<BuildRecords['buildsOf']>>;
  readonly config: Pick<Config, 'varDir' | 'modelsDir' | 'bundlesDir' | 'encoder' | 'limits' | 'reembed'>;
}

/** The second one, when what was published is recorded: until then the child keeps what it made it of. */
export const RECORDED = 'recorded';

/** Lines on the child's stdout. */
export type BuildReply =
  | { readonly kind: 'counted'; readonly documents: number }
  | { readonly kind: 'documents'; readonly done: number }
  | { readonly kind: 'phase'; readonly phase: string }
  /** Waits until it is recorded. */
  | { readonly kind: 'published'; readonly digest: string }
  | {
      readonly kind: 'built';
      readonly digest: string;
      readonly rows: number;
      /** How the texts became vectors; null where they were not embedded. */
      readonly embedding: CorpusBuildResult['embedding'];
    }
  | { readonly kind: 'failed'; readonly reason: string; readonly message: string };
