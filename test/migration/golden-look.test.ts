import t from 'tap';
import type { VersionSearch } from '../../src/lifecycle/evaluation/version-search.js';
import { lookAtGoldenSet } from '../../src/lifecycle/migration/golden-look.js';
import type { GoldenRequest } from '../../src/lifecycle/migration/ports.js';
import { CORPUS, makeYard } from '../control/yard.js';

const OTHER = 'c'.repeat(64);

t.test('a golden set judges no other builds than those that are migrated', async (t) => {
  const { registry } = await makeYard(t);
  const query = { id: 'q1', text: 'a text', judgements: new Map([['d1', 1]]) };
  await registry.goldenSets.add(CORPUS, [query], 'a test', { actor: 'tester', reason: 'a test' });
  const [v1, v2] = await Promise.all(
    ['v1', 'v2'].map(async (version) => (await registry.builds.get({ corpus: CORPUS, version })).digest),
  );
  if (v1 === undefined || v2 === undefined) throw new Error('the yard has both versions');
  const asked: string[] = [];
  /** Over HTTP a digest is cut to a prefix. */
  const answeringBy = (builds: Readonly<Record<string, string>>): VersionSearch => ({
    search: async (_text, version) => {
      asked.push(version);
      const build = (builds[version] ?? '').slice(0, 16);
      return { hits: [{ id: 'd1', score: 1 }], servedBy: { build, model: 'm@1', fingerprint: 'mf1_0' } };
    },
  });
  const request: GoldenRequest = {
    ...{ corpus: CORPUS, fromVersion: 'v1', toVersion: 'v2', fromBuild: v1, toBuild: v2 },
    ...{ goldenSet: null, metric: 'ndcg@10' as const, margin: 0.02, looks: 2 },
  };
  const work = { signal: new AbortController().signal, onProgress: () => {} };
  const look = (builds: Readonly<Record<string, string>>) =>
    lookAtGoldenSet(registry, answeringBy(builds), request, work);
  await t.rejects(look({ v1, v2: OTHER }), {
    reason: 'STATUS_CONFLICT',
    message: /build c{16} of docs\/v2 .* nothing was judged/,
  });
  t.same([...new Set(asked)], ['v2'], 'the old version was not asked in vain');
  await t.rejects(look({ v1: OTHER, v2 }), {
    reason: 'STATUS_CONFLICT',
    message: new RegExp(`build c{16} of docs/v1 .* but ${v1.slice(0, 16)} is the one that is migrated`),
  });
  t.match(await look({ v1, v2 }), { golden_set: 'docs@1', query_count: 1, difference: 0 });
  const written = await registry.evaluations.list({ corpus: CORPUS });
  t.same(
    [...new Set(written.map(({ build }) => build))].sort(),
    [v1, v2].sort(),
    'under their whole digests',
  );
});
