import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bundle } from '../../src/index/manifest.js';
import { type SearchCorpus, TOP_K } from '../data/search-corpus.js';
import { treeCpuUs } from '../load/process-cpu.js';
import { AskedChild } from '../rig/asked-child.js';
import type { FromRaw, RawRun, RawTimes, ToRaw } from './raw-protocol.js';

export interface RawResult extends RawTimes {
  /** CPU time of all its threads, µs per query. */
  readonly cpuUs: number;
  readonly recall: number;
}

/** usearch alone, in a process of its own, over the very file that the gateway serves. */
export class RawSearch {
  readonly #child: AskedChild<ToRaw, FromRaw>;

  private constructor(child: AskedChild<ToRaw, FromRaw>) {
    this.#child = child;
  }

  static async start(
    { folder, manifest }: Bundle,
    corpus: SearchCorpus,
    workers: number,
  ): Promise<RawSearch> {
    const child = new AskedChild<ToRaw, FromRaw>(fileURLToPath(new URL('./raw-main.js', import.meta.url)));
    const setup = {
      indexFile: path.join(folder, 'index.usearch'),
      dimensions: manifest.dimensions,
      connectivity: manifest.connectivity,
      expansionAdd: manifest.expansion_add,
      expansionSearch: manifest.expansion_search,
      topK: TOP_K,
      workers,
      queries: corpus.queries,
      truth: corpus.truth,
    };
    try {
      await child.ask({ kind: 'setup', setup }, 'ready');
      return new RawSearch(child);
    } catch (error) {
      await child.close();
      throw error;
    }
  }

  async run(run: RawRun): Promise<RawResult> {
    const before = treeCpuUs(this.#child.pid);
    const { result } = await this.#child.ask({ kind: 'run', run }, 'result');
    const cpuUs = (treeCpuUs(this.#child.pid) - before) / result.queries;
    const { recall } = await this.#child.ask({ kind: 'judge' }, 'judged');
    return { ...result, cpuUs, recall };
  }

  close(): Promise<void> {
    return this.#child.close();
  }
}
