import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import {
  parseGloss,
  parseSynset,
  WORDNET_TEMPLATE,
  writeWordnetGoldenSet,
  writeWordnetJsonl,
} from '../../bench/data/wordnet.js';
import { compileTemplate } from '../../src/lifecycle/document-text.js';
import { readGoldenSet } from '../../src/lifecycle/evaluation/open-golden-set.js';

t.test('a line of data.noun becomes a synset with its lemmas and gloss', async (t) => {
  const line =
    '02129604 05 n 02 tiger 0 Panthera_tigris 0 002 @ 02127808 n 0000 #m 02127808 n 0000 | large feline of forests | in most of Asia';
  t.same(parseSynset(line, ['noun.animal']), {
    id: 'tiger.n.02129604',
    lemmas: ['tiger', 'Panthera tigris'],
    gloss: 'large feline of forests | in most of Asia',
    examples: [],
    hypernymOffset: '02127808',
    lexicographerFile: 'noun.animal',
  });
  t.equal(parseSynset(line, ['noun.food']), null);
  t.equal(parseSynset('  1 This software and database is being provided', ['noun.food']), null);
});

t.test('the two lexicographer files give about ten thousand synsets with unique ids', async (t) => {
  const file = path.join(t.testdir({}), 'wordnet.jsonl');
  const count = await writeWordnetJsonl(file, ['noun.animal', 'noun.food']);
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const ids = new Set(lines.map((line) => (JSON.parse(line) as { id: string }).id));
  t.equal(lines.length, count);
  t.equal(ids.size, count);
  t.ok(count > 9_500, `${count} synsets`);
  const tiger = lines.map((line) => JSON.parse(line)).find(({ id }) => id.startsWith('tiger.n.0213'));
  t.equal(tiger?.attributes.kind, 'big cat');
  t.ok([...ids].some((id) => id.startsWith('tiger.n.')));
});

t.test('a gloss is its definitions, and the sentences that show the word in use', async (t) => {
  for (const [gloss, definition, examples] of [
    ['a sweet fruit', 'a sweet fruit', []],
    ['a; b; "one; two"; "three"', 'a; b', ['one; two', 'three']],
    [
      'the act of putting: "he sent Smith in for Jones"',
      'the act of putting',
      ['he sent Smith in for Jones'],
    ],
    ['woven of yarns "he wore a worsted suit"', 'woven of yarns', ['he wore a worsted suit']],
    [
      'reward as in "carrot and stick"; "used the carrot"',
      'reward as in "carrot and stick"',
      ['used the carrot'],
    ],
    ['a saying; "all is vanity" - Ecclesiastes', 'a saying', ['all is vanity']],
    ['the "king" of beasts', 'the "king" of beasts', []],
  ] as const)
    t.same(parseGloss(gloss), { gloss: definition, examples }, gloss);
});

t.test('the example sentences are a golden set, and no document is embedded with its own', async (t) => {
  const folder = t.testdir({});
  const files = ['noun.animal', 'noun.food'] as const;
  const count = await writeWordnetGoldenSet(folder, files);
  const { queries, unusedQueryCount } = await readGoldenSet({ place: folder, qrels: null, split: null });
  t.equal(queries.length, count);
  t.equal(unusedQueryCount, 0);
  t.ok(count > 120, `${count} sentences`);
  await writeWordnetJsonl(path.join(folder, 'wordnet.jsonl'), files);
  const render = compileTemplate(WORDNET_TEMPLATE);
  const embedded = new Map(
    readFileSync(path.join(folder, 'wordnet.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
      .map((document): [string, string] => [document.id, render(document)]),
  );
  for (const { text, judgements } of queries)
    for (const id of judgements.keys()) {
      const document = embedded.get(id);
      if (document === undefined || document.includes(text))
        t.fail(`${id} gives its sentence away: ${document}`);
    }
  const mule = queries.find(({ text }) => text === 'a hinny has a gentler disposition than a mule');
  t.match([...(mule?.judgements.keys() ?? [])], [/^hinny\.n\./]);
});
