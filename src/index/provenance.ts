/**
 * What a row was made of. With it a text that was embedded once by a model is never embedded by it again, and a replica
 * of the source knows which of its changes a build holds.
 */
export interface RowProvenance {
  /** SHA-256 of the text as it was embedded: after template, normalisation and chunking, before the model's prefix. */
  readonly textHash: Uint8Array;
  /** Of the document in its source; null where the source has none. */
  readonly sourceVersion: number | null;
  /** Whether the text was cut at the model's max tokens. */
  readonly truncated: boolean;
}

/** provenance.bin, a record a row, little-endian: sha256, u64 source version (all ones: none), u32 flags, u32 zero. */
export const PROVENANCE_BYTES = 48;
const HASH_BYTES = 32;
const FLAGS_AT = 40;
const NO_VERSION = 0xffff_ffff_ffff_ffffn;
const TRUNCATED = 1;

export function encodeProvenance(
  provenance: RowProvenance | undefined,
  target: Uint8Array,
  at: number,
): void {
  if (provenance === undefined || provenance.textHash.length !== HASH_BYTES)
    throw new TypeError('a row of a build with provenance has none');
  target.set(provenance.textHash, at);
  const view = new DataView(target.buffer, target.byteOffset + at, PROVENANCE_BYTES);
  const { sourceVersion } = provenance;
  view.setBigUint64(HASH_BYTES, sourceVersion === null ? NO_VERSION : BigInt(sourceVersion), true);
  view.setUint32(FLAGS_AT, provenance.truncated ? TRUNCATED : 0, true);
}

export function decodeProvenance(records: Uint8Array, at: number): RowProvenance {
  const view = new DataView(records.buffer, records.byteOffset + at, PROVENANCE_BYTES);
  const version = view.getBigUint64(HASH_BYTES, true);
  return {
    textHash: records.slice(at, at + HASH_BYTES),
    sourceVersion: version === NO_VERSION ? null : Number(version),
    truncated: (view.getUint32(FLAGS_AT, true) & TRUNCATED) !== 0,
  };
}
