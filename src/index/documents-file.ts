import { closeSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { identifyDescriptor, isSameFile } from './file-identity.js';
import { DOCUMENT_OFFSETS_FILE, DOCUMENTS_FILE } from './file-names.js';
import type { Identities } from './verify-protocol.js';

/** Stored documents by ordinal, by two positioned reads each; nothing is held in memory. For worker threads. */
export class DocumentsFile {
  readonly #lines: number;
  readonly #offsets: number;
  readonly #range = Buffer.alloc(16);

  constructor(folder: string, identities: Identities) {
    this.#lines = openVerified(folder, DOCUMENTS_FILE, identities);
    try {
      this.#offsets = openVerified(folder, DOCUMENT_OFFSETS_FILE, identities);
    } catch (error) {
      closeSync(this.#lines);
      throw error;
    }
  }

  /** The document's line of documents.jsonl. */
  read(ordinal: number): string {
    this.#fill(this.#offsets, this.#range, ordinal * 8, DOCUMENT_OFFSETS_FILE);
    const start = Number(this.#range.readBigUInt64LE(0));
    const line = Buffer.allocUnsafe(Number(this.#range.readBigUInt64LE(8)) - start);
    this.#fill(this.#lines, line, start, DOCUMENTS_FILE);
    return line.toString('utf8');
  }

  #fill(descriptor: number, target: Buffer, position: number, name: string): void {
    let done = 0;
    while (done < target.length) {
      const read = readSync(descriptor, target, done, target.length - done, position + done);
      if (read === 0)
        throw new SwitchyardError('CORRUPT_BUNDLE', `${name} ends early: fetch the bundle again`);
      done += read;
    }
  }

  close(): void {
    closeSync(this.#lines);
    closeSync(this.#offsets);
  }
}

function openVerified(folder: string, name: string, identities: Identities): number {
  const descriptor = openSync(path.join(folder, name), 'r');
  const verified = identities[name];
  if (verified !== undefined && isSameFile(verified, identifyDescriptor(descriptor))) return descriptor;
  closeSync(descriptor);
  throw changedFile(name);
}

export const changedFile = (name: string): SwitchyardError =>
  new SwitchyardError('CORRUPT_BUNDLE', `${name} changed since it was verified: open the bundle again`, {
    details: { file: name },
  });
