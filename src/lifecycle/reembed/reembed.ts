import type { BuildBatch } from '../../index/build-options.js';
import type { Logger } from '../../telemetry/log.js';
import type { Snapshot } from '../source/corpus-source.js';
import type { SourceDocument } from '../source/document.js';
import type { FeedChange } from '../source/feed.js';
import { formatWatermark } from '../source/watermark.js';
import { type CheckpointFooter, readBlocks } from './checkpoint-file.js';
import { type Checkpoints, changesName, snapshotName } from './checkpoints.js';
import type { BlockEmbedder } from './embed-blocks.js';
import type { KnownVectors } from './known-vectors.js';

export interface ReembedParts {
  readonly snapshot: Snapshot;
  readonly checkpoints: Checkpoints;
  readonly embedder: BlockEmbedder;
  readonly known: KnownVectors;
  readonly dimensions: number;
  /** Documents of one checkpoint. */
  readonly interval: number;
  /** Documents that a checkpoint holds already. */
  readonly onResumed: (documents: number) => void;
  /** A checkpoint was written: what a kill costs from here on is less than the next one. */
  readonly onCheckpoint: (name: string) => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

export interface CheckpointCounts {
  written: number;
  resumed: number;
  resumedDocuments: number;
  /** Damaged ones, embedded again. */
  redone: number;
}

/** Everything embedded, and where the source stood. */
export interface Reembedded {
  /** Rows that are still current, for a build. */
  rows(): AsyncIterable<BuildBatch>;
  /** Of the whole that was read: of a feed up to its watermark. */
  readonly sourceSha256: string;
  readonly watermark: string | null;
  readonly checkpointCounts: CheckpointCounts;
  readonly changesReplayed: number;
  readonly replayRounds: number;
  /** Embedded rows that a later change made void: they are in no bundle. */
  readonly superseded: () => number;
}

/** Rounds of what came meanwhile. A source that changes faster than it is embedded is left behind, and says so by its lag. */
const REPLAY_ROUNDS_MAX = 50;

/**
 * Embeds a snapshot interval by interval, then what came to its feed meanwhile, round by round, until nothing new has
 * come: there the version is frozen. Each interval is a checkpoint, so a run that was killed goes on with the first one
 * that is missing or damaged.
 */
export async function reembed(parts: ReembedParts): Promise<Reembedded> {
  const run = new Run(parts);
  await run.embedSnapshot();
  await run.replay();
  return run.finished();
}

class Run {
  readonly #parts: ReembedParts;
  readonly #names: string[] = [];
  readonly #counts: CheckpointCounts = { written: 0, resumed: 0, resumedDocuments: 0, redone: 0 };
  #end: { offset: number; changes: number };
  #changesReplayed = 0;
  #rounds = 0;
  #superseded = 0;

  constructor(parts: ReembedParts) {
    this.#parts = parts;
    this.#end = { ...(parts.snapshot.changes?.end ?? { offset: 0, changes: 0 }) };
  }

  async embedSnapshot(): Promise<void> {
    const { snapshot, interval, signal } = this.#parts;
    const count = Math.ceil(snapshot.documentCount / interval);
    let documents: AsyncIterator<SourceDocument> | null = null;
    let nextDocument = 0;
    try {
      for (let number = 0; number < count; number++) {
        signal.throwIfAborted();
        if (await this.#resumed(snapshotName(number))) continue;
        const first = number * interval;
        if (documents === null || nextDocument !== first) {
          await documents?.return?.();
          documents = snapshot.documents(first)[Symbol.asyncIterator]();
        }
        await this.#embed(snapshotName(number), takeNext(documents, interval, signal), null);
        nextDocument = first + interval;
      }
    } finally {
      await documents?.return?.();
    }
  }

  /** What came after the snapshot, in the order it came, a checkpoint for so many documents at most. */
  async replay(): Promise<void> {
    const { changes } = this.#parts.snapshot;
    if (changes === null) return;
    let isCaughtUp = false;
    for (let number = 0; !isCaughtUp && this.#rounds < REPLAY_ROUNDS_MAX; number++) {
      const name = changesName(number);
      const known = await this.#find(name);
      if (known !== null && known.feed?.from === this.#end.offset) {
        // What the checkpoint covers is applied again; its rows were embedded then.
        await this.#apply(known.feed.to);
        await this.#resume(name, known);
        continue;
      }
      const { changed, isEnd } = await this.#apply(null);
      isCaughtUp = isEnd && changed.size === 0;
      this.#rounds++;
      if (changed.size > 0) await this.#embedChanges(name, changed);
    }
  }

  /** Reads on in the feed: to `to`, or until enough documents changed or its end. */
  async #apply(to: number | null): Promise<{
    readonly changed: ReadonlyMap<string, FeedChange>;
    readonly isEnd: boolean;
  }> {
    const { snapshot, interval, signal } = this.#parts;
    const { feed, state } = snapshot.changes as NonNullable<Snapshot['changes']>;
    const changed = new Map<string, FeedChange>();
    this.#from = { ...this.#end };
    const end = to ?? (await feed.endOffset());
    for await (const change of feed.changes(this.#end, { end, signal })) {
      this.#end.changes++;
      this.#end.offset = change.offset + change.bytes + 1;
      this.#changesReplayed++;
      if (state.apply(change) !== 'applied') continue;
      if (change.isDeleted) changed.delete(change.id);
      else changed.set(change.id, change);
      if (to === null && changed.size >= interval) return { changed, isEnd: false };
    }
    return { changed, isEnd: true };
  }

  #from = { offset: 0, changes: 0 };

  async #embedChanges(name: string, changed: ReadonlyMap<string, FeedChange>): Promise<void> {
    const { snapshot, signal } = this.#parts;
    const { feed } = snapshot.changes as NonNullable<Snapshot['changes']>;
    const reader = await feed.reader();
    async function* documents(): AsyncGenerator<SourceDocument> {
      for (const change of changed.values()) {
        signal.throwIfAborted();
        yield await reader.document(change);
      }
    }
    try {
      await this.#embed(name, documents(), {
        from: this.#from.offset,
        to: this.#end.offset,
        changesTo: this.#end.changes,
      });
    } finally {
      await reader.close();
    }
  }

  async #find(name: string): Promise<CheckpointFooter | null> {
    const { checkpoints, dimensions, signal } = this.#parts;
    return checkpoints.find(name, dimensions, signal);
  }

  async #resumed(name: string): Promise<boolean> {
    const footer = await this.#find(name);
    if (footer === null) return false;
    await this.#resume(name, footer);
    return true;
  }

  /** Its texts are known from here on; it is not embedded again. */
  async #resume(name: string, footer: CheckpointFooter): Promise<void> {
    const { checkpoints, dimensions, known, signal, onResumed } = this.#parts;
    const file = checkpoints.fileOf(name);
    for await (const { rows, vectorsAt } of readBlocks(file, dimensions, { vectors: false, signal }))
      for (const [at, row] of rows.entries())
        known.add(row.textHash, { file, offset: vectorsAt + at * dimensions * 4 }, row.truncated);
    this.#names.push(name);
    this.#counts.resumed++;
    this.#counts.resumedDocuments += footer.documents;
    onResumed(footer.documents);
  }

  async #embed(
    name: string,
    documents: AsyncIterable<SourceDocument>,
    feed: CheckpointFooter['feed'],
  ): Promise<void> {
    const { checkpoints, embedder, known, dimensions, onCheckpoint, log } = this.#parts;
    const writer = await checkpoints.begin(name);
    let count = 0;
    try {
      const read = counted(documents, () => count++);
      for await (const block of embedder.blocks(read, () => writer.noteBegun(count))) {
        const places = await writer.write(block);
        for (const [at, row] of block.rows.entries()) {
          const place = places[at];
          if (place !== undefined) known.add(row.textHash, place, row.truncated);
        }
      }
      const plan = checkpoints.planHash;
      const { rows } = await writer.finish({ plan, dimensions, documents: count, feed });
      this.#counts.written++;
      log.info({ checkpoint: name, documents: count, rows }, 'a checkpoint was written');
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    this.#names.push(name);
    onCheckpoint(name);
  }

  async finished(): Promise<Reembedded> {
    const { snapshot, checkpoints, signal } = this.#parts;
    this.#counts.redone = checkpoints.damaged.length;
    const { changes } = snapshot;
    const atEnd =
      changes === null
        ? { sourceSha256: snapshot.sha256, watermark: snapshot.watermark }
        : {
            sourceSha256: await changes.feed.sha256(this.#end.offset, signal),
            watermark: formatWatermark(await changes.feed.positionAt(this.#end.offset, this.#end.changes)),
          };
    return {
      ...atEnd,
      rows: () => this.#rows(),
      checkpointCounts: this.#counts,
      changesReplayed: this.#changesReplayed,
      replayRounds: this.#rounds,
      superseded: () => this.#superseded,
    };
  }

  /** Of each document the version that counts at the watermark, and nothing of one that was deleted. */
  async *#rows(): AsyncGenerator<BuildBatch> {
    const { checkpoints, dimensions, snapshot, signal } = this.#parts;
    const state = snapshot.changes?.state ?? null;
    this.#superseded = 0;
    for (const name of this.#names) {
      for await (const block of readBlocks(checkpoints.fileOf(name), dimensions, { signal })) {
        const current = block.rows.flatMap((row, at) =>
          state === null || (row.sourceVersion !== null && state.isCurrent(row.documentId, row.sourceVersion))
            ? [{ row, at }]
            : [],
        );
        this.#superseded += block.rows.length - current.length;
        const vectors = new Float32Array(current.length * dimensions);
        for (const [to, { at }] of current.entries())
          vectors.set(block.vectors.subarray(at * dimensions, (at + 1) * dimensions), to * dimensions);
        yield {
          vectors,
          rows: current.map(({ row }) => ({
            documentId: row.documentId,
            chunk: row.chunk,
            truncated: row.truncated,
            ...(row.document === undefined ? {} : { document: row.document }),
            provenance: {
              textHash: Buffer.from(row.textHash, 'hex'),
              sourceVersion: row.sourceVersion,
              truncated: row.truncated,
            },
          })),
        };
      }
    }
  }
}

async function* takeNext(
  documents: AsyncIterator<SourceDocument>,
  count: number,
  signal: AbortSignal,
): AsyncGenerator<SourceDocument> {
  for (let taken = 0; taken < count; taken++) {
    signal.throwIfAborted();
    const next = await documents.next();
    if (next.done === true) return;
    yield next.value;
  }
}

async function* counted<T>(items: AsyncIterable<T>, count: () => void): AsyncGenerator<T> {
  for await (const item of items) {
    count();
    yield item;
  }
}
