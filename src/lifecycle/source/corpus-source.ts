import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { summariseFile } from '../../files/hash.js';
import type { DocumentSource, SourceDocument } from './document.js';
import { Feed } from './feed.js';
import { FeedState } from './feed-state.js';
import { isFeedFile, openSource } from './open.js';

/** Where a feed's snapshot ends. */
export interface SnapshotEnd {
  readonly offset: number;
  readonly changes: number;
}

/** What a build reads first. It can be read again and gives the same. */
export interface Snapshot {
  readonly kind: 'file' | 'feed' | 'archive' | 'version';
  readonly name: string;
  /** Of the bytes that it is read from, 64 hex. */
  readonly sha256: string;
  readonly documentCount: number;
  /** In their order, from document number `from` (0: all of them). */
  documents(from: number): AsyncIterable<SourceDocument>;
  /** What comes after it; null where nothing does. */
  readonly changes: {
    readonly feed: Feed;
    readonly end: SnapshotEnd;
    /** Up to `end`; further changes are applied to it. */
    readonly state: FeedState;
  } | null;
  /** Of a source without changes: the watermark that it was left at by whoever wrote it. */
  readonly watermark: string | null;
}

export interface CorpusSource {
  readonly name: string;
  /** True when every document carries its vector. */
  readonly hasVectors: boolean;
  /** Of texts that another version keeps: the feed that they came from. */
  readonly feed?: string;
  /** `end`: that of an earlier snapshot of a feed, which is taken again. Errors: INVALID_INPUT_FILE. */
  snapshot(end: SnapshotEnd | null, signal: AbortSignal): Promise<Snapshot>;
}

/** A file of documents: a feed, or JSON lines or Parquet without versions. Errors: INVALID_INPUT_FILE. */
export async function openCorpusSource(file: string): Promise<CorpusSource> {
  const name = path.basename(file);
  if (await isFeedFile(file)) {
    const feed = new Feed(file);
    return { name, hasVectors: false, snapshot: (end, signal) => feedSnapshot(feed, end, signal) };
  }
  const source = await openSource(file);
  return {
    name,
    hasVectors: source.hasVectors,
    snapshot: async (_end, signal) => fileSnapshot(file, source, signal),
  };
}

async function fileSnapshot(file: string, source: DocumentSource, signal: AbortSignal): Promise<Snapshot> {
  let documentCount = 0;
  for await (const _document of source.documents()) {
    signal.throwIfAborted();
    documentCount++;
  }
  if (documentCount === 0) throw empty(source.name);
  return {
    kind: 'file',
    name: source.name,
    sha256: (await summariseFile(file)).sha256,
    documentCount,
    documents: (from) => skipped(source.documents(), from),
    changes: null,
    watermark: null,
  };
}

async function feedSnapshot(feed: Feed, end: SnapshotEnd | null, signal: AbortSignal): Promise<Snapshot> {
  const newest = await feed.endOffset();
  // A feed that is shorter now is another one: it is read anew, and what was embedded of the old one is of no use.
  const offset = end !== null && end.offset <= newest ? end.offset : newest;
  const state = new FeedState();
  let changes = 0;
  for await (const change of feed.changes({ offset: 0, changes: 0 }, { end: offset, signal })) {
    state.apply(change);
    changes++;
  }
  const live = state.live();
  if (live.length === 0) throw empty(feed.name);
  return {
    kind: 'feed',
    name: feed.name,
    sha256: await feed.sha256(offset, signal),
    documentCount: live.length,
    async *documents(from) {
      const reader = await feed.reader();
      try {
        for (let at = from; at < live.length; at++) yield await reader.document(live[at] as (typeof live)[0]);
      } finally {
        await reader.close();
      }
    },
    changes: { feed, end: { offset, changes }, state },
    watermark: null,
  };
}

export async function* skipped(
  documents: AsyncIterable<SourceDocument>,
  count: number,
): AsyncIterable<SourceDocument> {
  let at = 0;
  for await (const document of documents) if (at++ >= count) yield document;
}

export const empty = (name: string): SwitchyardError =>
  new SwitchyardError('INVALID_INPUT_FILE', `${name} holds no document`);
