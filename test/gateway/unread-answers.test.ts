import { EventEmitter, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import t from 'tap';
import { type Answer, ClientConnection, type HangUps } from '../../src/gateway/unread/client-connection.js';
import { UnreadAnswers } from '../../src/gateway/unread/unread-answers.js';
import { packageRoot } from '../../src/package-root.js';
import type { SearchCall, SearchOutcome } from '../../src/router/query.js';
import type { Teardown } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { framed, Http2Client, MB, openHttp, requestOf } from '../security/unread-clients.js';
import { BruteForceService } from './brute-force-service.js';
import { startGateway } from './harness.js';

const LIMITS = { connectionBytesMax: 1_000, bytesMax: 4_000, sendTimeoutMs: 8_000 };

class Written extends EventEmitter implements Answer {
  destroyed = false;
  writableLength = 0;
}

/** A ledger whose clock the test moves, and real connections that send nothing but what a test writes. */
async function rig(t: Teardown) {
  let nowMs = 0;
  let due: { readonly atMs: number; readonly action: () => void } | null = null;
  const ledger = new UnreadAnswers(
    LIMITS,
    {
      nowMs: () => nowMs,
      after: (delayMs, action) => {
        due = { atMs: nowMs + delayMs, action };
        return () => {
          due = null;
        };
      },
    },
    silentLog,
  );
  const hangUps: HangUps = { listener: 'grpc', stalled: 0, memory: 0 };
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => void server.close());
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  return {
    ledger,
    hangUps,
    isLooking: () => due !== null,
    pass: (ms: number) => {
      const end = nowMs + ms;
      while (due !== null && due.atMs <= end) {
        const { atMs, action } = due;
        due = null;
        nowMs = atMs;
        action();
      }
      nowMs = end;
    },
    client: async (): Promise<ClientConnection> => {
      const accepted = once(server, 'connection') as Promise<[Socket]>;
      const far = connect(port, '127.0.0.1').on('error', () => undefined);
      t.teardown(() => void far.destroy());
      far.resume();
      const [socket] = await accepted;
      t.teardown(() => void socket.destroy());
      return new ClientConnection(socket, hangUps);
    },
    /** An answer of so many bytes that stays unread; null: it was refused. */
    write: (connection: ClientConnection, bytes: number): Written | null => {
      const answer = new Written();
      if (ledger.take(connection, answer, bytes) !== null) return null;
      answer.writableLength = bytes;
      return answer;
    },
  };
}

t.test('a connection with too much unread is refused until it reads', async (t) => {
  const { ledger, client, write } = await rig(t);
  const one = await client();
  const first = write(one, 3_000);
  t.ok(first, 'to who has nothing unread an answer beyond the limit is given');
  t.equal(ledger.refusal(one), null, 'nothing of it was refused yet');
  t.equal(write(one, 1), null);
  t.match(ledger.refusal(one), { reason: 'ANSWERS_UNREAD', details: { max: '1000' } });
  if (first !== null) first.writableLength = 900;
  t.equal(ledger.refusal(one), null, 'a part was read');
  t.ok(write(one, 100));
  t.equal(write(one, 1), null);
  first?.emit('close');
  t.equal(ledger.bytes, 100);
  t.ok(write(one, 900));
});

t.test('who reads nothing is hung up on, and whoever reads is not, however slowly', async (t) => {
  const { ledger, hangUps, client, write, pass, isLooking } = await rig(t);
  const [deaf, slow] = [await client(), await client()];
  write(deaf, 500);
  const answer = write(slow, 500);
  for (let second = 0; second < 7; second++) {
    slow.socket.write(Buffer.alloc(1_024));
    pass(1_000);
  }
  t.same([hangUps.stalled, deaf.socket.destroyed], [0, false]);
  for (let second = 0; second < 20; second++) {
    slow.socket.write(Buffer.alloc(1_024));
    pass(1_000);
  }
  t.same([hangUps.stalled, deaf.socket.destroyed, slow.socket.destroyed], [1, true, false]);
  t.equal(ledger.bytes, 500);
  t.ok(isLooking());
  answer?.emit('close');
  pass(2_000);
  t.notOk(isLooking(), 'nobody has anything to read, and nothing is looked at');
});

t.test('a byte now and then is no reading', async (t) => {
  const { hangUps, client, write, pass } = await rig(t);
  const pinging = await client();
  write(pinging, 500);
  for (let second = 0; second < 10; second++) {
    pinging.socket.write(Buffer.alloc(17));
    pass(1_000);
  }
  t.equal(hangUps.stalled, 1);
});

t.test('when all the memory is used up, those who read longest ago make room', async (t) => {
  const { ledger, hangUps, client, write, pass } = await rig(t);
  const clients = await Promise.all([client(), client(), client(), client()]);
  const [old, reader, large, small] = clients as [
    ClientConnection,
    ClientConnection,
    ClientConnection,
    ClientConnection,
  ];
  write(old, 1_000);
  write(reader, 900);
  pass(2_000);
  reader.socket.write(Buffer.alloc(4_096));
  write(large, 1_000);
  write(small, 600);
  t.ok(write(await client(), 900), 'whoever comes is answered');
  t.same(
    clients.map(({ isGone }) => isGone),
    [true, false, true, false],
    'first who read longest ago, then who has most',
  );
  t.equal(hangUps.memory, 2);
  t.equal(ledger.bytes, 2_400);
});

t.test('one large answer hangs up on nobody who reads, nor on anybody for nothing', async (t) => {
  const { ledger, hangUps, client, write, pass } = await rig(t);
  const [deaf, reader, large, other] = [await client(), await client(), await client(), await client()];
  write(deaf, 1_000);
  write(reader, 400);
  pass(2_000);
  reader.socket.write(Buffer.alloc(4_096));
  t.match(ledger.take(large, new Written(), 4_001), {
    reason: 'REQUEST_TOO_LARGE',
    details: { bytes: '4001', max: '4000' },
  });
  t.same([hangUps.memory, ledger.bytes], [0, 1_400], 'what never fits costs nobody anything');
  t.match(ledger.take(large, new Written(), 3_700), { reason: 'QUEUE_FULL', retryAfterMs: 1_000 });
  t.same([hangUps.memory, ledger.bytes], [0, 1_400], 'nor what would fit only without those who read');
  t.equal(ledger.refusal(large), null, 'who was refused may ask for less');
  t.ok(write(large, 3_500));
  t.same([deaf.isGone, reader.isGone, hangUps.memory, ledger.bytes], [true, false, 1, 3_900]);
  t.match(ledger.take(other, new Written(), 1_001), { reason: 'QUEUE_FULL' }, 'all that is left is read');
  t.ok(write(other, 200), 'an ordinary answer has room for itself made nevertheless');
  t.same([large.isGone, reader.isGone, hangUps.memory, ledger.bytes], [true, false, 2, 600]);
});

t.test('what waits to leave over HTTP is counted in bytes, not in characters', async (t) => {
  const text = '虎'.repeat(8 * MB);
  class ChineseService extends BruteForceService {
    override async search(call: SearchCall): Promise<SearchOutcome> {
      const outcome = await super.search(call);
      if (!call.withDocument) return outcome;
      const document = { title: '虎', text, attributes: {} };
      return { ...outcome, hits: outcome.hits.map((hit) => ({ ...hit, document })) };
    }
  }
  let unread = (): number => 0;
  const service = new ChineseService();
  const gateway = await startGateway({
    service,
    unread: { connectionBytesMax: 16 * MB, bytesMax: 128 * MB, sendTimeoutMs: 60_000 },
    onUnread: (bytes) => {
      unread = bytes;
    },
  });
  t.teardown(() => gateway.close());
  const asked = { corpus: 'animals', text: 'fish', top_k: 1, with_document: true };
  const { body } = await gateway.post('/v1/search', asked);
  const [hit] = body.hits as { readonly document: { readonly text: string } }[];
  t.ok(hit?.document.text === text, 'it comes as it is');
  const deaf = await openHttp(gateway.faces.addresses.http.port, false);
  t.teardown(() => void deaf.destroy());
  deaf.pause();
  deaf.write(requestOf(1) + requestOf(1, { with_document: false }));
  await until('both were asked, and one is held', () => service.callCount === 3 && unread() > 0);
  t.ok(unread() > 24 * MB, `${unread()} bytes`);
  let said = '';
  deaf.setEncoding('latin1').on('data', (chunk: string) => {
    said = said.slice(-1_000) + chunk;
  });
  deaf.resume();
  await until('the other is refused', () => said.includes('ANSWERS_UNREAD'));
  t.match(said, /HTTP\/1\.1 429/);
});

const certificate = path.join(packageRoot(), 'test', 'fixtures', 'tls', 'server-one');
const tls = { certFile: `${certificate}.crt`, keyFile: `${certificate}.key`, clientCaFile: null };
for (const scheme of ['http', 'https'])
  t.test(
    `over ${scheme}, connections from one port to two addresses are not taken for each other`,
    async (t) => {
      const key = makeKey();
      let open = (): number => 0;
      const gateway = await startGateway({
        listen: {
          ...KEYED_LISTENERS,
          grpc: {
            ...KEYED_LISTENERS.grpc,
            host: '0.0.0.0',
            ...(scheme === 'https' ? { tls } : { allowPlaintext: true }),
          },
        },
        keys: ringOf([key]),
        unread: { connectionBytesMax: 4_096, bytesMax: 1_000_000, sendTimeoutMs: 60_000 },
        onConnections: (listener, counts) => {
          if (listener === 'grpc') open = () => counts().open;
        },
      });
      t.teardown(() => gateway.close());
      const { port } = gateway.faces.addresses.grpc;
      const ask = (client: Http2Client, top_k: number) =>
        client.call(
          framed('switchyard.v1.SearchRequest', {
            corpus: 'animals',
            text: 'fish',
            top_k,
            with_document: true,
          }),
          '/switchyard.v1.SearchService/Search',
          true,
          bearer(key.token),
        );
      const connectTo = async (address: string, localPort?: number): Promise<Http2Client> => {
        const from = { localAddress: '127.0.0.1', ...(localPort === undefined ? {} : { localPort }) };
        const client = new Http2Client(`${scheme}://${address}:${port}`, 0, from);
        t.teardown(() => client.session.destroy());
        await once(client.session, 'connect');
        return client;
      };
      const first = await connectTo('127.0.0.1');
      const second = await connectTo('127.0.0.2', first.session.socket?.localPort);
      await until('both are there', () => open() === 2);
      const answered = ask(first, 1);
      await until('the first is answered', () => answered.headers[':status'] === '200');
      second.session.destroy();
      await until('the second is gone', () => open() === 1);
      const calls = Array.from({ length: 20 }, () => ask(first, 24));
      const refused = () => calls.filter(({ headers }) => headers['grpc-status'] === '8');
      await until('all are answered', () => calls.every(({ headers }) => headers[':status'] === '200'));
      await until('what is too much is refused', () => refused().length > 15);
      t.match(refused()[0]?.headers['grpc-message'], /were not read, must be <= 4096/);
    },
  );

t.test('answers to holders of keys are found below the guard of gRPC, and counted', async (t) => {
  const key = makeKey();
  const gateway = await startGateway({
    listen: KEYED_LISTENERS,
    keys: ringOf([key]),
    unread: { connectionBytesMax: 4_096, bytesMax: 1_000_000, sendTimeoutMs: 60_000 },
  });
  t.teardown(() => gateway.close());
  const deaf = new Http2Client(`http://${gateway.grpcAddress}`, 0);
  t.teardown(() => deaf.session.destroy());
  const body = framed('switchyard.v1.SearchRequest', {
    corpus: 'animals',
    text: 'fish',
    top_k: 24,
    with_document: true,
  });
  const path = '/switchyard.v1.SearchService/Search';
  const calls = Array.from({ length: 20 }, () => deaf.call(body, path, true, bearer(key.token)));
  const refused = () => calls.filter(({ headers }) => headers['grpc-status'] === '8');
  await until('what is too much is refused', () => refused().length > 15);
  t.match(refused()[0]?.headers['grpc-message'], /were not read, must be <= 4096/);
  t.ok(gateway.counted.some(({ outcome }) => outcome === 'ANSWERS_UNREAD'));
});
