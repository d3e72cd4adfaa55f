import fc from 'fast-check';
import t from 'tap';
import type { Piece, PieceVectors } from '../../src/encoder/child-protocol.js';
import type { WorkerSession } from '../../src/encoder/worker-session.js';
import { SwitchyardError } from '../../src/errors.js';
import { INPUT_ROLES, LANES, type Lane } from '../../src/vocabulary.js';
import { until } from '../process/wait.js';
import { cosine } from './start.js';
import { isVectors, piece, sorted, TOKENS_MAX, workerRig } from './worker-rig.js';

const { session, dimensions, startWorker, beside, pinned } = await workerRig(t);

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
    leavesOut: fc.boolean(),
    texts: fc.array(
      words.map((list) => list.join(' ')),
      { minLength: 1, maxLength: 12 },
    ),
  }),
  { minLength: 1, maxLength: 12 },
);

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
      worker.add(6, { ...texts('nothing', 'a cat', 'nothing', 'with stripes', 'nothing'), leavesOut: true });
      worker.add(7, { ...texts('nothing'), leavesOut: true });
      await until('all are answered', () => answered() === 7, 60_000);
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
      const left = answers.get(6);
      if (left === undefined || !isVectors(left)) throw new Error('nothing was left out');
      t.same([left.tokenCounts[0], left.tokenCounts[2], left.tokenCounts[4]], [0, 0, 0]);
      const [cat, stripes] = [left.tokenCounts[1], left.tokenCounts[3]];
      t.ok(cat !== undefined && cat > 0 && stripes !== undefined && stripes > 0, 'of the others nothing is');
      for (const [row, text] of [
        [1, 'a cat'],
        [3, 'with stripes'],
      ] as const) {
        const alone = await session.encode([text], 'query');
        t.ok(cosine(left.values, row, alone.values, 0, dimensions) >= 0.99999, text);
      }
      t.same([...((answers.get(7) as PieceVectors).tokenCounts ?? [])], [0]);
      t.equal(
        batches.reduce((sum, { texts: count }) => sum + count, 0),
        4,
        'a text beside one that was refused costs nothing',
      );
    }
  },
);
