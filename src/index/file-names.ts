/** The files of a bundle. A name outside this list is refused, so no manifest can point out of its folder. */
export const MANIFEST_FILE = 'manifest.json';
export const INDEX_FILE = 'index.usearch';
export const IDS_FILE = 'ids.bin';
export const VECTORS_FILE = 'vectors.f32';
export const DOCUMENTS_FILE = 'documents.jsonl';
export const DOCUMENT_OFFSETS_FILE = 'documents.offsets';

/** What each row was made of; see provenance.ts. */
export const PROVENANCE_FILE = 'provenance.bin';

export const REQUIRED_FILES = [INDEX_FILE, IDS_FILE, VECTORS_FILE] as const;
/** Both or neither. */
export const DOCUMENT_FILES = [DOCUMENTS_FILE, DOCUMENT_OFFSETS_FILE] as const;
