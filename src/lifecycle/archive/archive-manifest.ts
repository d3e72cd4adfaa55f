import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { SwitchyardError } from '../../errors.js';

export const ARCHIVE_MANIFEST_FILE = 'archive.json';
/** The bundle's own manifest, to the byte: its SHA-256 is the build's digest. */
export const BUNDLE_MANIFEST_FILE = 'manifest.json';
/** The graph as it was served. Without it a restored build is a new one. */
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
  const names = Object.keys(value.files);
  const rows = names.filter((name) => name.endsWith('.parquet')).sort();
  const sum = rows.reduce((total, name) => total + (value.files[name]?.rows ?? 0), 0);
  if (
    value.files[BUNDLE_MANIFEST_FILE] === undefined ||
    rows.some((name, part) => name !== rowsFileName(part))
  )
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, 'a file is not named in it');
  if (sum !== value.row_count)
    throw corruptArchive(place, ARCHIVE_MANIFEST_FILE, `its files hold ${sum} rows, not ${value.row_count}`);
  return value;
}

export const corruptArchive = (place: string, name: string, what: string, cause?: unknown): SwitchyardError =>
  new SwitchyardError(
    'CORRUPT_ARCHIVE',
    `${name} of the archive ${place}: ${what}; archive the version again, or use another copy`,
    { details: { file: name, archive: place }, cause },
  );
