import type { CorpusPlan } from '../data/search-corpus.js';
import type { LatencyUs } from '../load/load-protocol.js';
import type { PeerPlace } from './peer.js';

/** What a bench asks of the process that uses one peer, and what it hears. Structured clones over the IPC channel. */
export type PeerName = 'hnswlib' | 'lancedb' | 'pgvector' | 'chroma';

export interface PeerRun {
  readonly seconds: number;
  readonly from: number;
}

export interface PeerOpened {
  readonly product: string;
  readonly index: string;
  readonly kind: 'server' | 'library';
}

export interface PeerTuned {
  /** `ef_search 128` */
  readonly effort: string;
  readonly recall: number;
  /** Whether that is what was asked for. */
  readonly isReached: boolean;
  /** Null: the peer is a library in the asked process itself. */
  readonly serverPid: number | null;
}

export interface PeerResult {
  readonly queries: number;
  readonly perSecond: number;
  readonly recall: number;
  readonly latencyUs: LatencyUs;
}

export type ToPeer =
  | {
      readonly kind: 'open';
      readonly peer: PeerName;
      readonly place: PeerPlace;
      readonly plan: CorpusPlan;
      readonly inFlight: number;
    }
  | { readonly kind: 'tune'; readonly recallMin: number }
  | { readonly kind: 'run'; readonly run: PeerRun }
  | { readonly kind: 'close' };

export type FromPeer =
  | { readonly kind: 'opened'; readonly opened: PeerOpened }
  | { readonly kind: 'tuned'; readonly tuned: PeerTuned }
  | { readonly kind: 'result'; readonly result: PeerResult }
  | { readonly kind: 'closed' }
  | { readonly kind: 'failed'; readonly message: string };
