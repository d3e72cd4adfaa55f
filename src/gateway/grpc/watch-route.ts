import type { ServerWritableStream } from '@grpc/grpc-js';
import { SwitchyardError } from '../../errors.js';
import type { Route } from '../../registry/route.js';
import { targetView } from '../admin/to-views.js';
import type { RouteWatchSource } from '../faces.js';
import { echo } from '../limits.js';
import type { Fields } from './message-codec.js';

/** Streams of one process; each holds at most one route that waits to be sent. */
const WATCHERS_MAX = 1_000;

export type WatchCall = ServerWritableStream<Fields | SwitchyardError, object>;

/** WatchRoute: the route at once, then after every change; a reader that does not keep up gets the newest. */
export class RouteWatchers {
  readonly #source: RouteWatchSource;
  readonly #refuse: (call: WatchCall, error: unknown) => void;
  readonly #open = new Set<WatchCall>();
  #isClosed = false;

  constructor(source: RouteWatchSource, refuse: (call: WatchCall, error: unknown) => void) {
    this.#source = source;
    this.#refuse = refuse;
  }

  watch(call: WatchCall): void {
    try {
      this.#start(call);
    } catch (error) {
      this.#refuse(call, error);
    }
  }

  /** Ends every stream, so that none holds a drain open. */
  close(): void {
    this.#isClosed = true;
    for (const call of this.#open) this.#refuse(call, shuttingDown());
    this.#open.clear();
  }

  #start(call: WatchCall): void {
    if (call.request instanceof SwitchyardError) throw call.request;
    if (this.#isClosed) throw shuttingDown();
    if (this.#open.size >= WATCHERS_MAX)
      throw new SwitchyardError(
        'QUEUE_FULL',
        `${WATCHERS_MAX} watchers are open already: try another replica`,
      );
    const corpus = String(call.request.corpus);
    const route = this.#source.current(corpus);
    if (route === null)
      throw new SwitchyardError('UNKNOWN_CORPUS', `corpus ${echo(corpus)} does not exist or has no route`);
    let isFull = false;
    let waiting: Route | null = null;
    const send = (next: Route): void => {
      if (isFull) waiting = next;
      else isFull = !call.write(routeMessage(next));
    };
    const unsubscribe = this.#source.subscribe(corpus, send);
    this.#open.add(call);
    call.on('drain', () => {
      isFull = false;
      const next = waiting;
      waiting = null;
      if (next !== null) send(next);
    });
    const end = (): void => {
      unsubscribe();
      this.#open.delete(call);
    };
    call.on('cancelled', end);
    call.on('close', end);
    call.on('error', end);
    send(route);
  }
}

const routeMessage = ({ corpus, revision, targets }: Route): object => ({
  corpus,
  revision,
  targets: targets.map(targetView),
  replicas: [],
});

const shuttingDown = (): SwitchyardError =>
  new SwitchyardError('SHUTTING_DOWN', 'the gateway is shutting down: watch another replica');
