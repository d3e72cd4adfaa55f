import path from 'node:path';
import { INDEX_FILE, VECTORS_FILE } from './file-names.js';
import { formatOf } from './formats.js';
import type { Bundle, BundleManifest } from './manifest.js';
import type { Identities } from './verify-protocol.js';

/** The files that a search reads, wherever they lie. */
export interface SearchFiles {
  readonly index: string;
  readonly vectors: string;
}

/** `disk`: mapped where it was published. `page_cache`: the same, kept warm. `memory`: a copy in a memory-backed folder. */
export type PlacementKind = 'disk' | 'page_cache' | 'memory';

/** Where the files of an open index lie, and what is to be let go of when it is closed. */
export interface Placement {
  readonly kind: PlacementKind;
  readonly files: SearchFiles;
  /** Of files that were hashed: index.usearch and vectors.f32 of this place, the others of the bundle. */
  readonly identities: Identities;
  release(): Promise<void>;
}

/** Decides where a bundle is searched, once its files were verified. */
export type Place = (
  bundle: Bundle,
  identities: Identities,
  signal: AbortSignal | undefined,
) => Promise<Placement>;

export const filesIn = (folder: string): SearchFiles => ({
  index: path.join(folder, INDEX_FILE),
  vectors: path.join(folder, VECTORS_FILE),
});

export const placeOnDisk: Place = async (bundle, identities) => ({
  kind: 'disk',
  files: filesIn(bundle.folder),
  identities,
  release: async () => undefined,
});

/** The files that searches of a build keep reading: whole vectors only where every search is rescored. */
export function searchedFiles(manifest: BundleManifest): readonly string[] {
  return formatOf(manifest).rescoring === null ? [INDEX_FILE] : [INDEX_FILE, VECTORS_FILE];
}

export const searchedPaths = (files: SearchFiles, manifest: BundleManifest): readonly string[] =>
  searchedFiles(manifest).map((name) => (name === INDEX_FILE ? files.index : files.vectors));

/** What a build takes of the memory budget in the `dram` tier. */
export const residentBytes = (manifest: BundleManifest): number =>
  searchedFiles(manifest).reduce((sum, name) => sum + (manifest.files[name]?.bytes ?? 0), 0);
