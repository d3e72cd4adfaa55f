import type { Heartbeat } from '../../registry/gateways.js';
import type { Registry } from '../../registry/registry.js';
import type { Router } from '../../router/router.js';
import type { Logger } from '../../telemetry/log.js';

/** How soon a target that became ready is reported, beside the regular heartbeats. */
const LOOK_INTERVAL_MS = 100;

export interface HeartbeatOptions {
  readonly router: Router;
  /** Null while there is none. */
  readonly registry: () => Registry | null;
  readonly gatewayId: string;
  /** URL of the admin API, for a person. */
  readonly address: string;
  readonly intervalMs: number;
  /** Why this replica cannot apply something; null when all is well. */
  readonly lastError: () => string | null;
  readonly log: Logger;
}

/** Tells the registry that this replica lives, which revisions it serves and which builds it could give weight to. */
export class Heartbeats {
  readonly #options: HeartbeatOptions;
  readonly #timer: NodeJS.Timeout;
  #sent = '';
  #sentAtMs = Number.NEGATIVE_INFINITY;
  #sending: Promise<void> | null = null;
  #hasFailed = false;
  #isClosed = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#look();
    this.#timer = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
  }

  /** The row is taken back, so that this replica holds up no route change. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#sending;
    const { gatewayId, registry, log } = this.#options;
    try {
      await registry()?.gateways.remove(gatewayId);
    } catch (error) {
      log.warn({ err: error, gatewayId }, 'the registry could not be told that this replica ends');
    }
  }

  #look(): void {
    const registry = this.#options.registry();
    if (registry === null || this.#sending !== null || this.#isClosed) return;
    const beat = this.#report();
    const text = JSON.stringify(beat);
    const now = performance.now();
    // After a failure also what is new waits until it is due: the server is away.
    if ((text === this.#sent || this.#hasFailed) && now - this.#sentAtMs < this.#options.intervalMs) return;
    this.#sent = text;
    this.#sentAtMs = now;
    this.#sending = registry.gateways
      .heartbeat(beat)
      .then(() => {
        this.#hasFailed = false;
      })
      .catch((error: unknown) => {
        this.#hasFailed = true;
        this.#options.log.debug({ err: error }, 'a heartbeat was not taken');
      })
      .finally(() => {
        this.#sending = null;
      });
  }

  /** A shadow's process is not where weight is served from, so only targets on the workers count as ready. */
  #report(): Heartbeat {
    const { router, gatewayId, address, lastError } = this.#options;
    const applied = router.routeStatus().flatMap(({ corpus, applied: revision, wanted }) =>
      // Of two that bear one number, the registry's is not the one that serves.
      revision === null || revision === wanted ? [] : [[corpus, revision] as const],
    );
    const ready = router
      .targets()
      .filter(({ spec, state }) => state === 'ready' && spec.isolation === 'shared')
      .map(({ spec }) => spec.build);
    return {
      gatewayId,
      address,
      appliedRevisions: Object.fromEntries(applied),
      readyTargets: [...new Set(ready)].sort(),
      lastError: lastError(),
    };
  }
}
