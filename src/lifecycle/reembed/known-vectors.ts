import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { PROVENANCE_FILE, VECTORS_FILE } from '../../index/file-names.js';
import type { Bundle } from '../../index/manifest.js';
import { decodeProvenance, PROVENANCE_BYTES } from '../../index/provenance.js';
import { verifyBundle } from '../../index/verify-bundle.js';
import { CheckpointWriter, type VectorPlace } from './checkpoint-file.js';

/** Texts remembered at most: about 200 bytes each. Beyond it equal texts may be encoded more than once. */
const TEXTS_MAX = 4_000_000;
const RECORDS_PER_READ = 4096;

export interface KnownVector {
  readonly values: Float32Array<ArrayBuffer>;
  readonly truncated: boolean;
  /** Whether it comes from a bundle of an earlier version, not from this run. */
  readonly isEarlier: boolean;
}

interface Known extends VectorPlace {
  readonly truncated: boolean;
  readonly isEarlier: boolean;
}

/** Vectors that one model made before, by the hash of the text. They lie in files; only places are in memory. */
export class KnownVectors {
  readonly #dimensions: number;
  readonly #places = new Map<string, Known>();
  readonly #handles = new Map<string, Promise<FileHandle>>();

  constructor(dimensions: number) {
    this.#dimensions = dimensions;
  }

  get size(): number {
    return this.#places.size;
  }

  add(textHash: string, place: VectorPlace, truncated: boolean, isEarlier = false): void {
    if (this.#places.size >= TEXTS_MAX || this.#places.has(textHash)) return;
    this.#places.set(textHash, { ...place, truncated, isEarlier });
  }

  has(textHash: string): boolean {
    return this.#places.has(textHash);
  }

  async find(textHash: string): Promise<KnownVector | null> {
    const known = this.#places.get(textHash);
    if (known === undefined) return null;
    const values = new Float32Array(this.#dimensions);
    const bytes = new Uint8Array(values.buffer);
    const handle = await this.#open(known.file);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, known.offset);
    if (bytesRead < bytes.length) return null;
    return { values, truncated: known.truncated, isEarlier: known.isEarlier };
  }

  /**
   * The texts of a published build of the same model. Every file of it is hashed first. Nothing is taken from one that
   * kept no provenance. Errors: CORRUPT_BUNDLE.
   */
  async addBundle(bundle: Bundle, signal?: AbortSignal): Promise<void> {
    const { folder, manifest } = bundle;
    if (manifest.files[PROVENANCE_FILE] === undefined || manifest.full_dimensions !== this.#dimensions)
      return;
    await verifyBundle(bundle, signal === undefined ? {} : { signal });
    const file = path.join(folder, VECTORS_FILE);
    const records = await open(path.join(folder, PROVENANCE_FILE), 'r');
    try {
      const block = Buffer.alloc(RECORDS_PER_READ * PROVENANCE_BYTES);
      for (let row = 0; row < manifest.row_count; ) {
        signal?.throwIfAborted();
        const { bytesRead } = await records.read(block, 0, block.length, row * PROVENANCE_BYTES);
        const count = Math.floor(bytesRead / PROVENANCE_BYTES);
        if (count === 0) return;
        for (let at = 0; at < count; at++, row++) {
          const { textHash, truncated } = decodeProvenance(block, at * PROVENANCE_BYTES);
          const offset = row * this.#dimensions * 4;
          this.add(Buffer.from(textHash).toString('hex'), { file, offset }, truncated, true);
        }
      }
    } finally {
      await records.close();
    }
  }

  async close(): Promise<void> {
    for (const handle of this.#handles.values()) await (await handle.catch(() => null))?.close();
    this.#handles.clear();
  }

  #open(file: string): Promise<FileHandle> {
    let handle = this.#handles.get(file);
    if (handle === undefined) {
      // The checkpoint that is being written has another name; its descriptor outlives the renaming.
      handle = open(file, 'r').catch(() => open(CheckpointWriter.partialName(file), 'r'));
      this.#handles.set(file, handle);
    }
    return handle;
  }
}
