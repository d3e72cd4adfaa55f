import type { Gateway } from '../../registry/gateways.js';
import type { Digest } from '../../vocabulary.js';

type Replica = Pick<Gateway, 'gatewayId' | 'appliedRevisions' | 'readyTargets' | 'heartbeatAt' | 'alive'>;

export interface ReturnFollowed {
  readonly corpus: string;
  /** Gives the old version everything back. */
  readonly routeRevision: number;
  /** Of the new version; null where it never had weight, and nobody can still serve by it. */
  readonly served: Digest | null;
  /** When the migration began, and when the command came; by the registry's clock. */
  readonly beganMs: number;
  readonly commandMs: number;
  /** A replica counts as live for so long after its last heartbeat. */
  readonly aliveMsMax: number;
}

/**
 * Who has to follow a return. One that loses the registry is soon not alive, and serves the new version from its snapshot
 * all the same: so whoever was alive when the command came counts, and whoever had the new version loaded when last heard
 * of. One that shut down said so, and is not in the list any more.
 */
export class Followers {
  readonly #of: ReturnFollowed;
  /** When each was first seen to have followed; later heartbeats say nothing new. */
  readonly #followedMs = new Map<string, number>();

  constructor(of: ReturnFollowed) {
    this.#of = of;
  }

  /** `tookMs`: from the command to the last one's report; null while one lags, and where there is nobody. */
  look<R extends Replica>(
    replicas: readonly R[],
  ): { readonly lagging: readonly R[]; readonly total: number; readonly tookMs: number | null } {
    const { corpus, routeRevision, commandMs } = this.#of;
    const counted = replicas.filter((replica) => this.#counts(replica));
    const lagging: R[] = [];
    for (const replica of counted) {
      const { gatewayId, appliedRevisions, heartbeatAt } = replica;
      if ((appliedRevisions[corpus] ?? 0) < routeRevision) lagging.push(replica);
      else if (!this.#followedMs.has(gatewayId)) this.#followedMs.set(gatewayId, heartbeatAt.getTime());
    }
    const tookMs =
      lagging.length > 0 || counted.length === 0
        ? null
        : Math.max(0, ...[...this.#followedMs.values()].map((followedMs) => followedMs - commandMs));
    return { lagging, total: counted.length, tookMs };
  }

  #counts({ alive, heartbeatAt, readyTargets }: Replica): boolean {
    const { served, beganMs, commandMs, aliveMsMax } = this.#of;
    const lastMs = heartbeatAt.getTime();
    const hadIt = served !== null && lastMs >= beganMs && readyTargets.includes(served);
    return alive || lastMs >= commandMs - aliveMsMax || hadIt;
  }
}
