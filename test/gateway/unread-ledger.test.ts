import { EventEmitter, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import {
  ANSWER_BYTES,
  type Answer,
  ClientConnection,
  type HangUps,
} from '../../src/gateway/unread/client-connection.js';
import { UnreadAnswers } from '../../src/gateway/unread/unread-answers.js';
import type { Teardown } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';

const LIMITS = { connectionBytesMax: 100_000, bytesMax: 400_000, sendTimeoutMs: 8_000 };
/** More than is let pass without being counted. */
const WORTH_COUNTING = 20_000;

class Written extends EventEmitter implements Answer {
  destroyed = false;
  /** As of HTTP/2, which has none; null: of HTTP/1.1, behind another. */
  socket?: Socket | null;
  /** How often it was counted. */
  counts = 0;
  left = 0;

  get writableLength(): number {
    this.counts++;
    return this.left;
  }
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
  const accepted = new Map<number, Socket>();
  const server = createServer((socket) => void accepted.set(socket.remotePort ?? 0, socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => void server.close());
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  return {
    ledger,
    hangUps,
    isLooking: () => due !== null,
    /** The process does not run. */
    freeze: (ms: number) => {
      nowMs += ms;
    },
    pass: (ms: number) => {
      const end = nowMs + ms;
      while (due !== null && due.atMs <= end) {
        const { atMs, action } = due;
        due = null;
        nowMs = Math.max(nowMs, atMs);
        action();
      }
      nowMs = end;
    },
    client: async (): Promise<ClientConnection> => {
      const far = connect(port, '127.0.0.1').on('error', () => undefined);
      t.teardown(() => void far.destroy());
      far.resume();
      await once(far, 'connect');
      const near = far.localPort ?? 0;
      while (!accepted.has(near)) await once(server, 'connection');
      const socket = accepted.get(near) as Socket;
      t.teardown(() => void socket.destroy());
      return new ClientConnection(socket, hangUps);
    },
    /** An answer that stays unread and costs so many bytes with all that belongs to it; null: it was refused. */
    write: (connection: ClientConnection, held: number, answer = new Written()): Written | null => {
      const bytes = held - ANSWER_BYTES;
      if (ledger.take(connection, answer, bytes) !== null) return null;
      answer.left = bytes;
      return answer;
    },
  };
}

t.test('a connection with too much unread is refused until it reads', async (t) => {
  const { ledger, client, write, pass } = await rig(t);
  const one = await client();
  const first = write(one, 300_000);
  t.ok(first, 'to who has nothing unread an answer beyond the limit is given');
  t.equal(ledger.refusal(one), null, 'nothing of it was refused yet');
  t.equal(write(one, 10_000), null);
  t.match(ledger.refusal(one), { reason: 'ANSWERS_UNREAD', details: { max: '100000' } });
  if (first !== null) first.left = 90_000 - ANSWER_BYTES;
  one.socket.write(Buffer.alloc(WORTH_COUNTING));
  t.equal(ledger.refusal(one), null, 'a part was read');
  t.ok(write(one, 10_000));
  t.equal(write(one, 10_000), null);
  first?.emit('close');
  t.equal(ledger.bytes, 10_000);
  const large = write(one, 90_000);
  t.equal(write(one, 10_000), null);
  const counts = large?.counts;
  for (let refusals = 0; refusals < 100; refusals++) {
    one.socket.write(Buffer.alloc(100));
    t.ok(ledger.refusal(one));
  }
  t.equal(large?.counts, counts, 'what is said to who is refused is no reading');
  pass(1_000);
  t.ok(ledger.refusal(one));
});

t.test('a connection that is gone is refused nothing more', async (t) => {
  const { ledger, client, write } = await rig(t);
  const one = await client();
  write(one, 100_000);
  t.equal(write(one, 10_000), null);
  ledger.forget(one);
  t.equal(ledger.refusal(one), null);
  t.equal(ledger.bytes, 0);
});

t.test('an answer costs more than its bytes, however small it is', async (t) => {
  const { ledger, client, write } = await rig(t);
  const one = await client();
  const given = Array.from({ length: 20 }, () => write(one, ANSWER_BYTES + 1)).filter((one) => one !== null);
  t.equal(given.length, Math.floor(LIMITS.connectionBytesMax / (ANSWER_BYTES + 1)));
  t.equal(
    ledger.recount(new Set(['grpc', 'http'])),
    given.length * (ANSWER_BYTES + 1),
    'however often it is counted',
  );
  t.equal(ledger.recount(new Set(['http'])), 0, 'none of it by another listener');
  for (const answer of given) answer.emit('close');
  t.equal(ledger.bytes, 0);
});

t.test('who reads nothing is hung up on, and whoever reads is not, however slowly', async (t) => {
  const { ledger, hangUps, client, write, pass, isLooking } = await rig(t);
  const [deaf, slow] = [await client(), await client()];
  write(deaf, 50_000);
  const answer = write(slow, 50_000);
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
  t.equal(ledger.bytes, 50_000);
  t.ok(isLooking());
  answer?.emit('close');
  pass(2_000);
  t.notOk(isLooking(), 'nobody has anything to read, and nothing is looked at');
});

t.test('a byte now and then is no reading', async (t) => {
  const { hangUps, client, write, pass } = await rig(t);
  const pinging = await client();
  write(pinging, 50_000);
  for (let second = 0; second < 10; second++) {
    pinging.socket.write(Buffer.alloc(17));
    pass(1_000);
  }
  t.equal(hangUps.stalled, 1);
});

t.test('the time in which the gateway did not run counts against nobody', async (t) => {
  const { hangUps, client, write, pass, freeze } = await rig(t);
  write(await client(), 50_000);
  pass(2_500);
  freeze(60_000);
  const late = await client();
  write(late, 50_000);
  pass(4_000);
  t.equal(hangUps.stalled, 0);
  pass(1_000);
  t.same([hangUps.stalled, late.isGone], [1, false], 'it has what was left to it');
  pass(3_000);
  t.ok(late.isGone, 'and who came meanwhile no more than others');
});

t.test('answers of HTTP/1.1 that wait for one before them can be read by nobody', async (t) => {
  const { hangUps, client, write, pass } = await rig(t);
  const behind = (): Written => Object.assign(new Written(), { socket: null });
  const [waiting, reached] = [await client(), await client()];
  const answer = write(waiting, 50_000, behind());
  write(reached, 20_000, behind());
  write(reached, 20_000, Object.assign(new Written(), { socket: reached.socket }));
  pass(9_000);
  t.same([waiting.isGone, reached.isGone], [false, true], 'one that has its turn and is not read stalls');
  pass(30_000);
  t.notOk(waiting.isGone);
  if (answer !== null) answer.socket = waiting.socket;
  pass(7_000);
  t.notOk(waiting.isGone, 'from then on it has the time of others');
  pass(2_000);
  t.same([waiting.isGone, hangUps.stalled], [true, 2]);
});

t.test('when all the memory is used up, those who hold most for longest make room', async (t) => {
  const { ledger, hangUps, client, write, pass } = await rig(t);
  const clients = await Promise.all([client(), client(), client(), client()]);
  const [old, reader, large, small] = clients as [
    ClientConnection,
    ClientConnection,
    ClientConnection,
    ClientConnection,
  ];
  write(old, 100_000);
  write(reader, 90_000);
  pass(2_000);
  reader.socket.write(Buffer.alloc(4_096));
  write(large, 100_000);
  write(small, 60_000);
  t.ok(write(await client(), 90_000), 'whoever comes is answered');
  t.same(
    clients.map(({ isGone }) => isGone),
    [true, false, true, false],
    'first who read longest ago, then who has most',
  );
  t.equal(hangUps.memory, 2);
  t.equal(ledger.bytes, 240_000);
});

t.test('who was answered a moment ago does not go before who holds much and reads a little', async (t) => {
  const { hangUps, client, write, pass } = await rig(t);
  const large = await client();
  write(large, 250_000);
  pass(2_500);
  const honest = await Promise.all(Array.from({ length: 6 }, client));
  for (const one of honest) write(one, 10_000);
  pass(1);
  large.socket.write(Buffer.alloc(4_096));
  t.ok(write(await client(), 99_000));
  t.same([large.isGone, hangUps.memory], [true, 1]);
  t.notOk(honest.some(({ isGone }) => isGone));
});

t.test('who holds most and reads does not go before who holds less and does not', async (t) => {
  const { client, write, pass } = await rig(t);
  const [slow, ...deaf] = await Promise.all([client(), client(), client()]);
  write(slow, 150_000);
  pass(2_500);
  for (const one of deaf) write(one, 120_000);
  pass(100);
  slow.socket.write(Buffer.alloc(4_096));
  t.ok(write(await client(), 90_000));
  t.notOk(slow.isGone);
  t.ok(deaf.every(({ isGone }) => isGone));
});

t.test('one large answer hangs up on nobody who reads, nor on anybody for nothing', async (t) => {
  const { ledger, hangUps, client, write, pass } = await rig(t);
  const [deaf, reader, large, other] = [await client(), await client(), await client(), await client()];
  write(deaf, 100_000);
  write(reader, 40_000);
  pass(2_000);
  reader.socket.write(Buffer.alloc(4_096));
  t.match(ledger.take(large, new Written(), 400_001), {
    reason: 'REQUEST_TOO_LARGE',
    details: { bytes: '400001', max: '400000' },
  });
  t.same([hangUps.memory, ledger.bytes], [0, 140_000], 'what never fits costs nobody anything');
  t.match(ledger.take(large, new Written(), 370_000), { reason: 'QUEUE_FULL', retryAfterMs: 1_000 });
  t.same([hangUps.memory, ledger.bytes], [0, 140_000], 'nor what would fit only without those who read');
  t.equal(ledger.refusal(large), null, 'who was refused may ask for less');
  t.ok(write(large, 350_000));
  t.same([deaf.isGone, reader.isGone, hangUps.memory, ledger.bytes], [true, false, 1, 390_000]);
  t.match(ledger.take(other, new Written(), 100_001), { reason: 'QUEUE_FULL' }, 'all that is left is read');
  t.ok(write(other, 20_000), 'an ordinary answer has room for itself made nevertheless');
  t.same([large.isGone, reader.isGone, hangUps.memory, ledger.bytes], [true, false, 2, 60_000]);
});

t.test('the largest answer that may be given is given where nobody else has one', async (t) => {
  const { ledger, client } = await rig(t);
  const largest = Object.assign(new Written(), { left: LIMITS.bytesMax });
  t.equal(ledger.take(await client(), largest, LIMITS.bytesMax), null);
  t.match(ledger.take(await client(), new Written(), LIMITS.bytesMax), { reason: 'QUEUE_FULL' });
});

t.test('all are not counted again for every answer', async (t) => {
  const { ledger, hangUps, client, write, pass } = await rig(t);
  const clients = await Promise.all(Array.from({ length: 4 }, client));
  const answers = clients.map((one) => write(one, 97_000));
  const counts = () => answers.reduce((sum, one) => sum + (one?.counts ?? 0), 0);
  const large = await client();
  for (let tries = 0; tries < 100; tries++)
    t.match(ledger.take(large, new Written(), 101_000), { reason: 'QUEUE_FULL' });
  t.equal(counts(), 4, 'for one that was refused a moment ago');
  pass(10);
  t.match(ledger.take(large, new Written(), 101_000), { reason: 'QUEUE_FULL' });
  t.equal(counts(), 8);

  pass(10);
  for (const one of answers) if (one !== null) one.left -= 1_000;
  const [first, second, third] = [await client(), await client(), await client()];
  t.ok(write(first, 14_000));
  t.same([counts(), ledger.bytes], [12, 398_000]);
  t.ok(write(second, 8_200));
  t.same([counts(), ledger.bytes], [12, 406_200], 'for a little more than the memory');
  t.equal(hangUps.memory, 0);
  t.ok(write(third, 8_200), 'and nothing is let pass beyond that');
  t.ok(counts() > 12);
  t.ok(hangUps.memory > 0);
  t.ok(ledger.bytes <= LIMITS.bytesMax);
});
