import { type SwitchyardError, toSwitchyardError } from '../errors.js';
import { type BackoffPolicy, backoffDelayMs } from '../process/backoff.js';
import type { Timers } from '../process/timers.js';

export type SharedState<T> =
  /** `error`: how the last attempt failed, null in the first. */
  | { readonly kind: 'loading'; readonly attempt: number; readonly error: SwitchyardError | null }
  | { readonly kind: 'ready'; readonly value: T }
  | {
      readonly kind: 'failed';
      readonly error: SwitchyardError;
      readonly attempt: number;
      readonly retryAtMs: number;
    }
  | { readonly kind: 'closed' };

export interface SharedPoolOptions {
  readonly timers: Timers;
  readonly random: () => number;
  readonly backoff: BackoffPolicy;
  /** A resource became ready or failed. Called after the change, never from within `acquire`. */
  onChange(key: string): void;
  /** Something that is no longer wanted could not be closed cleanly. */
  onCloseError(key: string, error: unknown): void;
}

export interface Resource<T> {
  open(): Promise<T>;
  close(value: T): Promise<void>;
  /** Nobody wants it any more and there is no value to close: lets go of what a failed attempt kept for the next one. */
  giveUp?(): void;
}

/**
 * Something that is opened once however many want it, tried again with back-off as long as anybody wants it,
 * and closed when the last holder has let go. Counting is synchronous: whoever reads a ready value and retains it
 * in the same turn of the event loop has it until he releases it.
 */
export class Shared<T, R extends Resource<T> = Resource<T>> {
  readonly key: string;
  readonly resource: R;
  private readonly options: SharedPoolOptions;
  private readonly onUnused: (closing: Promise<void> | null) => void;
  private holders = 1;
  private current: SharedState<T> = { kind: 'loading', attempt: 1, error: null };
  private attempt: Promise<void>;
  private cancelRetry: () => void = () => {};

  constructor(
    key: string,
    resource: R,
    options: SharedPoolOptions,
    onUnused: (closing: Promise<void> | null) => void,
  ) {
    this.key = key;
    this.resource = resource;
    this.options = options;
    this.onUnused = onUnused;
    this.attempt = this.load(1);
  }

  get state(): SharedState<T> {
    return this.current;
  }

  /** The value when it is there at this moment. */
  get value(): T | null {
    return this.current.kind === 'ready' ? this.current.value : null;
  }

  /** Why there is no value yet although it was tried; null when ready and in the first attempt. */
  get error(): SwitchyardError | null {
    return this.current.kind === 'failed' || this.current.kind === 'loading' ? this.current.error : null;
  }

  retain(): void {
    if (this.holders === 0) throw new Error(`${this.key} was retained after its last release`);
    this.holders++;
  }

  release(): void {
    if (this.holders === 0) throw new Error(`${this.key} was released more often than retained`);
    this.holders--;
    if (this.holders > 0) return;
    const last = this.current;
    this.current = { kind: 'closed' };
    this.cancelRetry();
    if (last.kind === 'failed') this.resource.giveUp?.();
    if (last.kind === 'ready') this.onUnused(this.close(last.value));
    else this.onUnused(last.kind === 'loading' ? this.attempt : null);
  }

  /** The value when the attempt under way succeeds. Rejects when it fails, although it will be tried again. */
  async whenReady(): Promise<T> {
    await this.attempt;
    const { state } = this;
    if (state.kind === 'ready') return state.value;
    if (state.kind === 'failed') throw state.error;
    if (state.kind === 'loading') return this.whenReady();
    throw new Error(`${this.key} was closed while somebody waited for it`);
  }

  private async load(attempt: number): Promise<void> {
    let value: T;
    try {
      // Opening begins in a turn of its own, so nothing changes while somebody is still acquiring.
      await null;
      if (this.current.kind === 'closed') return this.resource.giveUp?.();
      value = await this.resource.open();
    } catch (thrown) {
      if (this.current.kind === 'closed') return this.resource.giveUp?.();
      const { timers, backoff, random } = this.options;
      const delayMs = backoffDelayMs(backoff, attempt, random);
      const error = toSwitchyardError(thrown);
      this.current = { kind: 'failed', error, attempt, retryAtMs: timers.nowMs() + delayMs };
      this.cancelRetry = timers.after(delayMs, () => {
        this.current = { kind: 'loading', attempt: attempt + 1, error };
        this.attempt = this.load(attempt + 1);
      });
      this.options.onChange(this.key);
      return;
    }
    // `release` may have run while `open` did.
    if ((this.current as SharedState<T>).kind === 'closed') return this.close(value);
    this.current = { kind: 'ready', value };
    this.options.onChange(this.key);
  }

  private async close(value: T): Promise<void> {
    try {
      await this.resource.close(value);
    } catch (error) {
      this.options.onCloseError(this.key, error);
    }
  }
}

/** Shared things by key. */
export class SharedPool<T, R extends Resource<T> = Resource<T>> {
  private readonly options: SharedPoolOptions;
  private readonly entries = new Map<string, Shared<T, R>>();
  private closingCount = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(options: SharedPoolOptions) {
    this.options = options;
  }

  /** One more holder of `key`, opened by `resource` if nobody holds it yet. The caller releases it once. */
  acquire(key: string, resource: R): Shared<T, R> {
    const held = this.entries.get(key);
    if (held !== undefined) {
      held.retain();
      return held;
    }
    const entry: Shared<T, R> = new Shared(key, resource, this.options, (closing) => {
      this.entries.delete(key);
      this.closingCount++;
      void Promise.resolve(closing).then(() => {
        this.closingCount--;
        this.wakeWhenEmpty();
      });
    });
    this.entries.set(key, entry);
    return entry;
  }

  get(key: string): Shared<T, R> | undefined {
    return this.entries.get(key);
  }

  values(): Iterable<Shared<T, R>> {
    return this.entries.values();
  }

  /** Resolves when nobody holds anything any more and all of it is closed. */
  async empty(): Promise<void> {
    const empty = new Promise<void>((resolve) => this.waiting.push(resolve));
    this.wakeWhenEmpty();
    return empty;
  }

  private wakeWhenEmpty(): void {
    if (this.entries.size > 0 || this.closingCount > 0) return;
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
