import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Teardown } from '../fixtures/folders.js';

/** A port that leads to another of this machine, and over which each connection hears so many bytes a second. */
export async function slowLink(t: Teardown, port: number, bytesPerS: number): Promise<number> {
  const ends = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    near.pipe(far);
    far.on('data', (chunk: Buffer) => {
      near.write(chunk);
      far.pause();
      setTimeout(() => far.resume(), (chunk.length / bytesPerS) * 1_000);
    });
    far.on('end', () => near.end());
    for (const [end, other] of [
      [near, far],
      [far, near],
    ] as const) {
      ends.add(end);
      end.on('error', () => other.destroy());
      end.on('close', () => ends.delete(end));
    }
  });
  t.teardown(() => {
    server.close();
    for (const end of ends) end.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the link has no port');
  return address.port;
}
