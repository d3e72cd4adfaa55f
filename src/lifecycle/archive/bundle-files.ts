import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { BuildBlocks } from '../../index/build-blocks.js';
import type { BuildBatch } from '../../index/build-options.js';
import {
  DOCUMENT_OFFSETS_FILE,
  DOCUMENTS_FILE,
  IDS_FILE,
  PROVENANCE_FILE,
  VECTORS_FILE,
} from '../../index/file-names.js';
import { HashingWriter } from '../../index/hashing-writer.js';
import { IdsWriter } from '../../index/ids-file.js';
import type { BundleFile, BundleManifest } from '../../index/manifest.js';

/** The files of a bundle from its rows, but the index. They must be the ones that its manifest names, to the byte. */
export class BundleFiles {
  readonly #folder: string;
  readonly #manifest: BundleManifest;
  readonly #ids = new IdsWriter();
  readonly #blocks: BuildBlocks;
  readonly #vectors: HashingWriter;
  readonly #documents: HashingWriter | null;
  readonly #provenance: HashingWriter | null;
  #current: string | null = null;

  constructor(folder: string, manifest: BundleManifest) {
    this.#folder = folder;
    this.#manifest = manifest;
    const writer = (name: string): HashingWriter => new HashingWriter(path.join(folder, name));
    const has = (name: string): boolean => manifest.files[name] !== undefined;
    this.#vectors = writer(VECTORS_FILE);
    this.#documents = has(DOCUMENTS_FILE) ? writer(DOCUMENTS_FILE) : null;
    this.#provenance = has(PROVENANCE_FILE) ? writer(PROVENANCE_FILE) : null;
    const stored = { storeDocuments: has(DOCUMENTS_FILE), storeProvenance: has(PROVENANCE_FILE) };
    this.#blocks = new BuildBlocks(manifest.full_dimensions, stored, async (block) => {
      const { vectors } = block;
      this.#vectors.write(new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength));
      this.#documents?.write(block.documents);
      this.#provenance?.write(block.provenance);
    });
  }

  async add(batch: BuildBatch): Promise<void> {
    for (const [at, row] of batch.rows.entries()) {
      const isNew = row.documentId !== this.#current;
      if (isNew) this.#ids.addDocument(row.documentId);
      this.#current = row.documentId;
      this.#ids.addRow(row.chunk);
      if (this.#blocks.append(batch, at, isNew)) await this.#blocks.flush();
    }
  }

  /** Errors: CORRUPT_ARCHIVE naming the file that is another one than was archived. */
  async finish(): Promise<void> {
    await this.#blocks.flush();
    this.#check(VECTORS_FILE, this.#vectors.finish());
    this.#writeWhole(IDS_FILE, this.#ids.pieces());
    if (this.#provenance !== null) this.#check(PROVENANCE_FILE, this.#provenance.finish());
    const offsets = this.#blocks.documentOffsets();
    if (this.#documents === null || offsets === null) return;
    this.#check(DOCUMENTS_FILE, this.#documents.finish());
    this.#writeWhole(DOCUMENT_OFFSETS_FILE, [offsets]);
  }

  #writeWhole(name: string, pieces: readonly Uint8Array[]): void {
    const writer = new HashingWriter(path.join(this.#folder, name));
    for (const piece of pieces) writer.write(piece);
    this.#check(name, writer.finish());
  }

  #check(name: string, written: BundleFile): void {
    const said = this.#manifest.files[name];
    if (said?.sha256 === written.sha256 && said.bytes === written.bytes) return;
    throw new SwitchyardError(
      'CORRUPT_ARCHIVE',
      `the archived rows give another ${name} than the build ${this.#manifest.corpus}/${this.#manifest.version} had: archive the version again, or use another copy`,
      { details: { file: name } },
    );
  }
}
