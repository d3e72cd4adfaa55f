import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { SwitchyardError } from '../../errors.js';
import { INDEX_FILE } from '../../index/file-names.js';
import type { BundleManifest } from '../../index/manifest.js';
import { isCorpusName, isFingerprint, isModelName, isVersionName } from '../../vocabulary.js';

export const ARCHIVE_MANIFEST_FILE = 'archive.json';
/** The bundle's own manifest, to the byte: its SHA-256 is the build's digest. */
export const BUNDLE_MANIFEST_FILE = 'manifest.json';
/** The graph as it was served: built again from the vectors it would be another one. */
export const ARCHIVED_INDEX_FILE = 'index.usearch';
export const rowsFileName = (part: number): string => `rows-${String(part).padStart(5, '0')}.parquet`;

const strict = { additionalProperties: false } as const;
const count = Type.Integer({ minimum: 0 });
const file = Type.Object(
  {
    bytes: count,
    sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    /** Of a Parquet file. */
    rows: Type.Optional(count),
  },
  strict,
);
const FILE_NAME = '^(?:manifest\\.json|index\\.usearch|rows-\\d{5,}\\.parquet)$';

const schema = Type.Object(
  {
    format_version: Type.Literal(1),
    corpus: Type.String(),
    version: Type.String(),
    build: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'Digest of the build that was archived.' }),
    model: Type.Object({ name: Type.String(), version: Type.String(), fingerprint: Type.String() }, strict),
    dimensions: Type.Integer({ minimum: 1 }),
    metric: Type.String(),
    row_count: Type.Integer({ minimum: 1 }),
    document_count: Type.Integer({ minimum: 1 }),
    watermark: Type.Union([Type.String(), Type.Null()]),
    files: Type.Record(Type.String({ pattern: FILE_NAME }), file, strict),
    writer: Type.String(),
  },
  strict,
);

/** What an archive holds; written last, so an archive without it is none. */
export type ArchiveManifest = Readonly<Static<typeof schema>>;

/** Errors: CORRUPT_ARCHIVE naming the file. */
export function parseArchiveManifest(bytes: Buffer, place: string): ArchiveManifest {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, 'it is not JSON', error);
  }
  if (!Value.Check(schema, value)) {
    const { path = '', message = 'it does not fit' } = Value.Errors(schema, value).First() ?? {};
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, `${path.slice(1) || 'it'}: ${message}`);
  }
  // They become folders: whatever is no name must not lead anywhere.
  const { corpus, version, model } = value;
  if (!isCorpusName(corpus) || !isVersionName(version))
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, 'it is not of a corpus version: its name is none');
  if (!isModelName(model.name) || !isFingerprint(model.fingerprint))
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, 'its model is none');
  const names = Object.keys(value.files);
  const rows = names.filter((name) => name.endsWith('.parquet')).sort();
  const sum = rows.reduce((total, name) => total + (value.files[name]?.rows ?? 0), 0);
  const own = value.files[BUNDLE_MANIFEST_FILE];
  if (
    own === undefined ||
    value.files[ARCHIVED_INDEX_FILE] === undefined ||
    rows.some((name, part) => name !== rowsFileName(part))
  )
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, 'a file is not named in it');
  if (own.sha256 !== value.build)
    throw corruptArchive(
      place,
      ARCHIVE_MANIFEST_FILE,
      `its build is not the SHA-256 of ${BUNDLE_MANIFEST_FILE}`,
    );
  if (sum !== value.row_count)
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, `its files hold ${sum} rows, not ${value.row_count}`);
  return value;
}

/** The field in which an archive says something else than the manifest of its bundle; null: there is none. */
export function contradiction(archive: ArchiveManifest, bundle: BundleManifest): string | null {
  const index = archive.files[ARCHIVED_INDEX_FILE];
  const archived = bundle.files[INDEX_FILE];
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['corpus', archive.corpus, bundle.corpus],
    ['version', archive.version, bundle.version],
    ['model/name', archive.model.name, bundle.model.name],
    ['model/version', archive.model.version, bundle.model.version],
    ['model/fingerprint', archive.model.fingerprint, bundle.model.fingerprint],
    ['dimensions', archive.dimensions, bundle.full_dimensions],
    ['metric', archive.metric, bundle.metric],
    ['row_count', archive.row_count, bundle.row_count],
    ['document_count', archive.document_count, bundle.document_count],
    ['watermark', archive.watermark, bundle.source.watermark],
    [`files/${ARCHIVED_INDEX_FILE}/bytes`, index?.bytes, archived?.bytes],
    [`files/${ARCHIVED_INDEX_FILE}/sha256`, index?.sha256, archived?.sha256],
  ];
  return pairs.find(([, said, is]) => said !== is)?.[0] ?? null;
}

export const corruptArchive = (place: string, name: string, what: string, cause?: unknown): SwitchyardError =>
  new SwitchyardError(
    'CORRUPT_ARCHIVE',
    `${name} of the archive ${place}: ${what}; archive the version again, or use another copy`,
    { details: { file: name, archive: place }, cause },
  );
