import { createHash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { asDiskError } from '../files/publish.js';
import type { BundleFile } from './manifest.js';

/** Appends to a new file and hashes what it was given, so the manifest says what was meant. Blocks its thread. */
export class HashingWriter {
  readonly #file: string;
  readonly #descriptor: number;
  readonly #hash = createHash('sha256');
  #bytes = 0;

  constructor(file: string) {
    this.#file = file;
    this.#descriptor = openSync(file, 'wx');
  }

  write(data: Uint8Array): void {
    this.#hash.update(data);
    let done = 0;
    try {
      while (done < data.length)
        done += writeSync(this.#descriptor, data, done, data.length - done, this.#bytes + done);
    } catch (error) {
      throw asDiskError(error, this.#file);
    }
    this.#bytes += data.length;
  }

  /** Closes the file and says what it holds. */
  finish(): BundleFile {
    closeSync(this.#descriptor);
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') };
  }
}
