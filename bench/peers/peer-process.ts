import { fileURLToPath } from 'node:url';
import type { CorpusPlan } from '../data/search-corpus.js';
import { treeCpuUs } from '../load/process-cpu.js';
import { AskedChild } from '../rig/asked-child.js';
import type { PeerPlace } from './peer.js';
import type {
  FromPeer,
  PeerName,
  PeerOpened,
  PeerResult,
  PeerRun,
  PeerTuned,
  ToPeer,
} from './peer-protocol.js';

/** The bench's handle on a peer in a process of its own. One run at a time. */
export class PeerProcess {
  readonly opened: PeerOpened;
  readonly #child: AskedChild<ToPeer, FromPeer>;
  #pid: number;

  private constructor(child: AskedChild<ToPeer, FromPeer>, opened: PeerOpened) {
    this.#child = child;
    this.#pid = child.pid;
    this.opened = opened;
  }

  /** Builds its index at the first time: minutes. */
  static async open(
    peer: PeerName,
    place: PeerPlace,
    { plan, inFlight }: { readonly plan: CorpusPlan; readonly inFlight: number },
  ): Promise<PeerProcess> {
    const child = new AskedChild<ToPeer, FromPeer>(fileURLToPath(new URL('./peer-main.js', import.meta.url)));
    try {
      const { opened } = await child.ask({ kind: 'open', peer, place, plan, inFlight }, 'opened');
      return new PeerProcess(child, opened);
    } catch (error) {
      await child.close();
      throw error;
    }
  }

  async tune(recallMin: number): Promise<PeerTuned> {
    const { tuned } = await this.#child.ask({ kind: 'tune', recallMin }, 'tuned');
    this.#pid = tuned.serverPid ?? this.#child.pid;
    return tuned;
  }

  /** With the CPU time per query of the server and all its children, or of the process that holds the library. */
  async run(run: PeerRun): Promise<PeerResult & { readonly cpuUs: number }> {
    const before = treeCpuUs(this.#pid);
    const { result } = await this.#child.ask({ kind: 'run', run }, 'result');
    return { ...result, cpuUs: (treeCpuUs(this.#pid) - before) / result.queries };
  }

  async close(): Promise<void> {
    await this.#child.ask({ kind: 'close' }, 'closed');
    await this.#child.close();
  }
}
