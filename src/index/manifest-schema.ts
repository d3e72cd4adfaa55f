import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import {
  isCorpusName,
  isFingerprint,
  isModelName,
  isVersionName,
  METRICS,
  QUANTIZATIONS,
} from '../vocabulary.js';
import { DOCUMENT_FILES, PROVENANCE_FILE, REQUIRED_FILES } from './file-names.js';
import { formatOf, RESCORE_FACTOR_MAX } from './formats.js';
import type { BundleManifest } from './manifest.js';
import { PROVENANCE_BYTES } from './provenance.js';

export const DIMENSIONS_MAX = 8192;
export const ROW_COUNT_MAX = 0xffff_fffe;
/** usearch's own bounds are wider; these keep a manifest from asking for absurd memory. */
export const CONNECTIVITY_MAX = 512;
export const EXPANSION_MAX = 16_384;

const strict = { additionalProperties: false } as const;
const count = Type.Integer({ minimum: 0, maximum: ROW_COUNT_MAX });
const file = Type.Object(
  { bytes: Type.Integer({ minimum: 0 }), sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }) },
  strict,
);

const schema = Type.Object(
  {
    format_version: Type.Literal(1),
    corpus: Type.String(),
    version: Type.String(),
    model: Type.Object({ name: Type.String(), version: Type.String(), fingerprint: Type.String() }, strict),
    dimensions: Type.Integer({ minimum: 1, maximum: DIMENSIONS_MAX }),
    full_dimensions: Type.Integer({ minimum: 1, maximum: DIMENSIONS_MAX }),
    metric: Type.Union(METRICS.map((metric) => Type.Literal(metric))),
    quantization: Type.Union(QUANTIZATIONS.map((quantization) => Type.Literal(quantization))),
    connectivity: Type.Integer({ minimum: 2, maximum: CONNECTIVITY_MAX }),
    expansion_add: Type.Integer({ minimum: 1, maximum: EXPANSION_MAX }),
    expansion_search: Type.Integer({ minimum: 1, maximum: EXPANSION_MAX }),
    rescore_factor: Type.Optional(Type.Integer({ minimum: 1, maximum: RESCORE_FACTOR_MAX })),
    row_count: Type.Integer({ minimum: 1, maximum: ROW_COUNT_MAX }),
    document_count: Type.Integer({ minimum: 1, maximum: ROW_COUNT_MAX }),
    chunking: Type.Optional(
      Type.Object(
        { tokens_max: Type.Integer({ minimum: 1 }), overlap_tokens: Type.Integer({ minimum: 0 }) },
        strict,
      ),
    ),
    truncated_count: count,
    document_template: Type.String(),
    text_normalisation: Type.String(),
    builder: Type.String(),
    usearch: Type.String(),
    files: Type.Object(
      {
        [REQUIRED_FILES[0]]: file,
        [REQUIRED_FILES[1]]: file,
        [REQUIRED_FILES[2]]: file,
        [DOCUMENT_FILES[0]]: Type.Optional(file),
        [DOCUMENT_FILES[1]]: Type.Optional(file),
        [PROVENANCE_FILE]: Type.Optional(file),
      },
      strict,
    ),
    recall_at_10: Type.Object(
      {
        value: Type.Number({ minimum: 0, maximum: 1 }),
        sample_count: count,
        seed: Type.Integer({ minimum: 0 }),
      },
      strict,
    ),
    unreachable_count: Type.Optional(count),
    source: Type.Object(
      {
        name: Type.String(),
        sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
        watermark: Type.Union([Type.String(), Type.Null()]),
        feed: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
      },
      strict,
    ),
  },
  strict,
);

/** The manifest, or a sentence that says which field is wrong and why. */
export function checkManifest(value: unknown): BundleManifest | string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'it is not a JSON object';
  const formatVersion = (value as { format_version?: unknown }).format_version;
  if (formatVersion !== 1)
    return `format_version is ${JSON.stringify(formatVersion)}; this program reads format_version 1`;
  if (!Value.Check(schema, value)) {
    const error = Value.Errors(schema, value).First();
    return error === undefined
      ? 'it does not fit the schema'
      : `${error.path.slice(1) || 'it'}: ${error.message}`;
  }
  return checkRelations(value);
}

function checkRelations(value: Static<typeof schema>): BundleManifest | string {
  if (!isCorpusName(value.corpus)) return 'corpus is not a corpus name';
  if (!isVersionName(value.version)) return 'version is not a version name';
  if (!isModelName(value.model.name)) return 'model/name is not a model name';
  const { fingerprint } = value.model;
  if (!isFingerprint(fingerprint)) return 'model/fingerprint is not a fingerprint';
  if (value.dimensions > value.full_dimensions) return 'dimensions is larger than full_dimensions';
  if (value.document_count > value.row_count) return 'document_count is larger than row_count';
  if (value.truncated_count > value.row_count) return 'truncated_count is larger than row_count';
  if (value.files['vectors.f32'].bytes !== value.row_count * value.full_dimensions * 4)
    return 'files/vectors.f32/bytes is not row_count × full_dimensions × 4';
  const [documents, offsets] = [value.files['documents.jsonl'], value.files['documents.offsets']];
  if ((documents === undefined) !== (offsets === undefined))
    return 'files has one of documents.jsonl and documents.offsets without the other';
  if (offsets !== undefined && offsets.bytes !== (value.document_count + 1) * 8)
    return 'files/documents.offsets/bytes is not (document_count + 1) × 8';
  const provenance = value.files['provenance.bin'];
  if (provenance !== undefined && provenance.bytes !== value.row_count * PROVENANCE_BYTES)
    return `files/provenance.bin/bytes is not row_count × ${PROVENANCE_BYTES}`;
  const { unreachable_count, rescore_factor, chunking, source, ...rest } = value;
  const { feed, ...read } = source;
  const optional = {
    ...(chunking === undefined ? {} : { chunking }),
    ...(unreachable_count === undefined ? {} : { unreachable_count }),
    ...(rescore_factor === undefined ? {} : { rescore_factor }),
  };
  try {
    formatOf({ ...rest, ...optional });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const files: Record<string, { bytes: number; sha256: string }> = {};
  for (const [name, entry] of Object.entries(value.files)) if (entry !== undefined) files[name] = entry;
  const known = feed === undefined ? read : { ...read, feed };
  return { ...rest, ...optional, source: known, model: { ...value.model, fingerprint }, files };
}
