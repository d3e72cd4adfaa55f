import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/**
 * A TCP proxy that can go silent: connections stay open and nothing passes in either direction, as behind a firewall
 * that lost its state, or when the other machine lost its power.
 */
export class SilentProxy {
  readonly port: number;
  readonly #server: ReturnType<typeof createServer>;
  readonly #pairs: Set<readonly [Socket, Socket]>;
  readonly #state: { isSilent: boolean };

  private constructor(
    server: ReturnType<typeof createServer>,
    pairs: Set<readonly [Socket, Socket]>,
    state: { isSilent: boolean },
  ) {
    this.#server = server;
    this.#pairs = pairs;
    this.#state = state;
    this.port = (server.address() as { port: number }).port;
  }

  static async open(targetPort: number): Promise<SilentProxy> {
    const pairs = new Set<readonly [Socket, Socket]>();
    const state = { isSilent: false };
    const server = createServer((client) => {
      const target = connect(targetPort, '127.0.0.1');
      const pair = [client, target] as const;
      pairs.add(pair);
      for (const [from, to] of [pair, [target, client]] as const) {
        from.on('data', (chunk) => {
          if (!state.isSilent) to.write(chunk);
        });
        from.on('error', () => undefined);
        from.on('close', () => {
          to.destroy();
          pairs.delete(pair);
        });
      }
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new SilentProxy(server, pairs, state);
  }

  /** From now on what is sent is swallowed, on new connections too. */
  silence(): void {
    this.#state.isSilent = true;
  }

  /** New connections work; those that lost bytes are cut, as their peers would find out. */
  resume(): void {
    this.#state.isSilent = false;
    this.cut();
  }

  /** Resets every connection. */
  cut(): void {
    for (const [client, target] of this.#pairs) {
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
