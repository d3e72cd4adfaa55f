import type { CountedTraffic, TrafficKind } from '../registry/traffic.js';
import type { SearchOutcome } from '../router/query.js';

/** Versions × keys × kinds that are told apart between two reports; what comes beyond is counted as of no key. */
const DISTINCT_MAX = 10_000;

interface Count {
  readonly corpus: string;
  readonly version: string;
  readonly keyName: string;
  split: number;
  pinned: number;
}

/** Who searched which version since the last report. On the path of every request: two look-ups and an addition. */
export class TrafficCounter {
  #byVersion = new Map<string, Map<string, Count>>();
  #distinct = 0;

  count(corpus: string, outcome: SearchOutcome, keyName: string, kind: TrafficKind): void {
    this.#add(corpus, outcome.servedBy.corpusVersion, keyName, kind, 1);
  }

  /** What was counted; from here on it counts anew. */
  take(): readonly CountedTraffic[] {
    const taken = [...this.#byVersion.values()].flatMap((keys) => [...keys.values()]);
    this.#byVersion = new Map();
    this.#distinct = 0;
    return taken.flatMap(({ corpus, version, keyName, split, pinned }) => [
      ...(split === 0 ? [] : [{ corpus, version, keyName, kind: 'split' as const, requests: split }]),
      ...(pinned === 0 ? [] : [{ corpus, version, keyName, kind: 'pinned' as const, requests: pinned }]),
    ]);
  }

  /** What could not be reported counts again. */
  giveBack(counted: readonly CountedTraffic[]): void {
    for (const { corpus, version, keyName, kind, requests } of counted)
      this.#add(corpus, version, keyName, kind, requests);
  }

  #add(corpus: string, version: string, keyName: string, kind: TrafficKind, requests: number): void {
    const name = `${corpus}/${version}`;
    let keys = this.#byVersion.get(name);
    if (keys === undefined) {
      keys = new Map();
      this.#byVersion.set(name, keys);
    }
    let count = keys.get(keyName);
    if (count === undefined) {
      if (this.#distinct >= DISTINCT_MAX && keyName !== '') {
        this.#add(corpus, version, '', kind, requests);
        return;
      }
      count = { corpus, version, keyName, split: 0, pinned: 0 };
      keys.set(keyName, count);
      this.#distinct++;
    }
    count[kind] += requests;
  }
}
