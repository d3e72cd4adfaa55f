import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import type { ComparedPair, ComparisonRecorder, WorstQuery } from '../../router/comparison-recorder.js';
import { PAIR_KINDS } from '../../router/pair-kind.js';
import type { Logger } from '../../telemetry/log.js';
import { readSealedFile, writeSealedFile } from './sealed-file.js';
import { readSecretFile } from './secret-file.js';

const FORMAT = 'switchyard.comparisons/2';
const SUFFIX = '.json';
const WRITE_INTERVAL_MS = 10_000;

const closed = { additionalProperties: false } as const;
const target = Type.Object(
  {
    version: Type.String(),
    build: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    model: Type.String(),
    fingerprint: Type.String(),
  },
  closed,
);
const share = Type.Number({ minimum: 0, maximum: 1 });
const StoreSchema = Type.Object(
  {
    corpus: Type.String({ minLength: 1 }),
    pairs: Type.Array(
      Type.Object(
        {
          kind: Type.Union(PAIR_KINDS.map((kind) => Type.Literal(kind))),
          primary: target,
          shadow: target,
          worst: Type.Array(
            Type.Object(
              {
                queryHash: Type.String(),
                text: Type.Union([Type.Null(), Type.String()]),
                k: Type.Integer({ minimum: 1 }),
                rbo: share,
                overlap: share,
                jaccard: share,
                primaryIds: Type.Array(Type.String()),
                shadowIds: Type.Array(Type.String()),
                atMs: Type.Number(),
              },
              closed,
            ),
          ),
        },
        closed,
      ),
    ),
  },
  closed,
);
type Stored = Static<typeof StoreSchema>;

/** The secret of the query hashes: they stay comparable over restarts and between gateways of one var_dir. */
export const readHashKey = (varDir: string): Promise<Uint8Array> =>
  readSecretFile(path.join(varDir, 'comparisons', 'hash-key'));

export interface ComparisonStoreOptions {
  readonly varDir: string;
  readonly recorder: ComparisonRecorder;
  readonly keepTexts: boolean;
  /** Corpora that are served. */
  readonly corpora: () => readonly string[];
  readonly log: Logger;
}

/**
 * The worst queries of each corpus under `<varDir>/comparisons/<corpus>.json`, bounded as the recorder bounds them,
 * so that evidence outlives a restart. Gateways of one var_dir add to each other's lists.
 */
export class ComparisonStore {
  readonly #options: ComparisonStoreOptions;
  readonly #folder: string;
  readonly #written = new Map<string, string>();
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> | null = null;

  constructor(options: ComparisonStoreOptions) {
    this.#options = options;
    this.#folder = path.join(options.varDir, 'comparisons');
  }

  /** Puts back what is stored, and stores from now on. A damaged file is refused by name and replaced. */
  async start(): Promise<void> {
    const names = (await readdir(this.#folder)).filter(
      (name) => name.endsWith(SUFFIX) && !name.startsWith('.'),
    );
    for (const name of names) await this.#restore(path.join(this.#folder, name));
    this.#timer = setInterval(() => void this.#write(), WRITE_INTERVAL_MS);
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#write();
  }

  /** What was stored is in the recorder afterwards, which keeps the worst of both. */
  async #restore(file: string): Promise<void> {
    try {
      const stored = await readSealedFile(file, FORMAT, StoreSchema);
      if (stored === null) return;
      for (const { kind, primary, shadow, worst } of stored.pairs)
        this.#options.recorder.restoreWorst(
          { corpus: stored.corpus, kind, primary, shadow } as unknown as ComparedPair,
          this.#options.keepTexts ? worst : worst.map((query) => ({ ...query, text: null })),
        );
    } catch (error) {
      this.#options.log.warn({ err: error }, 'stored comparisons are refused');
    }
  }

  async #write(): Promise<void> {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = null;
    });
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    const { recorder, corpora, log } = this.#options;
    for (const corpus of corpora()) {
      try {
        const file = path.join(this.#folder, `${corpus}${SUFFIX}`);
        // What another gateway of this folder stored since.
        await this.#restore(file);
        const pairs = recorder.report(corpus).flatMap(({ pair, worst }) =>
          worst.length === 0
            ? []
            : [
                {
                  kind: pair.kind,
                  primary: pair.primary,
                  shadow: pair.shadow,
                  worst: worst as WorstQuery[],
                },
              ],
        );
        const stored: Omit<Stored, 'pairs'> & { readonly pairs: unknown } = { corpus, pairs };
        const text = JSON.stringify(stored);
        if (pairs.length === 0 || this.#written.get(corpus) === text) continue;
        await writeSealedFile(file, FORMAT, stored);
        this.#written.set(corpus, text);
      } catch (error) {
        log.warn({ err: error, corpus }, 'comparisons could not be stored');
      }
    }
  }
}
