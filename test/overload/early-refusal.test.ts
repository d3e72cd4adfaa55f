import { connect } from 'node:http2';
import { Server } from '@grpc/grpc-js';
import t from 'tap';
import { ArrivingRequests } from '../../src/gateway/arriving/arriving-requests.js';
import { OPEN_GUARD } from '../../src/gateway/auth/guard.js';
import { limitArrival } from '../../src/gateway/grpc/arrivals.js';
import { refuseEarly } from '../../src/gateway/grpc/early-refusal.js';
import { loadProtos } from '../../src/gateway/grpc/protos.js';
import { StatusEncoder } from '../../src/gateway/grpc/status.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import { Requests } from '../../src/gateway/requests.js';
import { ListenerAnswers } from '../../src/gateway/unread/listener-answers.js';
import { UnreadAnswers } from '../../src/gateway/unread/unread-answers.js';
import { systemTimers } from '../../src/process/timers.js';
import { framed } from '../fixtures/grpc-stream.js';
import { silentLog } from '../fixtures/postgres.js';
import { contract, OVERLOAD, startGateway, UNREAD } from '../gateway/harness.js';
import { until } from '../process/wait.js';

const METHOD = '/switchyard.v1.SearchService/Search';

const framedSearch = (message: object): Buffer =>
  framed(contract.lookupType('switchyard.v1.SearchRequest').encode(message).finish());

t.test('the method of grpc-js that it stands in for is still there', async (t) => {
  const metrics = { requestFinished: () => undefined, batchItems: () => undefined };
  const installed = refuseEarly(new Server(), {
    overload: new Overload(OVERLOAD, systemTimers),
    requests: new Requests({ log: silentLog, metrics, tracer: null, slowRequestMs: 0 }),
    guard: OPEN_GUARD,
    log: silentLog,
    statuses: new StatusEncoder(loadProtos().root),
  });
  t.ok(installed, 'else refusals cost more: look for its successor');
  const isLimited = limitArrival(new Server(), {
    listener: 'grpc',
    arriving: new ArrivingRequests({ bytesMax: 1_000_000, arrivalMsMax: 1 }, systemTimers, silentLog),
    requests: new Requests({ log: silentLog, metrics, tracer: null, slowRequestMs: 0 }),
    answers: new ListenerAnswers(new UnreadAnswers(UNREAD, systemTimers, silentLog), 'grpc'),
    headersOf: () => ({}),
  });
  t.ok(isLimited, 'else half a message is waited for without end');
});

t.test(
  'while it is tight, requests there is room for are answered as ever, however they arrive',
  async (t) => {
    const overload = new Overload(
      { ...OVERLOAD, limitMin: 2, limitMax: 2, shares: { live: 0.5, shadow: 0, bulk: 0.5 } },
      systemTimers,
    );
    const gateway = await startGateway({ overload });
    t.teardown(() => gateway.close());
    let free = (): void => undefined;
    gateway.service.hold = new Promise((resolve) => {
      free = resolve;
    });
    const held = [1, 2].map(() => gateway.call('Search', { corpus: 'animals', text: 'fish' }));
    await until('texts are used up', () => gateway.service.callCount === 2);
    t.ok(overload.isTight);
    gateway.service.hold = null;

    const session = connect(`http://${gateway.grpcAddress}`);
    t.teardown(() => session.close());
    /** The request in pieces, each in a turn of its own; the gRPC status. */
    const send = (pieces: readonly Buffer[], headers: object = {}): Promise<number> =>
      new Promise((resolve, reject) => {
        const stream = session.request({
          ':method': 'POST',
          ':path': METHOD,
          'content-type': 'application/grpc',
          te: 'trailers',
          ...headers,
        });
        stream.on('response', (got) => {
          if (got['grpc-status'] !== undefined) resolve(Number(got['grpc-status']));
        });
        stream.on('trailers', (got) => resolve(Number(got['grpc-status'])));
        stream.on('error', reject);
        stream.resume();
        const next = (at: number): void => {
          const piece = pieces[at];
          if (piece === undefined) stream.end();
          else stream.write(piece, () => setTimeout(() => next(at + 1), 20));
        };
        next(0);
      });
    const vector = framedSearch({
      corpus: 'animals',
      vector: { values: new Array(16).fill(1) },
      model: 'words@1',
    });
    const text = framedSearch({ corpus: 'animals', text: 'fish' });
    t.equal(await send([vector]), 0, 'vectors have room');
    t.equal(await send([vector.subarray(0, 3), vector.subarray(3, 20), vector.subarray(20)]), 0, 'in pieces');
    t.equal(await send([text]), 14, 'texts have none');
    t.equal(await send([text.subarray(0, 8), text.subarray(8)]), 14, 'in pieces neither');
    t.equal(await send([Buffer.from([0, 0, 0, 0, 0])]), 3, 'an empty message is a mistake of its own');
    t.equal(await send([]), 13, 'and so is no message at all');
    const counted = gateway.counted.filter(({ outcome }) => outcome === 'OVERLOADED');
    t.equal(counted.length, 2, 'each refusal is counted once');
    free();
    await Promise.all(held);
  },
);
