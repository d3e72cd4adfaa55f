import type { BundleManifest } from '../index/manifest.js';

/** `noise_floor`: two builds of the same embeddings in another insertion order, so chance alone tells them apart. */
export const PAIR_KINDS = ['candidate', 'noise_floor'] as const;
export type PairKind = (typeof PAIR_KINDS)[number];

/** What two builds have in common of which one is the noise floor of the other. */
const SAME_EMBEDDINGS = [
  'corpus',
  'version',
  'full_dimensions',
  'row_count',
  'document_count',
  'document_template',
  'text_normalisation',
] as const satisfies readonly (keyof BundleManifest)[];
const SAME_INDEX = [
  'dimensions',
  'metric',
  'quantization',
  'connectivity',
  'expansion_add',
  'expansion_search',
  'rescore_factor',
] as const satisfies readonly (keyof BundleManifest)[];

/** A second build that is also quantized, linked or cut otherwise is a candidate: its differences are not chance. */
export function pairKind(primary: BundleManifest, shadow: BundleManifest): PairKind {
  const isSame =
    primary.model.fingerprint === shadow.model.fingerprint &&
    [...SAME_EMBEDDINGS, ...SAME_INDEX].every((field) => primary[field] === shadow[field]);
  return isSame ? 'noise_floor' : 'candidate';
}
