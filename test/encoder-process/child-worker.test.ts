import { Duplex } from 'node:stream';
import fc from 'fast-check';
import t from 'tap';
import { BackgroundCap } from '../../src/encoder/background-cap.js';
import { type Batcher, LengthSortedBatcher, PinnedBatcher } from '../../src/encoder/batcher.js';
import { RunCost } from '../../src/encoder/batching.js';
import {
  type BatchMessage,
  decodeBatch,
  decodeJson,
  decodeVectors,
  FRAME,
  type Piece,
  type PieceVectors,
} from '../../src/encoder/child-protocol.js';
import { ChildWorker } from '../../src/encoder/child-worker.js';
import { PinnedShapes } from '../../src/encoder/pinned-shapes.js';
import { ModelSession } from '../../src/encoder/session.js';
import { ShapeCosts } from '../../src/encoder/shape-costs.js';
import type { WorkerSession } from '../../src/encoder/worker-session.js';
import { type ErrorFrame, SwitchyardError } from '../../src/errors.js';
import type { QueueTimeLimits } from '../../src/process/controlled-delay.js';
import { FrameChannel } from '../../src/process/frame-channel.js';
import { type Frame, FrameParser } from '../../src/process/frames.js';
import { INPUT_ROLES, LANES, type Lane } from '../../src/vocabulary.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';
import { until } from '../process/wait.js';
import { cosine } from './start.js';

const folder = await tinyModelFolder(t);
const { dimensions } = folder.manifest;
const session = await ModelSession.open(folder, { provider: 'cpu', threads: 1 });
t.teardown(() => session.release());

const TOKENS_MAX = 128;

function thrown(error: unknown): never {
  throw error;
}

/** The worker of an encoder process over a real session, and everything it says. */
function startWorker(
  batcher: Batcher,
  onBatch: (batches: number) => void = () => undefined,
  queueTime: QueueTimeLimits | null = null,
  model: WorkerSession = session,
  broken: (error: unknown) => void = thrown,
) {
  const answers = new Map<number, PieceVectors | ErrorFrame>();
  const batches: BatchMessage[] = [];
  let answered = 0;
  const take = ({ kind, id, payload }: Frame): void => {
    if (kind === FRAME.batch) {
      batches.push(decodeBatch(payload) as BatchMessage);
      onBatch(batches.length);
      return;
    }
    answered += 1;
    const texts = payload.length < 4 ? 0 : payload.readUInt32LE(0);
    answers.set(
      id,
      kind === FRAME.vectors
        ? (decodeVectors(payload, texts, dimensions) as PieceVectors)
        : decodeJson<ErrorFrame>(payload),
    );
  };
  const parser = new FrameParser(1 << 24);
  const socket = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      parser.push(chunk, take);
      done();
    },
  });
  const channel = new FrameChannel({
    socket,
    payloadBytesMax: 1 << 24,
    bufferedBytesMax: Number.POSITIVE_INFINITY,
    onFrame: () => undefined,
    onDrain: () => undefined,
    onClosed: () => undefined,
  });
  const worker = new ChildWorker({ session: model, batcher }, channel, broken, queueTime);
  return { worker, answers, batches, answered: () => answered };
}

/** As if the runs were another thread's: this one goes on while they last. `during` is called while one does. */
const beside = (during: (run: number) => void = () => undefined): WorkerSession => {
  let runs = 0;
  return {
    manifest: session.manifest,
    isBeside: true,
    tokenizeOne: (text, role) => session.tokenizeOne(text, role),
    run: async (texts, shape) => {
      runs += 1;
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
      during(runs);
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
      return session.run(texts, shape);
    },
  };
};

const sorted = (
  options: { delayMs?: number; backgroundRunMsMax?: number; usPerToken?: number } = {},
): Batcher =>
  new LengthSortedBatcher(
    TOKENS_MAX,
    options.delayMs ?? 0,
    cap(options.backgroundRunMsMax ?? 20),
    new RunCost(1, options.usPerToken ?? 1),
  );

const cap = (runMsMax: number): BackgroundCap => new BackgroundCap(runMsMax, () => performance.now());

function pinned(): Batcher {
  const shapes = new PinnedShapes({
    texts: [1, 2, 8],
    lengths: [8, 16, 64],
    tokensMax: TOKENS_MAX,
    textTokensMax: folder.manifest.max_tokens,
  });
  return new PinnedBatcher(shapes, 0, cap(20), new ShapeCosts());
}

const words = fc.integer({ min: 1, max: 30 }).chain((count) =>
  fc.array(fc.constantFrom('a', 'cat', 'with', 'stripes', 'eats', 'bananas'), {
    minLength: count,
    maxLength: count,
  }),
);
const pieces = fc.array(
  fc.record({
    role: fc.constantFrom(...INPUT_ROLES),
    lane: fc.constantFrom(...LANES),
    remainingMs: fc.constantFrom(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 0),
    isWhole: fc.boolean(),
    texts: fc.array(
      words.map((list) => list.join(' ')),
      { minLength: 1, maxLength: 12 },
    ),
  }),
  { minLength: 1, maxLength: 12 },
);

const isVectors = (answer: PieceVectors | ErrorFrame | undefined): answer is PieceVectors =>
  answer !== undefined && 'values' in answer;

for (const [name, batcher, model] of [
  ['sorted by length', () => sorted(), session],
  ['held for company', () => sorted({ delayMs: 1 }), session],
  ['of pinned shapes', pinned, session],
  ['of pinned shapes run beside', pinned, beside()],
  ['run beside and held for company', () => sorted({ delayMs: 1 }), beside()],
] as const)
  t.test(
    `with batches ${name} every piece is answered once, within the budget, with the vectors its texts have alone`,
    async (t) => {
      await fc.assert(
        fc.asyncProperty(pieces, async (given: readonly Piece[]) => {
          const { worker, answers, batches, answered } = startWorker(batcher(), undefined, null, model);
          for (const [id, piece] of given.entries()) worker.add(id, piece);
          await until('all answered', () => answered() >= given.length, 60_000);
          t.equal(answers.size, given.length);
          for (const [id, { texts, role, remainingMs }] of given.entries()) {
            const answer = answers.get(id);
            if (remainingMs === 0) {
              t.match(answer, { reason: 'DEADLINE_EXCEEDED' });
              continue;
            }
            if (!isVectors(answer)) throw new Error(`piece ${id} was refused: ${answer?.message}`);
            const alone = await Promise.all(texts.map((text) => session.encode([text], role)));
            for (const [row, one] of alone.entries())
              t.ok(cosine(answer.values, row, one.values, 0, dimensions) >= 0.99999, `text ${row}`);
          }
          for (const { texts, paddedTokens } of batches)
            t.ok(texts === 1 || paddedTokens <= TOKENS_MAX, `${texts} texts in ${paddedTokens} tokens`);
          const lanes = batches.map(({ lane }) => LANES.indexOf(lane));
          t.same(lanes, [...lanes].sort(), 'all there at once: live, then shadow, then bulk');
          const asked = given.filter(({ remainingMs }) => remainingMs > 0).flatMap(({ texts }) => texts);
          t.equal(
            batches.reduce((sum, { texts }) => sum + texts, 0),
            asked.length,
            'what had expired cost nothing',
          );
          t.equal(answered(), given.length);
        }),
        { numRuns: 25 },
      );
    },
  );

const piece = (lane: Lane, count: number, text = 'a cat with stripes', isWhole = true): Piece => ({
  role: 'query',
  lane,
  remainingMs: Number.POSITIVE_INFINITY,
  isWhole,
  texts: Array.from({ length: count }, () => text),
});

t.test('what a background run may take is what was measured, and live runs are not cut', async (t) => {
  const { worker, batches, answered } = startWorker(sorted({ backgroundRunMsMax: 0.02, usPerToken: 1 }));
  worker.add(1, piece('live', 16));
  worker.add(2, piece('bulk', 16));
  await until('both answered', () => answered() === 2, 60_000);
  t.ok(batches[0]?.lane === 'live' && batches[0].texts === 16);
  const bulk = batches.filter(({ lane }) => lane === 'bulk');
  t.ok(bulk.length >= 4, `${bulk.length} bulk runs`);
});

t.test('a live text overtakes bulk that came before it and is not yet in a run', async (t) => {
  const { worker, batches, answered } = startWorker(
    sorted({ backgroundRunMsMax: 0.02, usPerToken: 1 }),
    (count) => {
      if (count === 1) worker.add(2, piece('live', 1));
    },
  );
  worker.add(1, piece('bulk', 64));
  await until('both answered', () => answered() === 2, 60_000);
  t.equal(batches[1]?.lane, 'live');
  t.equal(batches.at(-1)?.lane, 'bulk');
});

t.test('of a queue that stands what waited too long is refused, unless its request has begun', async (t) => {
  const { worker, answers, batches, answered } = startWorker(sorted(), undefined, { targetMs: 1, maxMs: 5 });
  const reasonOf = (id: number): string => {
    const answer = answers.get(id);
    return answer === undefined || isVectors(answer) ? 'answered' : answer.reason;
  };
  // Batches of about one text, and so many before the bulk that it does not come to its turn before the queue stands.
  const long = 'a cat with stripes eats bananas '.repeat(8);
  let sent = 0;
  const add = (lane: Lane, isWhole = true): void => worker.add(++sent, piece(lane, 1, long, isWhole));
  for (let at = 0; at < 20; at++) add('bulk');
  for (let at = 0; at < 20; at++) add('live', false);
  await until('a standing queue', () => {
    while (sent - answered() < 1_000) add('live');
    return [...answers.keys()].some((id) => reasonOf(id) === 'OVERLOADED');
  });
  await until('everybody is answered', () => answered() === sent, 60_000);
  const reasons = Array.from({ length: sent }, (_, at) => reasonOf(at + 1));
  t.same(new Set(reasons.slice(0, 20)), new Set(['OVERLOADED']), 'bulk, which would come last, goes first');
  t.same(new Set(reasons.slice(20, 40)), new Set(['answered']), 'pieces of a larger request stay');
  const live = reasons.slice(40);
  t.same(new Set(live), new Set(['answered', 'OVERLOADED']));
  t.equal(
    batches.reduce((sum, { texts }) => sum + texts, 0),
    reasons.filter((one) => one === 'answered').length,
    'and cost nothing',
  );
  const before = answered();
  add('live');
  await until('the next is answered', () => answered() === before + 1);
  t.equal(reasonOf(sent), 'answered', 'a queue that was empty does not stand');
});

t.test('with a delay texts wait for as many as there were before, and a lone text for nobody', async (t) => {
  const { worker, batches, answered } = startWorker(sorted({ delayMs: 60_000 }));
  worker.add(1, piece('live', 1));
  await until('the lone text', () => answered() === 1, 30_000);
  worker.add(2, piece('live', 4));
  await until('four at once', () => answered() === 2, 30_000);
  for (let id = 3; id < 7; id++) {
    worker.add(id, piece('live', 1));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until('one by one', () => answered() === 6, 30_000);
  t.same(
    batches.map(({ texts }) => texts),
    [1, 4, 4],
  );
});

t.test(
  'while another thread runs the model, texts are tokenised and what is cancelled is let go',
  async (t) => {
    const asked: string[] = [];
    const { worker, batches, answers, answered } = startWorker(pinned(), undefined, null, {
      ...beside((run) => {
        if (run > 1) return;
        worker.add(2, piece('bulk', 3, 'bulk eats bananas'));
        worker.add(3, piece('live', 2, 'a live cat'));
        worker.add(4, piece('live', 1, 'nobody waits for it'));
        worker.cancel(1);
        worker.cancel(4);
        runsBeforeTokens = asked.length;
      }),
      tokenizeOne: (text, role) => {
        asked.push(`${text} in run ${batches.length + 1}`);
        return session.tokenizeOne(text, role);
      },
    });
    let runsBeforeTokens = 0;
    worker.add(1, piece('shadow', 2));
    await until('all are answered', () => answered() === 4, 60_000);
    t.equal(runsBeforeTokens, 2, 'of the shadow alone');
    t.same(asked.slice(2), [
      ...Array.from({ length: 2 }, () => 'a live cat in run 1'),
      ...Array.from({ length: 3 }, () => 'bulk eats bananas in run 1'),
    ]);
    const lanes = [...new Set(batches.map(({ lane }) => lane))];
    t.same(lanes, ['shadow', 'live', 'bulk'], 'lanes in their order, although bulk came first');
    const textsOf = (name: Lane): number =>
      batches.reduce((sum, { lane, texts }) => sum + (lane === name ? texts : 0), 0);
    t.same(lanes.map(textsOf), [1, 2, 3], 'what was cancelled costs nothing that had not begun');
    t.match(answers.get(1), { reason: 'DEADLINE_EXCEEDED' });
    t.match(answers.get(4), { reason: 'DEADLINE_EXCEEDED' });
    t.ok(isVectors(answers.get(2)) && isVectors(answers.get(3)));
  },
);

t.test('a run that fails beside refuses its own texts, after the answers of the one before', async (t) => {
  const good = beside();
  let runs = 0;
  const shapes: unknown[] = [];
  const { worker, answers, answered } = startWorker(pinned(), undefined, null, {
    ...good,
    run: async (texts, shape) => {
      runs += 1;
      shapes.push(shape);
      if (runs === 2) throw new Error('the device said no');
      return good.run(texts, shape);
    },
  });
  worker.add(1, piece('live', 1));
  worker.add(2, piece('shadow', 2));
  worker.add(3, piece('bulk', 1));
  await until('all are answered', () => answered() === 3, 60_000);
  t.ok(isVectors(answers.get(1)));
  t.match(answers.get(2), { reason: 'INTERNAL' });
  t.ok(isVectors(answers.get(3)));
  t.same(shapes[2], { texts: 1, tokens: 8 }, 'the known text that was tried then had a pinned shape');
});

t.test(
  'a text that cannot be tokenised, or has no token, is refused; what is beside it is not',
  async (t) => {
    for (const isBeside of [false, true]) {
      const good = beside();
      const model: WorkerSession = {
        ...good,
        isBeside,
        tokenizeOne: (text, role) => {
          if (text === 'not of this model') throw new SwitchyardError('INVALID_MODEL', 'a token has no id');
          const tokens = session.tokenizeOne(text, role);
          return text === 'nothing'
            ? { ...tokens, ids: new Int32Array(), typeIds: new Int32Array() }
            : tokens;
        },
      };
      const { worker, answers, answered, batches } = startWorker(sorted(), undefined, null, model);
      const texts = (...list: readonly string[]): Piece => ({ ...piece('live', 0), texts: list });
      worker.add(1, texts('a cat'));
      worker.add(2, texts('a cat', 'nothing', 'a cat'));
      worker.add(3, texts('not of this model'));
      worker.add(4, texts('with stripes'));
      worker.add(5, texts('nothing'));
      await until('all are answered', () => answered() === 5, 60_000);
      for (const [id, text] of [
        [1, 'a cat'],
        [4, 'with stripes'],
      ] as const) {
        const answer = answers.get(id);
        if (answer === undefined || !isVectors(answer)) throw new Error(`piece ${id} was refused`);
        const alone = await session.encode([text], 'query');
        t.ok(cosine(answer.values, 0, alone.values, 0, dimensions) >= 0.99999, text);
      }
      t.match(answers.get(2), { reason: 'EMPTY_QUERY' });
      t.match(answers.get(3), { reason: 'INVALID_MODEL' });
      t.match(answers.get(5), { reason: 'EMPTY_QUERY' });
      t.equal(
        batches.reduce((sum, { texts: count }) => sum + count, 0),
        2,
        'a text beside one that was refused costs nothing',
      );
    }
  },
);

t.test(
  'what goes wrong beside a run is not taken for a failed run: nothing more is run or answered',
  async (t) => {
    const good = beside((run) => {
      if (run === 1) worker.add(2, piece('live', 1, 'cannot be tokenised'));
    });
    let runs = 0;
    const broken: unknown[] = [];
    const model: WorkerSession = {
      ...good,
      tokenizeOne: (text, role) => {
        if (text === 'cannot be tokenised') throw new Error('a bug of the tokenizer');
        return session.tokenizeOne(text, role);
      },
      run: async (texts, shape) => {
        runs += 1;
        return good.run(texts, shape);
      },
    };
    const { worker, answered } = startWorker(pinned(), undefined, null, model, (error) => broken.push(error));
    worker.add(1, piece('live', 1));
    await until('it is broken', () => broken.length > 0);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    t.match(broken, [{ message: 'a bug of the tokenizer' }]);
    t.equal(runs, 1);
    t.equal(answered(), 0);
  },
);

t.test('vectors that are not as many as the texts are given to nobody', async (t) => {
  for (const isBeside of [true, false]) {
    const broken: unknown[] = [];
    const model: WorkerSession = {
      ...beside(),
      isBeside,
      run: async () => new Float32Array(dimensions),
    };
    const { worker, answered } = startWorker(pinned(), undefined, null, model, (error) => broken.push(error));
    worker.add(1, piece('live', 2));
    await until('it is broken', () => broken.length > 0);
    t.match(broken, [{ reason: 'INTERNAL', message: /a run of 2 texts gave 8 numbers/ }]);
    t.equal(answered(), 0);
  }
});
