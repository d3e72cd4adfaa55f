import { constants, type ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { SwitchyardError } from '../../errors.js';
import { LinkedList } from '../../process/linked-list.js';
import { operationOf, type Requests } from '../requests.js';
import { beforeCalls } from './stream-handler.js';

/** How often is looked, as a part of the limit. */
const LOOKS_PER_LIMIT = 6;
/** A dialogue, whose client has not said its last word for as long as it is open. */
export const REFLECTION = '/grpc.reflection.';

export interface ArrivalOptions {
  /** A request's message has so long to arrive whole. */
  readonly arrivalMsMax: number;
  readonly requests: Requests;
  /** What a client is told: headers of an answer without a message. */
  readonly headersOf: (error: SwitchyardError) => Readonly<Record<string, unknown>>;
}

/**
 * Ends requests whose message does not come whole: HTTP servers have such a limit and grpc-js has none, so half a
 * message would hold its bytes for as long as the connection lives. False: as `beforeCalls`.
 */
export function limitArrival(server: Server, options: ArrivalOptions): boolean {
  const arrivals = new Arrivals(options);
  return beforeCalls(server, (accept) => (interceptors, stream, headers) => {
    const path = headers[':path'] ?? '';
    if (!path.startsWith(REFLECTION)) arrivals.add(stream, path);
    accept(interceptors, stream, headers);
  });
}

interface Arriving {
  readonly stream: ServerHttp2Stream;
  readonly path: string;
  readonly sinceMs: number;
}

class Arrivals {
  readonly #options: ArrivalOptions;
  readonly #arriving = new LinkedList<Arriving>();
  #isLooking = false;

  constructor(options: ArrivalOptions) {
    this.#options = options;
  }

  add(stream: ServerHttp2Stream, path: string): void {
    const place = this.#arriving.add({ stream, path, sinceMs: performance.now() });
    stream.once('close', () => this.#arriving.remove(place));
    if (!this.#isLooking) this.#planLook();
  }

  #planLook(): void {
    const { arrivalMsMax } = this.#options;
    this.#isLooking = true;
    const timer = setTimeout(() => {
      const nowMs = performance.now();
      for (let oldest = this.#arriving.first; oldest !== null; oldest = this.#arriving.first) {
        const one = oldest.value;
        if (nowMs - one.sinceMs < arrivalMsMax) break;
        this.#arriving.remove(oldest);
        if (!one.stream.readableEnded) this.#end(one);
      }
      if (this.#arriving.size > 0) this.#planLook();
      else this.#isLooking = false;
    }, arrivalMsMax / LOOKS_PER_LIMIT);
    // Requests hold the process by their connections.
    timer.unref();
  }

  #end({ stream, path }: Arriving): void {
    const { requests, headersOf } = this.#options;
    // Who was answered before its message came, as a stranger is, only leaves the stream open.
    if (!stream.headersSent && !stream.destroyed && !stream.closed) {
      const operation = operationOf(path);
      if (operation !== undefined) requests.refused('grpc', operation, 'REQUEST_TOO_SLOW');
      stream.respond({ ...headersOf(late()) } as never, { endStream: true });
    }
    stream.close(constants.NGHTTP2_NO_ERROR);
  }
}

const late = (): SwitchyardError =>
  new SwitchyardError('REQUEST_TOO_SLOW', 'the request did not arrive in time');
