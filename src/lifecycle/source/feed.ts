import { createHash } from 'node:crypto';
import { type FileHandle, open, stat } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { ID_BYTES_MAX, type SourceDocument, toSourceDocument } from './document.js';
import { parseLine, readLines } from './lines.js';
import type { FeedPosition } from './watermark.js';

const TAIL_BYTES = 4096;

/** One line of a feed: a document as it is from this version on, or that it is gone. */
export interface FeedChange {
  readonly id: string;
  readonly version: number;
  readonly isDeleted: boolean;
  /** Where its line lies. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * A file of JSON lines that is only ever appended to: `{"id","version",…fields of a document}` and
 * `{"id","version","deleted":true}`. Versions are whole numbers that rise with every change of a document; lines may
 * come out of order and more than once: of one id the highest version counts, of equal ones the first. A last line without
 * its end is still being written, and is not there yet.
 */
export class Feed {
  readonly name: string;
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
    this.name = path.basename(file);
  }

  /** The changes from a position on, with the position after each. Errors: INVALID_INPUT_FILE naming the line's place. */
  async *changes(
    from: Pick<FeedPosition, 'offset' | 'changes'>,
    { end, signal }: { readonly end?: number; readonly signal?: AbortSignal } = {},
  ): AsyncGenerator<FeedChange> {
    for await (const line of readLines(this.#file, {
      start: from.offset,
      ...(end === undefined ? {} : { end }),
    })) {
      signal?.throwIfAborted();
      if (!line.isEnded) return;
      const where = (): string => `${this.name} at byte ${line.offset}`;
      const record = parseLine(line.bytes, where);
      if (record === undefined) continue;
      const { id, version, isDeleted } = toChange(record, where());
      yield { id, version, isDeleted, offset: line.offset, bytes: line.bytes.length };
    }
  }

  /** Reads documents where their lines lie. */
  async reader(): Promise<FeedReader> {
    return new FeedReader(await open(this.#file, 'r'), this.name);
  }

  /** Bytes up to the last line that has its end. */
  async endOffset(): Promise<number> {
    const { size } = await stat(this.#file);
    const handle = await open(this.#file, 'r');
    try {
      const block = Buffer.alloc(1 << 16);
      for (let end = size; end > 0; ) {
        const start = Math.max(0, end - block.length);
        const { bytesRead } = await handle.read(block, 0, end - start, start);
        const last = block.subarray(0, bytesRead).lastIndexOf(0x0a);
        if (last >= 0) return start + last + 1;
        end = start;
      }
      return 0;
    } finally {
      await handle.close();
    }
  }

  /** Names a place in this feed. */
  async positionAt(offset: number, changes: number): Promise<FeedPosition> {
    return { offset, changes, tail: await this.#tailAt(offset) };
  }

  /** Errors: INVALID_INPUT_FILE when what lies before the position is not what was read then. */
  async assertHolds(position: FeedPosition): Promise<void> {
    const { size } = await stat(this.#file);
    if (size >= position.offset && (await this.#tailAt(position.offset)) === position.tail) return;
    throw new SwitchyardError(
      'INVALID_INPUT_FILE',
      `${this.name} is another feed than the one read up to byte ${position.offset}: a feed is only appended to; begin another version from this one`,
      { details: { source: this.name } },
    );
  }

  /** SHA-256 of everything before `offset`, 64 hex. */
  async sha256(offset: number, signal?: AbortSignal): Promise<string> {
    const hash = createHash('sha256');
    const handle = await open(this.#file, 'r');
    try {
      const block = Buffer.alloc(1 << 20);
      for (let at = 0; at < offset; ) {
        signal?.throwIfAborted();
        const { bytesRead } = await handle.read(block, 0, Math.min(block.length, offset - at), at);
        if (bytesRead === 0) throw shortened(this.name);
        hash.update(block.subarray(0, bytesRead));
        at += bytesRead;
      }
      return hash.digest('hex');
    } finally {
      await handle.close();
    }
  }

  async #tailAt(offset: number): Promise<string> {
    const handle = await open(this.#file, 'r');
    try {
      const tail = Buffer.alloc(Math.min(TAIL_BYTES, offset));
      const { bytesRead } = await handle.read(tail, 0, tail.length, offset - tail.length);
      if (bytesRead < tail.length) throw shortened(this.name);
      return createHash('sha256').update(tail).digest('hex').slice(0, 16);
    } finally {
      await handle.close();
    }
  }
}

export class FeedReader {
  readonly #handle: FileHandle;
  readonly #name: string;

  constructor(handle: FileHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }

  /** The document of a change that is no deletion. */
  async document({ offset, bytes, version }: FeedChange): Promise<SourceDocument> {
    const line = Buffer.alloc(bytes);
    const { bytesRead } = await this.#handle.read(line, 0, bytes, offset);
    if (bytesRead < bytes) throw shortened(this.#name);
    const where = `${this.#name} at byte ${offset}`;
    const {
      version: _version,
      deleted: _deleted,
      ...record
    } = parseLine(line, () => where) as object & {
      version?: unknown;
      deleted?: unknown;
    };
    return { ...toSourceDocument(record, where), version };
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

const shortened = (name: string): SwitchyardError =>
  new SwitchyardError(
    'INVALID_INPUT_FILE',
    `${name} became shorter while it was read: a feed is only appended to`,
  );

/** Whether a record is one of a feed: it says a version. */
export const isFeedRecord = (record: unknown): boolean =>
  typeof record === 'object' && record !== null && Object.hasOwn(record, 'version');

function toChange(record: unknown, where: string): Pick<FeedChange, 'id' | 'version' | 'isDeleted'> {
  const refuse = (why: string): never => {
    throw new SwitchyardError('INVALID_INPUT_FILE', `${where}: ${why}`);
  };
  if (typeof record !== 'object' || record === null || Array.isArray(record))
    return refuse('must be a JSON object with id, version and text or deleted');
  const { version, deleted, ...rest } = record as Record<string, unknown>;
  if (!Number.isSafeInteger(version) || (version as number) < 0)
    return refuse('version must be a whole number >= 0; in a feed every line has one');
  if (deleted !== undefined && typeof deleted !== 'boolean') return refuse('deleted must be true or false');
  if (deleted !== true) {
    const { id, vector } = toSourceDocument(rest, where);
    if (vector !== null) return refuse('a feed brings texts to embed, not vectors');
    return { id, version: version as number, isDeleted: false };
  }
  const { id } = rest;
  if (typeof id !== 'string' || id === '' || Buffer.byteLength(id) > ID_BYTES_MAX)
    return refuse(`id must be a non-empty string of at most ${ID_BYTES_MAX} bytes`);
  const unknown = Object.keys(rest).find((key) => key !== 'id');
  if (unknown !== undefined) return refuse(`a deletion has id, version and deleted, not "${unknown}"`);
  return { id, version: version as number, isDeleted: true };
}
