import { startBenchGateway } from './gateway.js';
import { startNoopServer } from './noop-server.js';
import type { CacheCounts, FromServer, ToServer } from './protocol.js';

/** Entry of a measured server's process: a child of the bench, which it ends with. */
interface Served {
  readonly port: number;
  answerWith?(bytes: Buffer): void;
  counts?(): CacheCounts;
  close(): Promise<void> | void;
}

let served: Served | null = null;
const tell = (message: FromServer): void => {
  process.send?.(message);
};

process.on('message', (message: ToServer) => {
  void obey(message).catch((error: unknown) =>
    tell({
      kind: 'failed',
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
    }),
  );
});
process.on('disconnect', () => void Promise.resolve(served?.close()).finally(() => process.exit(0)));

async function obey(message: ToServer): Promise<void> {
  if (message.kind === 'start') {
    const { kind, seed, rowCount } = message.plan;
    served = kind === 'noop' ? await startNoopServer() : await startBenchGateway(seed, rowCount);
    tell({ kind: 'serving', port: served.port });
    return;
  }
  if (message.kind === 'answerWith') served?.answerWith?.(Buffer.from(message.bytes));
  tell({ kind: 'counts', counts: served?.counts?.() ?? { hits: 0, misses: 0 } });
}
