import type { CorpusBuildResult } from '../lifecycle/corpus-build.js';

/** How the texts became vectors, as JSON. */
export const embeddingView = ({ embedding }: CorpusBuildResult) =>
  embedding === null
    ? null
    : {
        documents: embedding.documents,
        encoded: embedding.encoded,
        deduplicated: embedding.deduplicated,
        reused: embedding.reused,
        checkpoints_written: embedding.checkpointsWritten,
        checkpoints_resumed: embedding.checkpointsResumed,
        checkpoints_redone: embedding.checkpointsRedone,
        documents_resumed: embedding.documentsResumed,
        documents_reembedded: embedding.documentsReembedded,
        changes_replayed: embedding.changesReplayed,
        watermark: embedding.watermark,
      };

/** What a reader of one line wants to know of it; empty where every text was new. */
export function formatEmbedding({ embedding }: CorpusBuildResult): string {
  if (embedding === null) return '';
  const { deduplicated, reused, documentsResumed, documentsReembedded, changesReplayed } = embedding;
  const said = [
    documentsResumed > 0 ? `${documentsResumed} documents from checkpoints` : '',
    documentsReembedded > 0 ? `${documentsReembedded} embedded again` : '',
    deduplicated > 0 ? `${deduplicated} rows with a text that came before` : '',
    reused > 0 ? `${reused} vectors of an earlier version` : '',
    changesReplayed > 0 ? `${changesReplayed} changes that came meanwhile` : '',
  ].filter((part) => part !== '');
  return said.length === 0 ? '' : `\n${said.join(', ')}`;
}
