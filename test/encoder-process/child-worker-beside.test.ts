import t from 'tap';
import { LOOKAHEAD_TEXTS } from '../../src/encoder/batching.js';
import type { WorkerSession } from '../../src/encoder/worker-session.js';
import type { Lane } from '../../src/vocabulary.js';
import { until } from '../process/wait.js';
import { isVectors, piece, sorted, workerRig } from './worker-rig.js';

const { session, dimensions, startWorker, beside, pinned } = await workerRig(t);

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
t.test('a piece whose first texts are in a run is not thrown away, however long it waited', async (t) => {
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const slow = beside();
  let runs = 0;
  const model: WorkerSession = {
    ...slow,
    run: async (texts, shape) => {
      runs += 1;
      if (runs > 1) return slow.run(texts, shape);
      await turn();
      // More texts than are tokenised ahead, so that it waits for its tokens while its first texts are run.
      worker.add(2, piece('live', LOOKAHEAD_TEXTS + 50, 'cat'));
      worker.add(3, piece('live', 1, 'cat'));
      // The next run begins with a queue that stands.
      const endMs = performance.now() + 150;
      while (performance.now() < endMs) await turn();
      return slow.run(texts, shape);
    },
  };
  const { worker, answers, answered } = startWorker(sorted(), undefined, { targetMs: 0, maxMs: 1 }, model);
  worker.add(1, piece('live', 1));
  await until('all are answered', () => answered() === 3);
  const [begun, other] = [answers.get(2), answers.get(3)];
  t.match(other, { reason: 'OVERLOADED' }, 'what has not begun is');
  t.ok(isVectors(begun), JSON.stringify(begun));
  if (isVectors(begun)) t.equal(begun.tokenCounts.length, LOOKAHEAD_TEXTS + 50);
});
