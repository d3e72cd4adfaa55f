import pg from 'pg';
import t from 'tap';
import type { QueryScores } from '../../src/registry/evaluations.js';
import { type GoldenQuery, goldenSetSha256, parseGoldenSetName } from '../../src/registry/golden-sets.js';
import type { Registry } from '../../src/registry/registry.js';
import { onEachPostgres } from '../fixtures/each-postgres.js';
import { startTestRegistry } from '../fixtures/postgres.js';
import { AUTHOR, readyVersion, refused, registerModel, violates } from '../registry/registry-fixtures.js';

const query = (id: string, text = `text of ${id}`): GoldenQuery => ({
  id,
  text,
  judgements: new Map([
    ['d1', 1],
    ['d2', 0],
  ]),
});
const QUERIES = Array.from({ length: 1_201 }, (_, at) => query(`q${at}`));
const scoresOf = (value: number): QueryScores => ({
  recall: value,
  mrr: value,
  ndcg: value,
  map: value,
  judged: 1,
});

async function psql(registry: Registry, statement: string): Promise<unknown> {
  const client = new pg.Client(registry.connection);
  await client.connect();
  try {
    return await client.query(statement);
  } finally {
    await client.end();
  }
}

onEachPostgres(t, async (t, postgres) => {
  const registry = await startTestRegistry(t, { postgres });
  const { goldenSets, evaluations, changes } = registry;

  await t.test('a golden set is a version by its content', async (t) => {
    const first = await goldenSets.add('faq', QUERIES, 'faq.jsonl', AUTHOR);
    t.match(first, { name: 'faq', number: 1, queryCount: 1_201, judgementCount: 2_402, source: 'faq.jsonl' });
    t.equal(first.contentSha256, goldenSetSha256(QUERIES));
    const again = await goldenSets.add('faq', [...QUERIES].reverse(), 'elsewhere', AUTHOR);
    t.same(again, first, 'the same content in another order is the same version');
    const second = await goldenSets.add('faq', QUERIES.slice(1), 'less', AUTHOR);
    t.equal(second.number, 2);
    t.same(
      (await goldenSets.list({ name: 'faq' })).map(({ number }) => number),
      [2, 1],
    );
    t.same(await goldenSets.get('faq', null), second);
    t.same(await goldenSets.get('faq', 1), first);
    await t.rejects(goldenSets.get('faq', 3), refused('UNKNOWN_GOLDEN_SET'));
    await t.rejects(goldenSets.get('nothing', null), refused('UNKNOWN_GOLDEN_SET'));
    const all = await goldenSets.allQueries(first.goldenSetId);
    t.equal(all.length, 1_201);
    t.equal(goldenSetSha256(all), first.contentSha256, 'what comes out is what went in');
    const audited = (await changes.list()).filter(({ subject }) => subject.startsWith('golden_set'));
    t.match(audited, [
      { subject: 'golden_set faq@2', ...AUTHOR },
      { subject: 'golden_set faq@1', before: null, after: { queries: 1_201 } },
    ]);
  });

  await t.test('nothing is seen of one that is not whole', async (t) => {
    const announced = goldenSetSha256([query('a'), query('b')]);
    await goldenSets.addQueries('part', announced, [query('a')]);
    t.same(await goldenSets.list({ name: 'part' }), []);
    await t.rejects(goldenSets.seal('part', announced, '', AUTHOR), refused('INVALID_ARGUMENT'));
    await goldenSets.addQueries('part', announced, [query('a'), query('b')]);
    const [one, other] = await Promise.all([
      goldenSets.seal('part', announced, '', AUTHOR),
      goldenSets.seal('part', announced, '', AUTHOR),
    ]);
    t.same(one, other, 'sealed twice it is sealed once');
    await t.rejects(goldenSets.addQueries('part', announced, [query('c')]), refused('STATUS_CONFLICT'));
  });

  await t.test('what no figure can be taken from is refused', async (t) => {
    const bad = (broken: Partial<GoldenQuery>) =>
      goldenSets.add('bad', [{ ...query('a'), ...broken }], '', AUTHOR);
    for (const broken of [
      { id: '' },
      { text: ' ' },
      { judgements: new Map([['d1', 0]]) },
      { judgements: new Map([['d1', 0.5]]) },
      { judgements: new Map([['', 1]]) },
    ])
      await t.rejects(bad(broken), refused('INVALID_ARGUMENT'));
    await t.rejects(goldenSets.add('Bad Name', QUERIES, '', AUTHOR), refused('INVALID_ARGUMENT'));
    await t.rejects(
      goldenSets.add('bad', QUERIES, '', { actor: ' ', reason: 'x' }),
      refused('INVALID_ARGUMENT'),
    );
    t.same(parseGoldenSetName('faq@12'), { name: 'faq', number: 12 });
    for (const wrong of ['faq@', 'faq@0', 'a@1@2', '../x', 'x'.repeat(70)])
      t.throws(() => parseGoldenSetName(wrong), refused('INVALID_ARGUMENT') as unknown as Error);
  });

  await t.test('an evaluation has scores of every query, and of no other', async (t) => {
    const model = await registerModel(registry, 'minilm');
    const { digest } = await readyVersion(registry, 'docs', 'v1', model);
    const { goldenSetId } = await goldenSets.get('part', 1);
    const place = { corpus: 'docs', version: 'v1', build: digest, goldenSetId, k: 10, depth: 100 };
    const begun = await evaluations.begin({ ...place, gain: 'graded' });
    await t.rejects(evaluations.get(begun), refused('UNKNOWN_EVALUATION'), 'before it is finished');
    await evaluations.addScores(begun, new Map([['a', scoresOf(0.5)]]));
    await t.rejects(evaluations.finish(begun, AUTHOR), refused('INVALID_ARGUMENT'), 'b is missing');
    await evaluations.addScores(begun, new Map([['b', scoresOf(1)]]));
    const finished = await evaluations.finish(begun, AUTHOR);
    t.match(finished, {
      corpus: 'docs',
      version: 'v1',
      build: digest,
      modelRef: 'minilm@1',
      goldenSet: { name: 'part', number: 1 },
      means: { ndcg: 0.75, judged: 1 },
      queryCount: 2,
    });
    t.same(await evaluations.finish(begun, AUTHOR), finished, 'finished twice it is finished once');
    t.same(
      await evaluations.scores(begun),
      new Map([
        ['a', scoresOf(0.5)],
        ['b', scoresOf(1)],
      ]),
    );
    await t.rejects(evaluations.addScores(begun, new Map([['c', scoresOf(1)]])), refused('STATUS_CONFLICT'));

    const foreign = new Map([
      ['a', scoresOf(0)],
      ['b', scoresOf(0)],
      ['z', scoresOf(0)],
    ]);
    await t.rejects(
      evaluations.record({ ...place, gain: 'graded' }, foreign, AUTHOR),
      refused('INVALID_ARGUMENT'),
    );
    const beyond = new Map([
      ['a', scoresOf(1.5)],
      ['b', scoresOf(0)],
    ]);
    await t.rejects(
      evaluations.record({ ...place, gain: 'graded' }, beyond, AUTHOR),
      refused('INVALID_ARGUMENT'),
    );
    await t.rejects(
      evaluations.begin({ ...place, version: 'v9', gain: 'graded' }),
      refused('UNKNOWN_CORPUS_VERSION'),
    );
    await t.rejects(evaluations.get('no-id'), refused('UNKNOWN_EVALUATION'));
    t.equal((await evaluations.list({ corpus: 'docs' })).length, 1);
    t.match(await changes.list({ subject: 'evaluation docs/v1' }), [{ after: { golden_set: 'part@1' } }]);
  });

  await t.test('neither changes afterwards, not even by hand', async (t) => {
    const fixed: readonly (readonly [string, string])[] = [
      [`UPDATE golden_sets SET source = 'x'`, 'golden_set_fixed'],
      ['DELETE FROM golden_sets', 'golden_set_fixed'],
      [`UPDATE golden_queries SET text = 'x'`, 'golden_set_fixed'],
      ['DELETE FROM golden_queries', 'golden_set_fixed'],
      [`UPDATE evaluations SET k = 3 WHERE finished_at IS NOT NULL`, 'evaluation_fixed'],
      ['DELETE FROM evaluations WHERE finished_at IS NOT NULL', 'evaluation_fixed'],
      ['UPDATE evaluation_scores SET ndcg = 1', 'evaluation_fixed'],
      [
        `INSERT INTO evaluation_scores SELECT evaluation_id, 'new', 1, 1, 1, 1, 1 FROM evaluations WHERE finished_at IS NOT NULL`,
        'evaluation_fixed',
      ],
      ['TRUNCATE evaluation_scores', 'evaluation_fixed'],
      ['TRUNCATE golden_queries', 'golden_set_fixed'],
    ];
    for (const [statement, rule] of fixed)
      await t.rejects(psql(registry, statement), violates(rule), statement);
  });
});
