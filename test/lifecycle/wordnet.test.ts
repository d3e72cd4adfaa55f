import { readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parseSynset, writeWordnetJsonl } from '../../demo/wordnet.js';

t.test('a line of data.noun becomes a synset with its lemmas and gloss', async (t) => {
  const line =
    '02129604 05 n 02 tiger 0 Panthera_tigris 0 002 @ 02127808 n 0000 #m 02127808 n 0000 | large feline of forests | in most of Asia';
  t.same(parseSynset(line, ['noun.animal']), {
    id: 'tiger.n.02129604',
    lemmas: ['tiger', 'Panthera tigris'],
    gloss: 'large feline of forests | in most of Asia',
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
