import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import t from 'tap';
import { MINILM_PACKAGE } from '../../src/encoder/import/minilm.js';
import { findPackage } from '../../src/encoder/import/npm-package.js';
import { TextTokenizer } from '../../src/encoder/tokenizer.js';
import { asciiPartsOf, isWordByWord, WordMemo } from '../../src/encoder/word-memo.js';
import { wordNetGlosses } from '../fixtures/glosses.js';

type Json = Readonly<Record<string, unknown>>;

const file = path.join(findPackage(MINILM_PACKAGE), 'model', 'tokenizer.json');
const json = JSON.parse(await readFile(file, 'utf8')) as Json;
const idsBy =
  (of: Json) =>
  (text: string): readonly number[] =>
    library(of).encode(text, { add_special_tokens: false }).ids;
const opened = new Map<Json, InstanceType<typeof Tokenizer>>();
function library(of: Json): InstanceType<typeof Tokenizer> {
  const known = opened.get(of) ?? new Tokenizer(of, {});
  opened.set(of, known);
  return known;
}

/** What comes before and after blanks, at word ends and in the middle of words, and changes how neighbours are read. */
const awkward = fc.constantFrom(
  ...[
    'a',
    'Σ',
    'ΟΔΟΣ',
    'İ',
    'ß',
    'ﬁ',
    'e\u0301',
    '\u0301',
    '\u0345',
    '한',
    '東京',
    '\u{20000}',
    '🙂',
    '👩‍👩‍👧',
  ],
  ...['\u0000', '\u200b', '\ufeff', '\u00ad', '\ufffd', '\u0085', '\u00a0', '\u2028', '\u3000', '\u000b'],
  ...['[CLS]', '[SEP', ']', '[MASK]', "'", '.', '—', '##', '##ing', 'x'.repeat(101), 'running', 'House,'],
);
const blank = fc.constantFrom(' ', ' ', '  ', '\n', '\t', '\r\n', '');
const text = fc
  .array(fc.oneof(awkward, blank, fc.string({ unit: 'binary', maxLength: 4 })), { maxLength: 24 })
  .map((parts) => parts.join('').replace(/\p{Surrogate}/gu, '\ufffd'));

const normalizer = json.normalizer as Json;
const variants: Readonly<Record<string, Json>> = {
  'of MiniLM': json,
  'that keeps case and accents': {
    ...json,
    normalizer: { ...normalizer, lowercase: false, strip_accents: null },
  },
  'that strips accents alone': {
    ...json,
    normalizer: { ...normalizer, lowercase: false, strip_accents: true },
  },
  'that cleans nothing': {
    ...json,
    normalizer: { ...normalizer, clean_text: false, handle_chinese_chars: false },
  },
};

for (const [name, variant] of Object.entries(variants))
  t.test(`the words of a text give the tokens of the text, with a tokenizer ${name}`, async (t) => {
    t.ok(isWordByWord(variant));
    const idsOf = idsBy(variant);
    // So small that it forgets all the time, and one that remembers everything.
    const memos = [new WordMemo(idsOf, 2_000), new WordMemo(idsOf, 1 << 24)];
    fc.assert(
      fc.property(text, (given) => {
        const wanted = idsOf(given);
        for (const memo of memos)
          for (let time = 0; time < 2; time++)
            if (JSON.stringify(memo.encode(given)) !== JSON.stringify(wanted))
              throw new Error(`${JSON.stringify(given)}: ${memo.encode(given)} / ${wanted}`);
      }),
      { numRuns: 800, seed: 20_261_126 },
    );
  });

t.test('2 000 real texts give the tokens of the library, at the first time and at the second', async (t) => {
  const idsOf = idsBy(json);
  const memo = new WordMemo(idsOf, 1 << 20);
  const glosses = await wordNetGlosses(2_000);
  const different = [...glosses, ...glosses].filter(
    (gloss) => JSON.stringify(memo.encode(gloss)) !== JSON.stringify(idsOf(gloss)),
  );
  t.same(different, []);
});

t.test('a word is tokenised once, is forgotten for others, and what is used stays', async (t) => {
  const asked: string[] = [];
  const bytesMax = 10_000;
  const memo = new WordMemo((word) => {
    asked.push(word);
    return [word.length, 7];
  }, bytesMax);
  t.same(memo.encode('cat  dog\ncat'), [3, 7, 3, 7, 3, 7]);
  t.same(asked, ['cat', 'dog']);
  for (let at = 0; at < 1_000; at++) {
    memo.encode(`cat w${at}`);
    t.ok(memo.bytes <= bytesMax);
  }
  t.equal(asked.filter((word) => word === 'cat').length, 1);
  t.equal(asked.length, 1_002);
  memo.encode('dog');
  t.equal(asked.length, 1_003);
  const long = 'x'.repeat(65);
  memo.encode(`${long} ${long}`);
  t.equal(asked.filter((word) => word === long).length, 2, 'what is longer than words are is not kept');
});

t.test('a tokenizer that may look across blanks is not taken word by word', async (t) => {
  const added = (json.added_tokens as Json[])[0] as Json;
  const others: Readonly<Record<string, Json>> = {
    'another normaliser': { ...json, normalizer: { type: 'Lowercase' } },
    'no normaliser': { ...json, normalizer: null },
    'another splitter': { ...json, pre_tokenizer: { type: 'Metaspace' } },
    'another model': { ...json, model: { type: 'BPE' } },
    'an added token with a blank': { ...json, added_tokens: [{ ...added, content: 'New York' }] },
    'no list of added tokens': { ...json, added_tokens: null },
    nothing: {},
  };
  for (const [name, other] of Object.entries(others)) t.notOk(isWordByWord(other), name);
});

t.test('the parts of ASCII words that are in the vocabulary are their own tokens', async (t) => {
  for (const [name, variant] of Object.entries(variants)) {
    const bytes = Buffer.from(JSON.stringify(variant));
    const tokenizer = TextTokenizer.fromJson(bytes, 'tokenizer.json', 256);
    const idsOf = idsBy(variant);
    const same = (given: string): void => {
      const got = [...tokenizer.encode(given).ids.subarray(1, -1)];
      if (JSON.stringify(got) !== JSON.stringify(idsOf(given)))
        throw new Error(`${name}: ${JSON.stringify(given)}: ${got} / ${idsOf(given)}`);
    };
    const step = variant === json ? 1 : 20;
    const words = Object.keys((json.model as { readonly vocab: object }).vocab);
    for (let at = 0; at < words.length; at += step) same(words[at] as string);
    const character = fc.oneof(
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 1 }),
      awkward,
      blank,
    );
    const ascii = fc.array(fc.oneof(fc.constantFrom('cat', 'House', 'running', 'x1'), character), {
      maxLength: 20,
    });
    fc.assert(
      fc.property(ascii, (parts) => same(parts.join(''))),
      { numRuns: 800, seed: 20_261_126 },
    );
  }
  t.pass();
});

t.test('a word is not taken apart where another rule may take it', async (t) => {
  const partsOf = asciiPartsOf(json);
  t.same(partsOf('(House-cat,'), ['(', 'house', '-', 'cat', ',']);
  for (const word of ['[CLS]', 'a[', 'é', 'a\u0000', '', 'x'.repeat(101)])
    t.equal(partsOf(word), null, JSON.stringify(word));
  const added = (json.added_tokens as Json[])[0] as Json;
  t.equal(asciiPartsOf({ ...json, added_tokens: [{ ...added, content: 'ous' }] })('house'), null);
  const short = { ...(json.model as Json), max_input_chars_per_word: 3 };
  t.equal(asciiPartsOf({ ...json, model: short })('house'), null);
  t.same(asciiPartsOf(variants['that keeps case and accents'] as Json)('House'), ['House']);
});
