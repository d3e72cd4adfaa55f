import { syncBuiltinESMExports } from 'node:module';
import workerThreads, { Worker } from 'node:worker_threads';
import type { MigrationState } from '../../src/lifecycle/migration/state.js';
import type { Registry } from '../../src/registry/registry.js';

/** Where a driver kills itself, or stops in the middle of its work. */
export interface Point {
  /** Number of the migration's last event. */
  readonly event: number;
  /**
   * What it does behind that event: a call of the registry (`builds.record`, and `migrations.advance` for the next event),
   * a golden query (`search`), a thread's beginning (`switchyard-verify online`) or word (`switchyard-archive file`),
   * what is said of a long work (`progress documents embedded`).
   */
  readonly at: string;
  /** The first time is 1; of progress, from so many done on. */
  readonly nth: number;
  /** A call that was not made, or one whose answer nobody heard. */
  readonly when: 'before' | 'after';
  /** A call waits there until it is told to go on, whatever else the process does; what only says something goes on. */
  readonly isHeld?: true;
}

export class Watched {
  #point: Point | null;
  #sequence = 0;
  #reached = 0;
  #goOn: (() => void) | null = null;
  readonly #onHeld: () => void;
  readonly #onAnswered: () => void;

  constructor(onHeld: () => void, onAnswered: () => void) {
    this.#onHeld = onHeld;
    this.#onAnswered = onAnswered;
    this.#point = null;
  }

  /** From here on; null: it is not disturbed. */
  await(point: Point | null): void {
    this.#point = point;
    this.#reached = 0;
  }

  /** What is held, if something is. */
  goOn(): void {
    this.#goOn?.();
    this.#goOn = null;
  }

  /** `done` where something counts by itself. Resolves at once where nothing is held. */
  reach(at: string, when: Point['when'], done: number | null = null): Promise<void> | null {
    const point = this.#point;
    if (point === null || point.event !== this.#sequence || point.at !== at || point.when !== when)
      return null;
    this.#reached = done ?? this.#reached + 1;
    if (this.#reached < point.nth) return null;
    this.#point = null;
    if (point.isHeld) {
      this.#onHeld();
      return new Promise((resolve) => {
        this.#goOn = resolve;
      });
    }
    process.kill(process.pid, 'SIGKILL');
    // Nothing more happens on this thread.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    return null;
  }

  /** The registry, every call of it a point. */
  registry(registry: Registry): Registry {
    const parts = Object.entries(registry).map(([name, part]) => [
      name,
      typeof part === 'object' && part !== null ? this.#part(name, part as object) : part,
    ]);
    return Object.fromEntries(parts) as unknown as Registry;
  }

  /** Threads that are begun from here on. */
  threads(): void {
    const reach = this.reach.bind(this);
    workerThreads.Worker = class extends Worker {
      constructor(...[file, options]: ConstructorParameters<typeof Worker>) {
        super(file, options);
        const name = options?.name ?? '';
        this.once('online', () => reach(`${name} online`, 'after'));
        this.on('message', (message: { readonly kind?: string } | null) =>
          reach(`${name} ${message?.kind}`, 'after'),
        );
      }
    };
    syncBuiltinESMExports();
  }

  #part<T extends object>(part: string, target: T): T {
    return new Proxy(target, {
      get: (_target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        const at = `${part}.${String(name)}`;
        // Rows come one by one: it is reached at the first that is asked for, and when all were read.
        if (name === 'samplesSince')
          return this.#rows(at, (args) => Reflect.apply(value, target, args) as AsyncGenerator<unknown>);
        return async (...args: readonly unknown[]): Promise<unknown> => {
          const answer: unknown = await this.#held(at, () => Reflect.apply(value, target, args));
          await this.reach(at, 'after');
          const { sequence, state } = (answer ?? {}) as { sequence?: number; state?: MigrationState };
          if (sequence !== undefined && state !== undefined) this.#sequence = sequence;
          return answer;
        };
      },
    });
  }

  #rows(at: string, read: (args: readonly unknown[]) => AsyncGenerator<unknown>) {
    const reach = this.reach.bind(this);
    return async function* (...args: readonly unknown[]): AsyncGenerator<unknown> {
      await reach(at, 'before');
      yield* read(args);
      await reach(at, 'after');
    };
  }

  /** A call that was held before it was made says when it is over, refused or not. */
  async #held(at: string, call: () => unknown): Promise<unknown> {
    const held = this.reach(at, 'before');
    await held;
    try {
      return await call();
    } finally {
      if (held !== null) this.#onAnswered();
    }
  }
}
