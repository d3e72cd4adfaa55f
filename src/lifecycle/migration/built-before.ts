import { SwitchyardError } from '../../errors.js';
import type { BundleManifest } from '../../index/manifest.js';
import { type Digest, digestPrefix } from '../../vocabulary.js';
import { chunkingOf } from './plan.js';
import type { StepOptions } from './plan-schema.js';

/** A version that has its default build before the plan's build step comes to it. */
export interface BuiltBefore {
  readonly corpus: string;
  readonly version: string;
  readonly build: Digest;
  readonly manifest: BundleManifest;
}

/** In what a build is not what the step says, for a person; what the step leaves open is no difference. */
export function differences(
  { manifest }: BuiltBefore,
  options: StepOptions<'build'>,
  /** Of the model that the step names; null: it names none. */
  fingerprint: string | null,
): readonly string[] {
  const { model } = manifest;
  const found: string[] = [];
  const compare = (name: string, wanted: string | number | null, is: string | number): void => {
    if (wanted !== null && wanted !== is)
      found.push(`${name} is ${JSON.stringify(is)}, the plan says ${JSON.stringify(wanted)}`);
  };
  if (fingerprint !== null && fingerprint !== model.fingerprint)
    found.push(
      `its model is ${model.name}@${model.version} (${model.fingerprint}), the plan says ${options.model}`,
    );
  compare('document_template', options.document_template, manifest.document_template);
  compare('quantization', options.quantization, manifest.quantization);
  compare('expansion_search', options.expansion_search, manifest.expansion_search);
  const chunking = chunkingOf(options);
  if (chunking !== 'like the old version') {
    compare('chunk_tokens', chunking?.tokensMax ?? 0, tokensOf(manifest));
    if (chunking !== null)
      compare('chunk_overlap', chunking.overlapTokens, manifest.chunking?.overlap_tokens ?? 0);
  }
  return found;
}

/** `some`: cut by a build of before, which did not say how. */
const tokensOf = ({ chunking, row_count, document_count }: BundleManifest): number | string =>
  chunking?.tokens_max ?? (row_count > document_count ? 'some' : 0);

export const differing = (
  { corpus, version, build }: Omit<BuiltBefore, 'manifest'>,
  found: readonly string[],
): SwitchyardError =>
  new SwitchyardError(
    'STATUS_CONFLICT',
    `${corpus}/${version} has build ${digestPrefix(build)} already, which is not what the plan's build step says: ${found.join('; ')}. Migrate to another version, or say in the plan what this one is`,
  );

/** What is taken instead of a new build, for the audit. */
export const takenAsItIs = ({ corpus, version, build, manifest }: BuiltBefore): string => {
  const { model, source, document_count, row_count, quantization } = manifest;
  const cut = row_count > document_count ? ` in ${row_count} chunks` : '';
  const until = source.watermark === null ? '' : ` up to ${source.watermark}`;
  return `${corpus}/${version} was built before and is taken as it is: build ${digestPrefix(build)} by ${model.name}@${model.version}, ${document_count} documents${cut} of ${source.name}${until} (SHA-256 ${source.sha256.slice(0, 16)}), ${quantization}`;
};
