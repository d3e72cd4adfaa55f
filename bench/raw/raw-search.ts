import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Bundle } from '../../src/index/manifest.js';
import { type SearchCorpus, TOP_K } from '../data/search-corpus.js';
import { AskedChild } from '../rig/asked-child.js';
import type { FromRaw, RawResult, RawRun, ToRaw } from './raw-protocol.js';

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

  get pid(): number {
    return this.#child.pid;
  }

  async run(run: RawRun): Promise<RawResult> {
    return (await this.#child.ask({ kind: 'run', run }, 'result')).result;
  }

  close(): Promise<void> {
    return this.#child.close();
  }
}
