import type { BundleManifest } from '../../src/index/manifest.js';
import { FINGERPRINT } from './corpus.js';

/** A manifest that is right in every field; of files that are nowhere. */
export function bundleManifestOf(): BundleManifest {
  const file = (bytes: number) => ({ bytes, sha256: 'ab'.repeat(32) });
  return {
    format_version: 1,
    corpus: 'docs_kb',
    version: 'v1',
    model: { name: 'test-model', version: '1', fingerprint: FINGERPRINT },
    dimensions: 32,
    full_dimensions: 32,
    metric: 'cosine',
    quantization: 'bf16',
    connectivity: 16,
    expansion_add: 128,
    expansion_search: 64,
    row_count: 10,
    document_count: 8,
    truncated_count: 0,
    document_template: '{text}',
    text_normalisation: 'nfc',
    builder: 'switchyard 0.1.0',
    usearch: '2.25.3',
    files: { 'index.usearch': file(4_096), 'ids.bin': file(256), 'vectors.f32': file(1_280) },
    recall_at_10: { value: 1, sample_count: 10, seed: 1 },
    source: { name: 'docs.jsonl', sha256: 'cd'.repeat(32), watermark: null },
  };
}
