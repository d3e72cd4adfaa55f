import { writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { readGoldenSet } from '../../src/lifecycle/evaluation/open-golden-set.js';
import { trecRun } from '../../src/lifecycle/evaluation/run-file.js';
import { checkGoldenQuery, goldenSetSha256 } from '../../src/registry/golden-sets.js';
import { TestRandom } from '../fixtures/random.js';
import { mutated } from '../fuzz/mutate.js';

const read = (place: string, more: { readonly qrels?: string; readonly split?: string } = {}) =>
  readGoldenSet({ place, qrels: more.qrels ?? null, split: more.split ?? null });
const refused = (message: RegExp) => ({ name: 'SwitchyardError', reason: 'INVALID_INPUT_FILE', message });

const QUERIES =
  '{"_id":"q1","text":"one","metadata":{}}\n{"_id":"q2","text":"two"}\n\n{"_id":"q3","text":"three"}\n';
const QRELS = 'query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td 3\t1\n';

t.test('a BEIR folder', async (t) => {
  const folder = t.testdir({
    'queries.jsonl': QUERIES,
    qrels: { 'test.tsv': QRELS, 'dev.tsv': 'q3\td9\t1\n' },
  });
  const golden = await read(folder);
  t.same(golden.queries, [
    {
      id: 'q1',
      text: 'one',
      judgements: new Map([
        ['d1', 2],
        ['d2', 0],
      ]),
    },
    { id: 'q2', text: 'two', judgements: new Map([['d 3', 1]]) },
  ]);
  t.equal(golden.unusedQueryCount, 1, 'of the other split');
  t.same(
    (await read(folder, { split: 'dev' })).queries.map(({ id }) => id),
    ['q3'],
  );
  await t.rejects(read(folder, { split: 'train' }), refused(/qrels: has no train.tsv; there are dev, test/));
});

t.test('TREC topics and qrels, as files and as a folder', async (t) => {
  const folder = t.testdir({
    'topics.tsv': '1\tone\n2\ttwo\twith a tab\n',
    'qrels.txt': '1 0 d1 1\n2 0 d2 3\n2 0 d1 -1\n',
    json: {
      'topics.jsonl': '{"id":"1","text":"one"}\n{"id":"2","text":"two\\twith a tab"}\n',
      'my.qrels': '2 Q0 d2 3\n1 Q0 d1 1\n2 Q0 d1 -1\n',
    },
  });
  const golden = await read(path.join(folder, 'topics.tsv'));
  t.same(golden.queries, [
    { id: '1', text: 'one', judgements: new Map([['d1', 1]]) },
    {
      id: '2',
      text: 'two\twith a tab',
      judgements: new Map([
        ['d2', 3],
        ['d1', -1],
      ]),
    },
  ]);
  t.same(await read(folder), golden);
  const json = await read(path.join(folder, 'json'));
  t.equal(goldenSetSha256(json.queries), goldenSetSha256(golden.queries), 'in another order it is the same');
});

t.test('Cranfield counts its queries by position, and its best grade is 1', async (t) => {
  const folder = t.testdir({
    'cran.qry': '.I 001\n.W\nwhat  similarity\nlaws .\n.I 004\n.W\nheat conduction\n',
    cranqrel: '1 184 1\n1 29 4\n1 12 -1\n2 7 2 \n',
  });
  t.same((await read(folder)).queries, [
    {
      id: '1',
      text: 'what  similarity laws .',
      judgements: new Map([
        ['184', 4],
        ['29', 1],
        ['12', 0],
      ]),
    },
    { id: '2', text: 'heat conduction', judgements: new Map([['7', 3]]) },
  ]);
});

t.test('what is wrong is refused, naming file and line', async (t) => {
  const beir = (queries: string, qrels: string) =>
    read(t.testdir({ 'queries.jsonl': queries, qrels: { 'test.tsv': qrels } }));
  const cases: readonly (readonly [string, string, string, RegExp])[] = [
    ['no JSON', '{"_id":', QRELS, /^queries.jsonl:1: is not valid JSON/],
    ['no object', '[]', QRELS, /^queries.jsonl:1: must be a JSON object/],
    ['a number for an id', '{"_id":1,"text":"one"}', QRELS, /^queries.jsonl:1: _id must be a string/],
    ['no text', '{"_id":"q1","text":" "}', QRELS, /^queries.jsonl:1: query "q1" has no text/],
    ['twice', `${QUERIES}{"_id":"q1","text":"x"}`, QRELS, /^queries.jsonl:5: query "q1" is there twice/],
    ['two columns', QUERIES, 'q1\td1\n', /^test.tsv:1: must have three columns/],
    ['blanks for tabs', QUERIES, 'q1 d1 1\n', /^test.tsv:1: must have three columns/],
    [
      'a share for a grade',
      QUERIES,
      `${QRELS}q3\td1\t0.5\n`,
      /^test.tsv:5: grade "0.5" must be a whole number/,
    ],
    ['an unknown query', QUERIES, `${QRELS}q9\td1\t1\n`, /^test.tsv:5: there is no query "q9"/],
    [
      'two grades',
      QUERIES,
      `${QRELS}q1\td1\t1\n`,
      /^test.tsv:5: document "d1" has grade 2 and 1 for query "q1"/,
    ],
    ['nothing relevant', QUERIES, 'q1\td1\t0\n', /no query has a relevant document/],
  ];
  for (const [what, queries, qrels, message] of cases)
    await t.rejects(beir(queries, qrels), refused(message), what);
  await t.rejects(read(t.testdir({ 'notes.txt': 'x' })), refused(/expected queries.jsonl/));
  await t.rejects(read('/nowhere/at/all'), refused(/no such file or folder/));
  const trec = t.testdir({ 'topics.tsv': 'no tab here\n', 'qrels.txt': '1 0 d1 1\n' });
  await t.rejects(read(trec), refused(/^topics.tsv:1: must be the id/));
  const bytes = t.testdir({ 'topics.tsv': Buffer.from([0xff, 0xfe, 0x41]), 'qrels.txt': '1 0 d1 1\n' });
  await t.rejects(read(bytes), refused(/^topics.tsv: is not valid UTF-8/));
  const lone = t.testdir({ 'topics.tsv': '1\tone\n' });
  await t.rejects(read(path.join(lone, 'topics.tsv')), refused(/name them with --qrels/));
});

t.test('a run has six columns, and refuses an id that would have two', async (t) => {
  const ranked = new Map([
    [
      'q1',
      [
        { id: 'a', score: 0.5 },
        { id: 'b', score: 0.25 },
      ],
    ],
  ]);
  t.equal(trecRun(ranked, 'docs/v1'), 'q1 Q0 a 1 0.5 docs/v1\nq1 Q0 b 2 0.25 docs/v1\n');
  const wrong = new Map([['q 1', [{ id: 'a', score: 1 }]]]);
  t.throws(() => trecRun(wrong, 't'), /has blanks/);
});

t.test('whatever the bytes, it is a golden set that can be stored or a refusal of the file', async (t) => {
  const random = new TestRandom(7);
  const forms: Readonly<Record<string, readonly [string, string, string, string]>> = {
    beir: ['queries.jsonl', QUERIES, 'qrels/test.tsv', QRELS],
    trec: ['topics.tsv', '1\tone\n2\ttwo\n', 'qrels.txt', '1 0 d1 1\n2 0 d2 3\n'],
    cranfield: ['cran.qry', '.I 001\n.W\nwhat\n.I 004\n.W\nheat\n', 'cranqrel', '1 184 1\n2 7 2\n'],
  };
  const counts = { read: 0, refused: 0 };
  for (const [name, [queryFile, queries, qrelFile, qrels]] of Object.entries(forms)) {
    const folder = t.testdir({ [name]: { qrels: {} } });
    const write = (file: string, bytes: Buffer): void => writeFileSync(path.join(folder, name, file), bytes);
    for (let round = 0; round < 120; round++) {
      const seeds = [Buffer.from(queries), Buffer.from(qrels)];
      write(queryFile, random.below(2) === 0 ? mutated(seeds, random) : Buffer.from(queries));
      write(qrelFile, random.below(2) === 0 ? mutated(seeds.reverse(), random) : Buffer.from(qrels));
      try {
        const golden = await read(path.join(folder, name));
        for (const query of golden.queries) checkGoldenQuery(query);
        counts.read++;
      } catch (error) {
        counts.refused++;
        if (!(error instanceof SwitchyardError) || error.reason !== 'INVALID_INPUT_FILE')
          t.fail(`${name}, round ${round}: ${error}`);
      }
    }
  }
  t.ok(counts.read > 40 && counts.refused > 40, JSON.stringify(counts));
});
