import { type SearchCorpus, searchCorpus, TOP_K } from '../data/search-corpus.js';
import { Latencies } from '../load/latencies.js';
import { openChroma } from './chroma.js';
import { openHnswlib } from './hnswlib.js';
import { openLanceDb } from './lancedb.js';
import type { OpenPeer, Peer } from './peer.js';
import type { FromPeer, PeerName, PeerResult, PeerRun, PeerTuned, ToPeer } from './peer-protocol.js';
import { openPgvector } from './pgvector.js';

/** Entry of the process that uses one peer: a library in this process, or a server through its own client. */
const tell = (message: FromPeer): void => {
  process.send?.(message);
};

class PeerUse {
  readonly #peer: Peer;
  readonly #searches: readonly (() => Promise<readonly number[]>)[];
  readonly #truth: readonly ReadonlySet<number>[];
  readonly #inFlight: number;

  constructor(peer: Peer, corpus: SearchCorpus, inFlight: number) {
    this.#peer = peer;
    this.#searches = corpus.queries.map((vector) => peer.prepare(vector, TOP_K));
    this.#truth = corpus.truth.map((rows) => new Set(rows));
    this.#inFlight = inFlight;
  }

  get peer(): Peer {
    return this.#peer;
  }

  /** The least effort that reaches the recall over all queries; else the most there is. */
  async tune(recallMin: number): Promise<PeerTuned> {
    const { name, values } = this.#peer.effort;
    let tuned: PeerTuned | null = null;
    for (const value of values) {
      await this.#peer.setEffort(value);
      const { recall } = await this.#measure(0, (taken) => taken < this.#searches.length);
      const isReached = recall >= recallMin;
      tuned = { effort: `${name} ${value}`, recall, isReached, serverPid: this.#peer.serverPid?.() ?? null };
      if (isReached) break;
    }
    if (tuned === null) throw new Error('a peer has no effort to choose from');
    return tuned;
  }

  run({ seconds, from }: PeerRun): Promise<PeerResult> {
    const endMs = performance.now() + seconds * 1000;
    return this.#measure(from, () => performance.now() < endMs);
  }

  async #measure(from: number, goesOn: (taken: number) => boolean): Promise<PeerResult> {
    const latencies = new Latencies();
    const startedMs = performance.now();
    let taken = 0;
    let found = 0;
    let expected = 0;
    const client = async (): Promise<void> => {
      while (goesOn(taken)) {
        const number = (from + taken++) % this.#searches.length;
        const sentMs = performance.now();
        const rows = (await this.#searches[number]?.()) ?? [];
        latencies.add((performance.now() - sentMs) * 1000);
        const wanted = this.#truth[number] as ReadonlySet<number>;
        for (const row of rows) if (wanted.has(row)) found++;
        expected += wanted.size;
      }
    };
    await Promise.all(Array.from({ length: this.#inFlight }, client));
    const seconds = (performance.now() - startedMs) / 1000;
    return {
      queries: latencies.count,
      perSecond: latencies.count / seconds,
      recall: found / expected,
      latencyUs: latencies.summary(),
    };
  }
}

const OPENERS = {
  hnswlib: () => openHnswlib,
  lancedb: () => openLanceDb,
  chroma: () => openChroma,
  pgvector: openPgvector,
} as const satisfies Record<PeerName, (inFlight: number) => OpenPeer>;

let use: PeerUse | null = null;
process.on('message', (message: ToPeer) => {
  void obey(message).catch((error: unknown) =>
    tell({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => void (use?.peer.close() ?? Promise.resolve()).finally(() => process.exit(0)));

async function obey(message: ToPeer): Promise<void> {
  if (message.kind === 'open') {
    const corpus = await searchCorpus(message.plan);
    const peer = await OPENERS[message.peer](message.inFlight)(message.place, corpus);
    use = new PeerUse(peer, corpus, message.inFlight);
    const { product, index, serverPid } = peer;
    tell({
      kind: 'opened',
      opened: { product, index, kind: serverPid === null ? 'library' : 'server' },
    });
    return;
  }
  if (use === null) throw new Error('a peer was asked before it was opened');
  if (message.kind === 'tune') tell({ kind: 'tuned', tuned: await use.tune(message.recallMin) });
  else if (message.kind === 'run') tell({ kind: 'result', result: await use.run(message.run) });
  else {
    const { peer } = use;
    use = null;
    await peer.close();
    tell({ kind: 'closed' });
  }
}
