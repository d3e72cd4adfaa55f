import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import type { Readiness } from '../readiness.js';

/** Probes need no key, so strangers may open as many streams as they have connections. */
const WATCHERS_MAX = 10_000;

interface HealthRequest {
  readonly service: string;
}
interface HealthAnswer {
  readonly status: 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';
}
type WatchCall = ServerWritableStream<HealthRequest, HealthAnswer>;

/**
 * grpc.health.v1 over the gateway's own readiness. Written here because a drain must end the Watch streams, which
 * would otherwise hold the connections of every balancer open.
 */
export class Health {
  readonly #readiness: Readiness;
  /** '' is the whole server. */
  readonly #names: readonly string[];
  readonly #watchers = new Map<WatchCall, string>();
  readonly #watchersMax: number;
  #closed = false;

  constructor(readiness: Readiness, services: readonly string[], watchersMax = WATCHERS_MAX) {
    this.#readiness = readiness;
    this.#watchersMax = watchersMax;
    this.#names = ['', ...services];
    readiness.onChange(() => {
      for (const [call, name] of this.#watchers) call.write(this.#answer(name));
    });
  }

  implementation(): UntypedServiceImplementation {
    return {
      Check: (call: ServerUnaryCall<HealthRequest, HealthAnswer>, callback: sendUnaryData<HealthAnswer>) => {
        const answer = this.#answer(call.request.service);
        if (answer.status === 'SERVICE_UNKNOWN')
          callback({ code: status.NOT_FOUND, details: 'this server has no service of that name' });
        else callback(null, answer);
      },
      Watch: (call: WatchCall) => {
        if (this.#closed) {
          end(call);
          return;
        }
        if (this.#watchers.size >= this.#watchersMax) {
          const details = `${this.#watchersMax} watchers are open already: ask with Check`;
          call.emit('error', { code: status.RESOURCE_EXHAUSTED, details });
          return;
        }
        this.#watchers.set(call, call.request.service);
        call.on('cancelled', () => this.#watchers.delete(call));
        call.write(this.#answer(call.request.service));
      },
      List: (_call: unknown, callback: sendUnaryData<{ statuses: Record<string, HealthAnswer> }>) => {
        callback(null, {
          statuses: Object.fromEntries(this.#names.map((name) => [name, this.#answer(name)])),
        });
      },
    };
  }

  /** Ends the open Watch streams; clients take it for NOT_SERVING and look again elsewhere. */
  close(): void {
    this.#closed = true;
    for (const call of this.#watchers.keys()) end(call);
    this.#watchers.clear();
  }

  #answer(name: string): HealthAnswer {
    if (!this.#names.includes(name)) return { status: 'SERVICE_UNKNOWN' };
    return { status: this.#readiness.serving ? 'SERVING' : 'NOT_SERVING' };
  }
}

function end(call: WatchCall): void {
  call.emit('error', { code: status.UNAVAILABLE, details: 'the gateway is shutting down' });
}
