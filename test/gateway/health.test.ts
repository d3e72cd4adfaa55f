import { EventEmitter } from 'node:events';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import { Health } from '../../src/gateway/grpc/health.js';
import { Readiness } from '../../src/gateway/readiness.js';
import { BruteForceService } from './brute-force-service.js';

/** A stream as grpc-js hands it to a handler. */
class Stream extends EventEmitter {
  readonly request = { service: '' };
  readonly written: unknown[] = [];
  code: number | null = null;

  constructor() {
    super();
    this.on('error', ({ code }: { readonly code: number }) => {
      this.code = code;
    });
  }

  write(message: unknown): void {
    this.written.push(message);
  }
}

t.test('so many watch, and no more: probes need no key', (t) => {
  const readiness = new Readiness(new BruteForceService());
  t.teardown(() => readiness.close());
  const health = new Health(readiness, [], 2);
  const watch = health.implementation().Watch as unknown as (stream: Stream) => void;
  const streams = [new Stream(), new Stream(), new Stream()] as const;
  for (const stream of streams) watch(stream);
  t.same(
    streams.map(({ code }) => code),
    [null, null, status.RESOURCE_EXHAUSTED],
  );
  t.same(streams[2].written, []);
  streams[0].emit('cancelled');
  const next = new Stream();
  watch(next);
  t.equal(next.code, null, 'who goes makes room');
  t.same(next.written, [{ status: 'SERVING' }]);
  health.close();
  t.same([streams[1].code, next.code], [status.UNAVAILABLE, status.UNAVAILABLE]);
  t.end();
});
