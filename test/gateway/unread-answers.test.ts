import { EventEmitter, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { type Answer, ClientConnection, type HangUps } from '../../src/gateway/unread/client-connection.js';
import { UnreadAnswers } from '../../src/gateway/unread/unread-answers.js';
import type { Teardown } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { framed, Http2Client } from '../security/unread-clients.js';
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
  const first = write(one, 5_000);
  t.ok(first, 'to who has nothing unread any answer is given');
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
