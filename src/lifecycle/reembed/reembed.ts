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
  /** Whether a document has one row at most: then one that was linked in can be taken out again. */
  readonly isOneRowEach: boolean;
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

/** What was read of a source: of a feed, everything before its watermark. */
export interface ReadSource {
  readonly sha256: string;
  readonly watermark: string | null;
}

/** Everything embedded, and where the source stood. */
export interface Reembedded {
  /** Rows that are still current, for a build; then, round by round, what came to a feed while those were linked in. */
  rows(): AsyncIterable<BuildBatch>;
  /** As far as it was read by now: once all rows came, as far as they go. */
  source(): Promise<ReadSource>;
  readonly checkpointCounts: CheckpointCounts;
  changesReplayed(): number;
}

/** Rounds of what came meanwhile. A source that changes faster than it is embedded is left behind, and says so by its lag. */
const REPLAY_ROUNDS_MAX = 50;

/**
 * Embeds a snapshot interval by interval, then what came to its feed meanwhile, round by round, until nothing new has
 * come; and once more when its rows were linked in: there the version is frozen. Each interval is a checkpoint, so a run that
 * was killed goes on with the first one that is missing or damaged.
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
  /** Of the next checkpoint of changes. */
  #number = 0;
  #read: (ReadSource & { readonly offset: number }) | null = null;

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
    for (let rounds = 0; !isCaughtUp && rounds < REPLAY_ROUNDS_MAX; ) {
      const name = changesName(this.#number++);
      const known = await this.#find(name);
      if (known !== null && known.feed?.from === this.#end.offset) {
        // What the checkpoint covers is applied again; its rows were embedded then.
        await this.#apply(known.feed.to);
        await this.#resume(name, known);
        continue;
      }
      const { changed, isEnd } = await this.#apply(null);
      isCaughtUp = isEnd && changed.size === 0;
      rounds++;
      if (changed.size > 0) await this.#embedChanges(name, changed);
    }
  }

  /**
   * What came while the rows were linked in, and then while these rounds were: embedded, and linked in behind the others,
   * with what each round made void. Where documents have several rows it ends before the first change that would do that.
   */
  async *#latecomers(): AsyncGenerator<BuildBatch> {
    const { snapshot, dimensions, isOneRowEach } = this.#parts;
    if (snapshot.changes === null) return;
    for (let round = 0; round < REPLAY_ROUNDS_MAX; round++) {
      const { changed, applied } = await this.#apply(null, isOneRowEach ? 'any' : 'new documents');
      if (applied.size === 0) return;
      if (isOneRowEach) yield { vectors: new Float32Array(0), rows: [], removed: applied };
      if (changed.size === 0) continue;
      const name = changesName(this.#number++);
      await this.#embedChanges(name, changed);
      yield* this.#rowsOf(name, dimensions);
    }
  }

  /**
   * Reads on in the feed: to `to`, or until enough documents changed or its end. `applied`: ids of documents that are
   * others now than before, or gone.
   */
  async #apply(
    to: number | null,
    taken: 'any' | 'new documents' = 'any',
  ): Promise<{
    readonly changed: ReadonlyMap<string, FeedChange>;
    readonly applied: ReadonlySet<string>;
    readonly isEnd: boolean;
  }> {
    const { snapshot, interval, signal } = this.#parts;
    const { feed, state } = snapshot.changes as NonNullable<Snapshot['changes']>;
    const changed = new Map<string, FeedChange>();
    const applied = new Set<string>();
    this.#from = { ...this.#end };
    const end = to ?? (await feed.endOffset());
    for await (const change of feed.changes(this.#end, { end, signal })) {
      if (taken === 'new documents' && state.wouldVoid(change)) break;
      this.#end.changes++;
      this.#end.offset = change.offset + change.bytes + 1;
      this.#changesReplayed++;
      if (state.apply(change) !== 'applied') continue;
      applied.add(change.id);
      if (change.isDeleted) changed.delete(change.id);
      else changed.set(change.id, change);
      if (to === null && changed.size >= interval) return { changed, applied, isEnd: false };
    }
    return { changed, applied, isEnd: true };
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

  finished(): Reembedded {
    this.#counts.redone = this.#parts.checkpoints.damaged.length;
    return {
      rows: () => this.#rows(),
      source: () => this.#source(),
      checkpointCounts: this.#counts,
      changesReplayed: () => this.#changesReplayed,
    };
  }

  async #source(): Promise<ReadSource> {
    const { snapshot, signal } = this.#parts;
    const { changes, sha256, watermark } = snapshot;
    if (changes === null) return { sha256, watermark };
    const { offset } = this.#end;
    // Hashing a feed takes long, and it is asked again and again.
    if (this.#read?.offset !== offset)
      this.#read = {
        offset,
        sha256: await changes.feed.sha256(offset, signal),
        watermark: formatWatermark(await changes.feed.positionAt(offset, this.#end.changes)),
      };
    return this.#read;
  }

  async *#rows(): AsyncGenerator<BuildBatch> {
    const { dimensions } = this.#parts;
    for (const name of [...this.#names]) yield* this.#rowsOf(name, dimensions);
    yield* this.#latecomers();
  }

  /** Of each document the version that counts by now, and nothing of one that was deleted. */
  async *#rowsOf(name: string, dimensions: number): AsyncGenerator<BuildBatch> {
    const { checkpoints, snapshot, signal } = this.#parts;
    const state = snapshot.changes?.state ?? null;
    for await (const block of readBlocks(checkpoints.fileOf(name), dimensions, { signal })) {
      const current = block.rows.flatMap((row, at) =>
        state === null || (row.sourceVersion !== null && state.isCurrent(row.documentId, row.sourceVersion))
          ? [{ row, at }]
          : [],
      );
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
