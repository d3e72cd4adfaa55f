import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import { type BackoffPolicy, backoffDelayMs } from '../../process/backoff.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';

const BACKOFF: BackoffPolicy = Object.freeze({
  delayMsFirst: 200,
  delayMsMax: 5_000,
  factor: 2,
  jitter: 0.3,
  stableAfterMs: 60_000,
});

/**
 * The registry of a gateway that may boot before it (invariant 8): opened once, tried again in the background for as
 * long as that fails. Once open it stays open; its own connections heal by themselves.
 */
export class RegistryLink {
  readonly #open: () => Promise<Registry>;
  readonly #log: Logger;
  readonly #listeners: ((registry: Registry) => void)[] = [];
  #registry: Registry | null = null;
  #lastError: SwitchyardError | null = null;
  #timer: NodeJS.Timeout | null = null;
  #attempt: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(open: () => Promise<Registry>, log: Logger) {
    this.#open = open;
    this.#log = log;
  }

  /**
   * The first attempt. A registry that cannot be reached is tried again from here on.
   * Errors: INVALID_CONFIG, which no further attempt can mend.
   */
  async connect(): Promise<void> {
    await this.#try(1);
    if (this.#lastError?.reason === 'INVALID_CONFIG') {
      if (this.#timer !== null) clearTimeout(this.#timer);
      throw this.#lastError;
    }
  }

  get registry(): Registry | null {
    return this.#registry;
  }

  get lastError(): SwitchyardError | null {
    return this.#lastError;
  }

  /** Errors: REGISTRY_UNAVAILABLE while it was not opened yet. */
  require(): Registry {
    if (this.#registry !== null) return this.#registry;
    throw new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the registry was not reached since this gateway began, so it can only serve: ${this.#lastError?.message ?? 'still trying'}`,
      { cause: this.#lastError },
    );
  }

  /** Now, or as soon as it is open. */
  whenOpen(listener: (registry: Registry) => void): void {
    if (this.#registry !== null) listener(this.#registry);
    else this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#attempt;
    await this.#registry?.close();
  }

  async #try(attempt: number): Promise<void> {
    let registry: Registry;
    try {
      registry = await this.#open();
    } catch (thrown) {
      this.#lastError = toSwitchyardError(thrown);
      if (this.#isClosed) return;
      const retryInMs = Math.round(backoffDelayMs(BACKOFF, attempt, Math.random));
      this.#log.warn({ err: this.#lastError, retryInMs }, 'the registry cannot be opened; trying again');
      this.#timer = setTimeout(() => {
        this.#attempt = this.#try(attempt + 1);
      }, retryInMs);
      return;
    }
    this.#registry = registry;
    this.#lastError = null;
    if (this.#isClosed) return;
    if (attempt > 1) this.#log.info({ place: registry.place }, 'the registry is open');
    for (const listener of this.#listeners.splice(0)) listener(registry);
  }
}
