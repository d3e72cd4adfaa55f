import { SwitchyardError } from '../errors.js';
import type { Lane } from '../vocabulary.js';
import { scoreOf } from './formats.js';
import { IdTable } from './ids-file.js';
import type { Bundle } from './manifest.js';
import { checkQuery } from './query-check.js';
import type { Hit, IndexAnswer, IndexQuery, SearchIndex, StoredDocument } from './search-index.js';

/** A checked query on its way through the pool. */
export interface PendingQuery {
  /** Number of the index within its pool. */
  readonly index: number;
  readonly vector: Float32Array;
  readonly topK: number;
  readonly lane: Lane;
  /** `performance.now()` of this process when it was submitted. */
  readonly queuedAtMs: number;
  readonly deadlineAtMs: number;
  readonly withDocument: boolean;
  /** Told that it failed, or came too late, while a worker may still be at it: what the worker says then goes nowhere. */
  isOver: boolean;
  resolve(answer: RowAnswer): void;
  reject(error: SwitchyardError): void;
}

export interface RowAnswer {
  readonly rows: Uint32Array;
  readonly distances: Float32Array;
  /** Lines of documents.jsonl; null when they were not asked for. */
  readonly documents: readonly (string | null)[] | null;
  readonly searchUs: number;
}

export interface IndexPool {
  /** Why no worker can answer now, or null. */
  unavailable(): SwitchyardError | null;
  submit(query: PendingQuery): void;
  unmap(): Promise<void>;
}

/** A bundle on the workers of a pool. */
export class LocalIndex implements SearchIndex {
  readonly bundle: Bundle;
  readonly #number: number;
  readonly #ids: IdTable;
  readonly #pool: IndexPool;
  #pendingCount = 0;
  #whenIdle: (() => void) | null = null;
  #closed: Promise<void> | null = null;

  constructor(bundle: Bundle, number: number, ids: SharedArrayBuffer, pool: IndexPool) {
    this.bundle = bundle;
    this.#number = number;
    this.#ids = new IdTable(ids);
    this.#pool = pool;
  }

  get unavailable(): SwitchyardError | null {
    return this.#closed === null ? this.#pool.unavailable() : indexClosed();
  }

  async search(query: IndexQuery): Promise<IndexAnswer> {
    const vector = checkQuery(query, this.bundle.manifest);
    if (this.#closed !== null) throw indexClosed();
    const startedAtMs = performance.now();
    if (query.deadlineAtMs <= startedAtMs)
      throw new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before the search');
    this.#pendingCount++;
    try {
      const answer = await new Promise<RowAnswer>((resolve, reject) => {
        const { topK, lane, deadlineAtMs, withDocument } = query;
        this.#pool.submit({
          index: this.#number,
          vector,
          topK,
          lane,
          queuedAtMs: startedAtMs,
          deadlineAtMs,
          withDocument,
          isOver: false,
          resolve,
          reject,
        });
      });
      const elapsedUs = (performance.now() - startedAtMs) * 1e3;
      return {
        hits: this.#hits(answer),
        queueUs: Math.max(0, Math.round(elapsedUs - answer.searchUs)),
        searchUs: answer.searchUs,
      };
    } finally {
      if (--this.#pendingCount === 0) this.#whenIdle?.();
    }
  }

  #hits({ rows, distances, documents }: RowAnswer): Hit[] {
    const { metric } = this.bundle.manifest;
    const hits: Hit[] = [];
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      const distance = distances[i] as number;
      const line = documents?.[i] ?? null;
      hits.push({
        id: this.#ids.idOf(this.#ids.ordinals[row] as number),
        chunk: this.#ids.chunks[row] as number,
        score: scoreOf(metric, distance),
        distance,
        document: line === null ? null : (JSON.parse(line) as StoredDocument | null),
      });
    }
    return hits;
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      if (this.#pendingCount > 0)
        await new Promise<void>((resolve) => {
          this.#whenIdle = resolve;
        });
      await this.#pool.unmap();
    })();
    return this.#closed;
  }
}

const indexClosed = (): SwitchyardError =>
  new SwitchyardError('INDEX_UNAVAILABLE', 'the index is closed: the route has another target by now');
