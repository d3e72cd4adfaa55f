import t from 'tap';
import { queryOf, rowOf, temporaryFolder, testCorpus } from '../index/corpus.js';
import { until } from '../process/wait.js';
import { build, openBuilt, reasonOf, startProcesses } from './start.js';

const corpus = testCorpus(1, 100);

t.test(
  'whatever a broken process says, the search fails, the gateway lives, and it is restarted',
  async (t) => {
    const program = new URL('./broken-child.js', import.meta.url);
    const { processes, logs } = startProcesses(t, { program });
    const index = await openBuilt(processes, await build(temporaryFolder(t), corpus));
    const says = [
      [1, 'another shape'],
      [2, 'cannot be read'],
      [3, 'was not asked'],
      [4, 'unknown kind 99'],
      [5, 'another shape'],
      [6, 'cannot be read'],
      [7, 'not a frame'],
    ] as const;
    for (const [topK, complaint] of says) {
      const restarts = index.restarts;
      t.equal(
        await reasonOf(index.search(queryOf(rowOf(corpus, 0), { topK }))),
        'INDEX_UNAVAILABLE',
        complaint,
      );
      await until('restarted', () => index.restarts === restarts + 1 && index.state.kind === 'ready');
      t.match(logs.at(-2), complaint);
    }
  },
);
