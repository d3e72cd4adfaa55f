import t from 'tap';
import type { VersionSearch } from '../../src/lifecycle/evaluation/version-search.js';
import { lookAtGoldenSet } from '../../src/lifecycle/migration/golden-look.js';
import type { GoldenRequest } from '../../src/lifecycle/migration/ports.js';
import type { Digest } from '../../src/vocabulary.js';
import { startTestRegistry } from '../fixtures/postgres.js';

const VERIFIED = 'b'.repeat(64) as Digest;
const OTHER = 'c'.repeat(64) as Digest;

t.test('a golden set judges no other build than the one that was verified', async (t) => {
  const registry = await startTestRegistry(t);
  const query = { id: 'q1', text: 'a text', judgements: new Map([['d1', 1]]) };
  await registry.goldenSets.add('docs', [query], 'a test', { actor: 'tester', reason: 'a test' });
  const asked: string[] = [];
  const answeringBy = (build: string): VersionSearch => ({
    search: async (_text, version) => {
      asked.push(version);
      return { hits: [{ id: 'd1', score: 1 }], servedBy: { build, model: 'm@1', fingerprint: 'mf1_0' } };
    },
  });
  const request: GoldenRequest = {
    ...{ corpus: 'docs', fromVersion: 'v1', toVersion: 'v2', toBuild: VERIFIED },
    ...{ goldenSet: null, metric: 'ndcg@10' as const, margin: 0.02, looks: 2 },
  };
  const work = { signal: new AbortController().signal, onProgress: () => {} };
  await t.rejects(lookAtGoldenSet(registry, answeringBy(OTHER.slice(0, 16)), request, work), {
    reason: 'STATUS_CONFLICT',
    message: /build c{16} of docs\/v2 .* but b{16} was verified: nothing was judged/,
  });
  t.same([...new Set(asked)], ['v2'], 'the old version was not asked in vain');
  // The verified one goes on, to the build's record, of which this registry has none.
  await t.rejects(lookAtGoldenSet(registry, answeringBy(VERIFIED.slice(0, 16)), request, work), {
    name: 'SwitchyardError',
    reason: /^UNKNOWN_/,
  });
});
