import { parentPort, workerData } from 'node:worker_threads';
import { type ErrorFrame, errorToFrame, SwitchyardError } from '../errors.js';
import { searchDocuments } from './document-search.js';
import { changedFile, DocumentsFile } from './documents-file.js';
import { identifyDescriptor, identifyFile, isSameFile } from './file-identity.js';
import { INDEX_FILE, VECTORS_FILE } from './file-names.js';
import type { RowHits } from './graph.js';
import { IdTable } from './ids-file.js';
import { RowSearcher } from './row-searcher.js';
import {
  ANSWERED,
  EXPIRED,
  FAILED,
  type FromSearchWorker,
  monotonicMs,
  type OpenMessage,
  QUERY_FIELDS,
  type SearchMessage,
  type SearchWorkerData,
  type ToSearchWorker,
} from './search-protocol.js';
import { tellThreadId, threadMajorFaults } from './thread-faults.js';

/**
 * Entry of a search worker: maps the same files as every other worker and answers groups of queries, one after
 * another. It trusts its caller: queries were checked, above all their fingerprint, by `SearchPool` (invariant 1).
 */
interface OpenIndex {
  readonly searcher: RowSearcher;
  readonly ids: IdTable;
  readonly documents: DocumentsFile | null;
  readonly majorFaults: BigInt64Array | null;
}

function openFiles(message: OpenMessage): OpenIndex {
  const { folder, files, identities } = message;
  const documents = message.hasDocuments ? new DocumentsFile(folder, identities) : null;
  let searcher: RowSearcher | null = null;
  try {
    const [verifiedIndex, verifiedVectors] = [identities[INDEX_FILE], identities[VECTORS_FILE]];
    if (verifiedIndex === undefined || !isSameFile(verifiedIndex, identifyFile(files.index)))
      throw changedFile(INDEX_FILE);
    searcher = new RowSearcher(files, message.manifest);
    const isSame =
      verifiedVectors !== undefined &&
      isSameFile(verifiedVectors, identifyDescriptor(searcher.vectors.descriptor));
    if (!isSame) throw changedFile(VECTORS_FILE);
    const majorFaults = message.majorFaults === null ? null : new BigInt64Array(message.majorFaults);
    return { searcher, ids: new IdTable(message.ids), documents, majorFaults };
  } catch (error) {
    searcher?.close();
    documents?.close();
    throw error;
  }
}

class Answers {
  #packed = new Uint32Array(256);
  #distances = new Float32Array(this.#packed.buffer);
  #used = 0;
  documents: (string | null)[] | null = null;
  errors: ErrorFrame[] | null = null;

  add(outcome: number, hits: RowHits | null, searchUs: number): void {
    const count = hits?.rows.length ?? 0;
    this.#reserve(3 + 2 * count);
    this.#packed[this.#used] = outcome;
    this.#packed[this.#used + 1] = count;
    this.#packed[this.#used + 2] = searchUs;
    if (hits !== null) {
      this.#packed.set(hits.rows, this.#used + 3);
      this.#distances.set(hits.distances, this.#used + 3 + count);
    }
    this.#used += 3 + 2 * count;
  }

  #reserve(more: number): void {
    if (this.#used + more <= this.#packed.length) return;
    const larger = new Uint32Array((this.#used + more) * 2);
    larger.set(this.#packed);
    this.#packed = larger;
    this.#distances = new Float32Array(larger.buffer);
  }

  packed(): Uint32Array {
    return this.#packed.slice(0, this.#used);
  }
}

class SearchWorker {
  readonly #open = new Map<number, OpenIndex>();

  open(message: OpenMessage): FromSearchWorker {
    try {
      this.#open.set(message.index, openFiles(message));
      return { kind: 'opened', index: message.index };
    } catch (error) {
      return { kind: 'open_failed', index: message.index, error: errorToFrame(error) };
    }
  }

  close(index: number): FromSearchWorker {
    const open = this.#open.get(index);
    this.#open.delete(index);
    open?.documents?.close();
    open?.searcher.close();
    return { kind: 'closed', index };
  }

  search(message: SearchMessage): FromSearchWorker {
    const answers = new Answers();
    let vectorAt = 0;
    for (let at = 0; at < message.queries.length; at += QUERY_FIELDS) {
      const [index, topK, withDocument, deadlineMs, length] = message.queries.subarray(at, at + QUERY_FIELDS);
      // A copy: usearch must see a vector at byte 0 of a buffer of its own.
      const vector = message.vectors.slice(vectorAt, vectorAt + (length as number));
      vectorAt += length as number;
      const started = monotonicMs();
      if (started >= (deadlineMs as number)) {
        answers.add(EXPIRED, null, 0);
        continue;
      }
      try {
        const hits = this.#answer(answers, index as number, vector, topK as number, withDocument === 1);
        answers.add(ANSWERED, hits, (monotonicMs() - started) * 1e3);
      } catch (error) {
        answers.add(FAILED, null, (monotonicMs() - started) * 1e3);
        answers.errors ??= [];
        answers.errors.push(errorToFrame(error));
      }
    }
    return {
      kind: 'answers',
      group: message.group,
      packed: answers.packed(),
      documents: answers.documents,
      errors: answers.errors,
    };
  }

  #answer(
    answers: Answers,
    index: number,
    vector: Float32Array,
    topK: number,
    withDocument: boolean,
  ): RowHits {
    const open = this.#open.get(index);
    if (open === undefined)
      throw new SwitchyardError('INDEX_UNAVAILABLE', 'this search worker could not open the index again');
    const faultsBefore = open.majorFaults === null ? 0 : threadMajorFaults();
    const hits = searchDocuments(open.searcher, open.ids, vector, topK);
    if (open.majorFaults !== null)
      Atomics.add(open.majorFaults, 0, BigInt(threadMajorFaults() - faultsBefore));
    if (!withDocument) return hits;
    const lines: (string | null)[] = [];
    for (const row of hits.rows) lines.push(open.documents?.read(open.ids.ordinals[row] as number) ?? null);
    answers.documents = answers.documents === null ? lines : answers.documents.concat(lines);
    return hits;
  }

  closeAll(): void {
    for (const index of [...this.#open.keys()]) this.close(index);
  }
}

function run(port: NonNullable<typeof parentPort>): void {
  const worker = new SearchWorker();
  port.on('message', (message: ToSearchWorker) => {
    switch (message.kind) {
      case 'search':
        port.postMessage(worker.search(message));
        break;
      case 'open':
        port.postMessage(worker.open(message));
        break;
      case 'close':
        port.postMessage(worker.close(message.index));
        break;
      case 'end':
        worker.closeAll();
        port.close();
        break;
      default:
        message satisfies never;
        throw new Error('a search worker got a message that it does not know');
    }
  });
}

if (parentPort !== null) {
  tellThreadId(workerData as SearchWorkerData);
  run(parentPort);
}
