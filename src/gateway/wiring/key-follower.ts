import { toSwitchyardError } from '../../errors.js';
import { OneAtATime } from '../../process/one-at-a-time.js';
import type { Registry } from '../../registry/registry.js';
import type { RegistryWatch } from '../../registry/watch.js';
import type { Logger } from '../../telemetry/log.js';
import type { KeyRing } from '../auth/key-ring.js';
import type { KnownKeys } from './known-keys.js';
import type { RegistryLink } from './registry-link.js';

export interface KeyFollowerOptions {
  readonly link: RegistryLink;
  readonly ring: KeyRing;
  /** The keys of the last read, for a boot without the registry. */
  readonly known: KnownKeys;
  readonly pollIntervalMs: number;
  readonly log: Logger;
}

/** Keeps the ring at what the registry says: told of changes by notification, polling behind it. */
export class KeyFollower {
  readonly #options: KeyFollowerOptions;
  readonly #timer: NodeJS.Timeout;
  #watch: RegistryWatch | null = null;
  readonly #reads = new OneAtATime(async () => {
    const { registry } = this.#options.link;
    if (this.#isClosed || registry === null) return;
    await this.#read(registry).catch((error: unknown) => this.#setDown(error));
  });
  #isUp = true;
  #strangers = '';
  #isClosed = false;

  constructor(options: KeyFollowerOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#reads.ask(), options.pollIntervalMs);
  }

  /** Resolves after the first read. Where it fails, those of the last read on the disk let in whom their age allows. */
  async start(): Promise<void> {
    const { link } = this.#options;
    this.#reads.ask();
    await this.#reads.settled();
    await this.#readKnown();
    link.whenOpen((registry) => {
      if (this.#isClosed) return;
      this.#watch = registry.watch(({ kind }) => {
        if (kind === 'api_keys' || kind === 'resync') this.#reads.ask();
      });
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#watch?.close();
    await this.#reads.settled();
    await this.#options.known.settled();
  }

  async #read(registry: Registry): Promise<void> {
    const { ring, known, log } = this.#options;
    const begunAtMs = performance.now();
    const begunAt = new Date();
    const keys = await registry.apiKeys.list();
    const strangers = ring.replace(keys, begunAtMs).join(', ');
    known.keep(keys, begunAt);
    if (!this.#isUp) log.info('the API keys can be read again');
    this.#isUp = true;
    if (strangers !== this.#strangers && strangers !== '')
      log.warn(
        { keyIds: strangers },
        'keys were made with another HMAC secret and are refused here: give all gateways of a registry the same auth.hmac_secret',
      );
    this.#strangers = strangers;
  }

  async #readKnown(): Promise<void> {
    const { ring, known, log } = this.#options;
    if (Number.isFinite(ring.ageMs)) return;
    const last = await known.read();
    // The registry may have answered meanwhile.
    if (last === null || Number.isFinite(ring.ageMs)) return;
    ring.replace(last.keys, performance.now() - last.ageMs);
    log.warn(
      { ageS: Math.round(last.ageMs / 1_000) },
      'the API keys cannot be read; those that were last read here go on until they are too old',
    );
  }

  #setDown(error: unknown): void {
    if (this.#isUp && !this.#isClosed)
      this.#options.log.warn(
        { err: toSwitchyardError(error) },
        'the API keys cannot be read; those of the last read go on until they are too old',
      );
    this.#isUp = false;
  }
}
