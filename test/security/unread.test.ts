import { constants } from 'node:http2';
import t from 'tap';
import { until } from '../control/yard.js';
import { searchClient } from '../fixtures/grpc-client.js';
import {
  askDeafly,
  askSlowly,
  framed,
  Http2Client,
  MB,
  readSlowly,
  search,
  UNREAD_LIMITS,
} from './unread-clients.js';
import { firstLine, residentBytes, startProcess } from './victim-process.js';

interface Ports {
  readonly grpc: number;
  readonly http: number;
  readonly admin: number;
}

const SEARCH = 'switchyard.v1.SearchRequest';
const REFLECTION = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
/** file_containing_symbol: switchyard.v1.SearchService, as a client of reflection frames it. */
const SYMBOL = Buffer.from('switchyard.v1.SearchService');
const ASK_FOR_FILE = Buffer.concat([
  Buffer.from([0, 0, 0, 0, SYMBOL.length + 2, 0x22, SYMBOL.length]),
  SYMBOL,
]);
/** A thousand answers of a megabyte; what a gateway held of them before this was bounded was twice as much. */
const CALLS = 1_000;
/** What is held, twice, and what a collection of garbage left: far from what was asked for. */
const GROWN_MAX = 350 * MB;
const RESOURCE_EXHAUSTED = '8';

t.test('clients that read none of their answers', async (t) => {
  const victim = startProcess('./unread-main.js');
  t.teardown(() => {
    victim.kill('SIGKILL');
  });
  const ports = await firstLine<{ readonly plain: Ports; readonly tls: Ports }>(victim);
  const pid = victim.pid ?? 0;
  const client = searchClient(`127.0.0.1:${ports.plain.grpc}`);
  t.teardown(() => client.close());
  const dropped = async ({ admin }: Ports, listener: string, reason: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${admin}/metrics`)).text();
    const series = `switchyard_connections_dropped_total{listener="${listener}",reason="${reason}"} `;
    const line = text.split('\n').find((one) => one.startsWith(series));
    return Number(line?.slice(series.length));
  };
  /** Others are served, and the gateway holds little, as often as is looked, until it is over. */
  const whileServed = async (what: string, isOver: () => boolean | Promise<boolean>): Promise<void> => {
    let [most, answers] = [0, 0];
    await until(
      what,
      async () => {
        const { hits } = await client.search({ corpus: 'animals', text: 'a fish', top_k: 1 }, 10_000);
        if (hits.length !== 1) throw new Error('a wrong answer');
        answers++;
        most = Math.max(most, residentBytes(pid));
        return isOver();
      },
      60_000,
    );
    t.comment(`${what}: ${answers} answers to others, at most ${Math.round(most / MB)} MB`);
    t.equal(victim.exitCode, null, 'the process lives');
    largest = Math.max(largest, most);
  };
  await client.search(search(1), 10_000);
  const atFirst = residentBytes(pid);
  let largest = atFirst;

  for (const [name, at] of Object.entries(ports)) {
    const scheme = name === 'tls' ? 'https' : 'http';
    await t.test(`gRPC over ${name}: a thousand answers with a window of 0`, async (t) => {
      const hostile = new Http2Client(`${scheme}://127.0.0.1:${at.grpc}`, 0);
      const body = framed(SEARCH, search(1));
      const calls = Array.from({ length: CALLS }, () => hostile.call(body));
      const refused = () => calls.filter(({ headers }) => headers['grpc-status'] === RESOURCE_EXHAUSTED);
      await whileServed('what is too much is refused', () => refused().length > 0);
      t.match(refused()[0]?.headers['grpc-message'], /bytes of answers that were not read, must be <= /);
      t.ok(refused()[0]?.headers['grpc-status-details-bin'], 'with its reason');
      const later = hostile.call(framed(SEARCH, search(0)));
      await whileServed('it is hung up on', () => hostile.session.destroyed);
      t.comment(`${refused().length} of ${CALLS} were refused`);
      t.ok(
        [RESOURCE_EXHAUSTED, undefined].includes(later.headers['grpc-status']),
        'however little is asked for',
      );
      t.equal(await dropped(at, 'grpc', 'stalled'), 1, 'and counted');
    });

    await t.test(
      `HTTP over ${name}: an answer of 24 MB${name === 'tls' ? '' : ', with hundreds of requests in one piece'}`,
      async () => {
        const deaf = await askDeafly(at.http, name === 'tls', name === 'tls' ? 1 : 300);
        await whileServed(
          'it is hung up on, and counted',
          async () => (await dropped(at, 'http', 'stalled')) === 1,
        );
        deaf.destroy();
      },
    );

    await t.test(`over ${name}, who reads slowly gets the whole answer`, async (t) => {
      const begunAtMs = performance.now();
      const slow = new Http2Client(`${scheme}://127.0.0.1:${at.grpc}`, 65_536);
      const call = slow.call(framed(SEARCH, search(10)));
      const [overGrpc, overHttp] = await Promise.all([
        readSlowly(call.stream),
        askSlowly(at.http, name === 'tls', 10),
      ]);
      const tookMs = performance.now() - begunAtMs;
      t.comment(`${Math.round(tookMs)} ms`);
      t.equal(call.headers['grpc-status'], '0');
      t.ok(overGrpc > 10 * MB && overHttp > 10 * MB, `${overGrpc} and ${overHttp} bytes`);
      t.ok(tookMs > UNREAD_LIMITS.sendTimeoutMs, 'which takes longer than a client may read nothing');
      slow.session.destroy();
      t.equal(await dropped(at, 'grpc', 'stalled'), 1, 'it was not hung up on');
      t.equal(await dropped(at, 'http', 'stalled'), 1);
    });
  }

  await t.test('a stream that asks on and on and reads nothing is reset', async (t) => {
    const hostile = new Http2Client(`http://127.0.0.1:${ports.plain.grpc}`, 0);
    const { stream } = hostile.call(ASK_FOR_FILE, REFLECTION, false);
    const piece = Buffer.concat(Array.from({ length: 500 }, () => ASK_FOR_FILE));
    await whileServed('it is reset', () => {
      if (stream.writable && stream.writableLength < MB) stream.write(piece);
      return stream.closed;
    });
    t.equal(stream.rstCode, constants.NGHTTP2_ENHANCE_YOUR_CALM);
    hostile.session.destroy();
  });

  await t.test('many such clients, beside one that reads slowly', async (t) => {
    const before = await dropped(ports.plain, 'grpc', 'memory');
    const slow = new Http2Client(`http://127.0.0.1:${ports.plain.grpc}`, 65_536);
    const call = slow.call(framed(SEARCH, search(10)));
    const reading = readSlowly(call.stream);
    const hostile: Http2Client[] = [];
    let isRead = false;
    void reading.then(() => {
      isRead = true;
    });
    await whileServed('the slow one has its answer', () => {
      if (hostile.length < 40) {
        const one = new Http2Client(`http://127.0.0.1:${ports.plain.grpc}`, 0);
        const body = framed(SEARCH, search(7));
        one.call(body);
        hostile.push(one);
      }
      return isRead;
    });
    t.ok((await reading) > 10 * MB);
    t.equal(call.headers['grpc-status'], '0');
    t.ok((await dropped(ports.plain, 'grpc', 'memory')) > before, 'others were hung up on to make room');
    for (const one of hostile) one.session.destroy();
    slow.session.destroy();
  });

  const grown = largest - atFirst;
  t.comment(`grew by ${Math.round(grown / MB)} MB from ${Math.round(atFirst / MB)} MB`);
  t.ok(grown < GROWN_MAX, `grew by ${Math.round(grown / MB)} MB at most`);
});
