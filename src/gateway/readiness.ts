import type { QueryHealth, QueryService } from '../router/query.js';

/** How often the query service is asked, for those who wait to be told of a change. */
const POLL_INTERVAL_MS = 250;

/** Whether this process takes traffic: the query service can answer, and no drain has begun. */
export class Readiness {
  readonly #service: QueryService;
  readonly #listeners = new Set<(serving: boolean) => void>();
  readonly #timer: NodeJS.Timeout;
  #draining = false;
  #last: boolean;

  constructor(service: QueryService) {
    this.#service = service;
    this.#last = this.serving;
    this.#timer = setInterval(() => this.#tell(), POLL_INTERVAL_MS).unref();
  }

  get draining(): boolean {
    return this.#draining;
  }

  get serving(): boolean {
    return !this.#draining && this.#service.health().ready;
  }

  health(): QueryHealth {
    return this.#service.health();
  }

  onChange(listener: (serving: boolean) => void): void {
    this.#listeners.add(listener);
  }

  beginDrain(): void {
    this.#draining = true;
    this.#tell();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
  }

  #tell(): void {
    const serving = this.serving;
    if (serving === this.#last) return;
    this.#last = serving;
    for (const listener of this.#listeners) listener(serving);
  }
}
