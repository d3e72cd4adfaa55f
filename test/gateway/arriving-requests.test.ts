import { EventEmitter } from 'node:events';
import fc from 'fast-check';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import type { SwitchyardError } from '../../src/errors.js';
import {
  type ArrivalFace,
  type Arriving,
  ArrivingRequests,
  type Inbound,
} from '../../src/gateway/arriving/arriving-requests.js';
import { MessageHeads } from '../../src/gateway/grpc/message-heads.js';
import { FakeTimers } from '../process/fake-timers.js';

const KB = 1_024;
const MB = 1_048_576;
const READ = 64 * KB;
const BYTES_MAX = 4 * MB;
const ARRIVAL_MS_MAX = 30_000;

/** A request as it comes in, piece by piece. */
class Request extends EventEmitter implements Inbound {
  readableEnded = false;
  headersSent = false;
  writableEnded = false;
  ended: string | null = null;

  comes(piece: Buffer): void {
    this.emit('data', piece);
  }

  isWhole(): void {
    this.readableEnded = true;
    this.emit('end');
    this.emit('close');
  }
}

/** What the network was read into; pieces are slices of it. */
const read = (bytes = READ): Buffer => Buffer.from(new ArrayBuffer(bytes));

function ledger(t: Test) {
  const timers = new FakeTimers();
  const lines: string[] = [];
  const log = pino({}, { write: (line: string) => lines.push(line) });
  const requests = new ArrivingRequests({ bytesMax: BYTES_MAX, arrivalMsMax: ARRIVAL_MS_MAX }, timers, log);
  t.teardown(() => requests.close());
  const faceOf = (isTimed: boolean): ArrivalFace => ({
    listener: isTimed ? 'grpc' : 'http',
    isTimed,
    end: ({ inbound }: Arriving, error: SwitchyardError) => {
      (inbound as Request).ended = error.reason;
    },
  });
  const [timed, untimed] = [faceOf(true), faceOf(false)];
  const begin = (face = timed, isDialogue = false): Request => {
    const request = new Request();
    requests.add(request, face, '/a', isDialogue);
    return request;
  };
  return { timers, lines, requests, begin, timed, untimed };
}

const endedOf = (requests: readonly Request[]): (string | null)[] => requests.map(({ ended }) => ended);

t.test('what has arrived is held no longer, whatever became of it', (t) => {
  const { requests, begin } = ledger(t);
  t.equal(requests.counts.bytes, 0);
  const many = Array.from({ length: 20 }, () => begin());
  for (const request of many) request.comes(read().subarray(0, 100));
  t.ok(requests.counts.bytes > 20 * READ, 'a piece holds all that was read with it');
  for (const [at, request] of many.entries())
    if (at % 2 === 0) request.isWhole();
    else request.emit('close');
  t.equal(requests.counts.bytes, 0);
  t.equal(requests.counts.ended.size, 0);
  t.end();
});

t.test('pieces of one read are held once by a request, and none is free of cost', (t) => {
  const { requests, begin } = ledger(t);
  const request = begin();
  const before = requests.counts.bytes;
  const one = read();
  for (let at = 0; at < 1_000; at++) request.comes(one.subarray(at, at + 1));
  const grown = requests.counts.bytes - before;
  t.ok(grown > READ + 1_000 * 100 && grown < READ + 1_000 * 1_000, `${grown} bytes`);
  request.comes(read().subarray(0, 1));
  t.ok(requests.counts.bytes - before - grown > READ, 'a byte of another read holds that too');
  t.end();
});

t.test('requests that come in the same reads hold them together', (t) => {
  const { requests, begin } = ledger(t);
  const [first, second, third] = [read(), read(), read()];
  const many = Array.from({ length: 100 }, () => begin());
  const bare = requests.counts.bytes;
  // Counted for each of them each would be more than there may be.
  for (const into of [first, second, third]) for (const request of many) request.comes(into.subarray(0, 100));
  const held = requests.counts.bytes - bare;
  t.ok(held > 3 * READ && held < 5 * READ, `${held} bytes`);
  t.same(new Set(endedOf(many)), new Set([null]), 'which is no reason to end any');
  for (const request of many.slice(1)) request.isWhole();
  t.ok(requests.counts.bytes > 3 * READ, 'the last one holds them all alone');
  many[0]?.isWhole();
  t.equal(requests.counts.bytes, 0);
  t.end();
});

t.test('beyond the memory those that held most for longest are ended, until there is room again', (t) => {
  const { timers, lines, requests, begin } = ledger(t);
  const slow = begin();
  slow.comes(read(KB));
  timers.advance(5_000);
  const hostile = Array.from({ length: 8 }, () => begin());
  for (const request of hostile) for (let at = 0; at < 5; at++) request.comes(read());
  t.ok(requests.counts.bytes > 0.6 * BYTES_MAX && requests.counts.bytes < BYTES_MAX);
  timers.advance(5_000);
  t.same(new Set(endedOf(hostile)), new Set([null]), 'there is room for them');
  const large = begin();
  for (let at = 0; at < 24; at++) large.comes(read());
  const gone = hostile.filter(({ ended }) => ended !== null);
  t.same(new Set(endedOf(gone)), new Set(['QUEUE_FULL']));
  t.ok(gone.length >= 2 && gone.length < 6, `${gone.length} of 8`);
  t.same(
    [slow.ended, large.ended],
    [null, null],
    'a small slow one is none of them, nor a large one that is quick',
  );
  t.ok(requests.counts.bytes < BYTES_MAX);
  t.equal(requests.counts.ended.get('grpc'), gone.length, 'and they are counted');
  t.equal(lines.length, 1, 'the log is told, and not of each');
  t.match(lines[0], /to make room for others/);
  t.end();
});

t.test('requests of which nothing comes but their headers are bounded too', (t) => {
  const { requests, begin, untimed } = ledger(t);
  const many = Array.from({ length: 10_000 }, () => begin(untimed));
  t.ok(requests.counts.bytes <= BYTES_MAX, `${requests.counts.bytes} bytes`);
  const open = many.filter(({ ended }) => ended === null).length;
  t.ok(open > 100 && open < 300, `${open} are open`);
  t.equal(requests.counts.ended.get('http'), 10_000 - open);
  t.end();
});

t.test('of what comes after the answer nothing is held', (t) => {
  const { requests, begin } = ledger(t);
  const stranger = begin();
  const before = requests.counts.bytes;
  stranger.headersSent = true;
  for (let at = 0; at < 1_000; at++) stranger.comes(read());
  t.equal(requests.counts.bytes, before);
  t.equal(stranger.ended, null);
  t.end();
});

t.test('whoever takes too long is ended, where nobody else sees to it', (t) => {
  const { timers, begin, untimed } = ledger(t);
  const [half, other] = [begin(), begin(untimed)];
  half.comes(read(100));
  timers.advance(ARRIVAL_MS_MAX / 2);
  const later = begin();
  timers.advance(ARRIVAL_MS_MAX * 0.7);
  t.same(endedOf([half, other, later]), ['REQUEST_TOO_SLOW', null, null]);
  timers.advance(ARRIVAL_MS_MAX);
  t.same(endedOf([other, later]), [null, 'REQUEST_TOO_SLOW']);
  other.isWhole();
  timers.advance(ARRIVAL_MS_MAX);
  t.equal(timers.pending, 0, 'and where nothing arrives, nothing is looked at');
  t.end();
});

t.test('a dialogue may be open for as long as it likes, and each message of it has its time', (t) => {
  const { timers, requests, begin, timed } = ledger(t);
  const dialogue = begin(timed, true);
  const idle = requests.counts.bytes;
  timers.advance(ARRIVAL_MS_MAX * 5);
  t.equal(dialogue.ended, null);
  dialogue.headersSent = true;
  const says = (isWhole: boolean): void => {
    const piece = read();
    dialogue.comes(piece);
    requests.turn(dialogue, isWhole ? null : piece);
  };
  says(false);
  t.ok(requests.counts.bytes > idle + READ, 'half a message is held');
  t.ok(requests.counts.bytes < idle + 2 * READ, 'once');
  timers.advance(ARRIVAL_MS_MAX * 0.8);
  says(true);
  t.equal(requests.counts.bytes, idle, 'a whole one is not');
  timers.advance(ARRIVAL_MS_MAX * 5);
  t.equal(dialogue.ended, null);
  for (let message = 0; message < 5; message++) {
    // The end of one and the beginning of the next.
    says(false);
    t.ok(requests.counts.bytes < idle + 2 * READ, 'of those before nothing is');
    timers.advance(ARRIVAL_MS_MAX * 0.8);
  }
  t.equal(dialogue.ended, null, 'without a pause between its messages too');
  says(false);
  timers.advance(ARRIVAL_MS_MAX * 1.2);
  t.equal(dialogue.ended, 'REQUEST_TOO_SLOW');
  t.equal(requests.counts.bytes, 0);
  t.end();
});

t.test('a dialogue that was refused holds nothing, and ends when its time is over', (t) => {
  const { timers, requests, begin, timed } = ledger(t);
  const refused = begin(timed, true);
  const before = requests.counts.bytes;
  refused.headersSent = true;
  refused.writableEnded = true;
  for (let at = 0; at < 1_000; at++) refused.comes(read());
  t.equal(requests.counts.bytes, before);
  timers.advance(ARRIVAL_MS_MAX * 1.2);
  t.equal(refused.ended, 'REQUEST_TOO_SLOW');
  t.equal(requests.counts.bytes, 0);
  t.end();
});

t.test('a drain waits for what may still arrive and be answered, and for nothing else', (t) => {
  const { requests, begin, timed, untimed } = ledger(t);
  const [both, http] = [new Set(['grpc', 'http'] as const), new Set(['http'] as const)];
  t.notOk(requests.isAwaited(both));
  const dialogue = begin(timed, true);
  requests.turn(dialogue, read());
  const refused = begin(timed);
  refused.headersSent = true;
  t.notOk(requests.isAwaited(both), 'a dialogue has no end, and who was refused has an answer');
  const overGrpc = begin(timed);
  t.ok(requests.isAwaited(both));
  t.notOk(requests.isAwaited(http), 'it came over another listener');
  const overHttp = begin(untimed);
  t.ok(requests.isAwaited(http));
  for (const request of [overGrpc, overHttp]) request.isWhole();
  t.notOk(requests.isAwaited(both));
  t.end();
});

t.test('messages end where their heads say, however they are cut', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(300), { minLength: 1, maxLength: 10 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (lengths, cuts) => {
        const bytes = Buffer.concat(
          lengths.map((length) => {
            const message = Buffer.alloc(5 + length, 0xff);
            message[0] = 0;
            message.writeUInt32BE(length, 1);
            return message;
          }),
        );
        const ends = new Set<number>([0]);
        let end = 0;
        for (const length of lengths) {
          end += 5 + length;
          ends.add(end);
        }
        const heads = new MessageHeads();
        const starts = [...ends].sort((one, other) => one - other).slice(1);
        let longest = 0;
        for (let at = 0, cut = 0; at < bytes.length; cut++) {
          const piece = bytes.subarray(at, at + (cuts[cut % cuts.length] as number));
          longest = Math.max(longest, heads.read(piece));
          at += piece.length;
          if (heads.isBetween !== ends.has(at)) return false;
          if (heads.ended !== starts.filter((end) => end <= at).length) return false;
        }
        return longest === Math.max(...lengths);
      },
    ),
    { numRuns: 500, seed: 7 },
  );
  const heads = new MessageHeads();
  t.equal(heads.read(Buffer.from([0, 0xff, 0xff, 0xff])), 0);
  t.equal(heads.read(Buffer.from([0xff])), 0xffff_ffff, 'the largest there can be');
  t.end();
});
