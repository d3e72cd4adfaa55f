import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

interface Pair {
  readonly client: Socket;
  readonly target: Socket;
  isForgotten: boolean;
}

interface State {
  isSilent: boolean;
  accepted: number;
  forgotten: number;
  abandoned: number;
}

/**
 * A TCP proxy that can go silent: connections stay open and nothing passes in either direction, as behind a firewall
 * that lost its state, or when the other machine lost its power.
 */
export class SilentProxy {
  readonly port: number;
  readonly #server: ReturnType<typeof createServer>;
  readonly #pairs: Set<Pair>;
  readonly #state: State;

  private constructor(server: ReturnType<typeof createServer>, pairs: Set<Pair>, state: State) {
    this.#server = server;
    this.#pairs = pairs;
    this.#state = state;
    this.port = (server.address() as { port: number }).port;
  }

  static async open(targetPort: number): Promise<SilentProxy> {
    const pairs = new Set<Pair>();
    const state: State = { isSilent: false, accepted: 0, forgotten: 0, abandoned: 0 };
    const server = createServer((client) => {
      state.accepted++;
      const target = connect(targetPort, '127.0.0.1');
      const pair: Pair = { client, target, isForgotten: false };
      pairs.add(pair);
      for (const [from, to] of [
        [client, target],
        [target, client],
      ] as const) {
        from.on('data', (chunk) => {
          if (!state.isSilent && !pair.isForgotten) to.write(chunk);
        });
        from.on('error', () => undefined);
        from.on('close', () => {
          if (pair.isForgotten && from === client) state.abandoned++;
          // A flow that was forgotten tells nobody that one of its ends is gone.
          if (!pair.isForgotten) to.destroy();
          if (client.destroyed && target.destroyed) pairs.delete(pair);
        });
      }
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new SilentProxy(server, pairs, state);
  }

  /** Connections so far. */
  get accepted(): number {
    return this.#state.accepted;
  }

  /** Connections that `forget` was said of. */
  get forgotten(): number {
    return this.#state.forgotten;
  }

  /** Forgotten connections whose client has given them up. */
  get abandoned(): number {
    return this.#state.abandoned;
  }

  /** From now on what is sent is swallowed, on new connections too. */
  silence(): void {
    this.#state.isSilent = true;
  }

  /** What is open now swallows everything from now on; new connections work. As a firewall that dropped its old flows. */
  forget(): void {
    for (const pair of this.#pairs) {
      if (!pair.isForgotten) this.#state.forgotten++;
      pair.isForgotten = true;
    }
  }

  /** New connections work; those that lost bytes are cut, as their peers would find out. */
  resume(): void {
    this.#state.isSilent = false;
    this.cut();
  }

  /** Resets every connection. */
  cut(): void {
    for (const { client, target } of this.#pairs) {
      client.resetAndDestroy();
      target.resetAndDestroy();
    }
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, 'close');
  }
}
