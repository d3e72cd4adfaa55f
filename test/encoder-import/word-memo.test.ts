import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import t from 'tap';
import { MINILM_PACKAGE } from '../../src/encoder/import/minilm.js';
import { findPackage } from '../../src/encoder/import/npm-package.js';
import {
  addedTokenFinder,
  asciiPartsOf,
  isWordByWord,
  rememberingWords,
} from '../../src/encoder/remembered-words.js';
import { WordMemo } from '../../src/encoder/word-memo.js';
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

const remembering = (of: Json, bytesMax: number): ((text: string) => readonly number[]) => {
  const memo = rememberingWords(library(of), of, bytesMax);
  return (text) => memo.encode(text, { add_special_tokens: false }).ids;
};

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
  ...[
    '\u0000',
    '\u200b',
    '\ufeff',
    '\u00ad',
    '\ufffd',
    '\u0085',
    '\u00a0',
    '\u2028',
    '\u3000',
    '\u000b',
    '\f',
  ],
  ...['[CLS]', '[SEP', ']', '[MASK]', "'", '.', '—', '##', '##ing', 'x'.repeat(101), 'running', 'House,'],
  ...[
    '<s>',
    '<S>',
    '</S>',
    '<PAD>',
    '<mask>',
    '<MASK>',
    '<',
    '>',
    's',
    'S',
    '≮s≯',
    '[SE\u00adP]',
    '[MA\u200dSK]',
  ],
  ...['[\u0000CLS]', '[Mask]', 'Tag', '#TAG', '#tag', '@K', '@\u212a', '#T\u0000ag', '[SEP]<S>[SEP]'],
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
  'that lowers case and keeps accents': {
    ...json,
    normalizer: { ...normalizer, lowercase: true, strip_accents: false },
  },
  'without added tokens': { ...json, added_tokens: [] },
  'of short words': { ...json, model: { ...(json.model as Json), max_input_chars_per_word: 4 } },
  'whose length of words is left to the library': {
    ...json,
    model: { ...(json.model as Json), max_input_chars_per_word: null },
  },
  "with BERT's own post-processor": {
    ...json,
    post_processor: { type: 'BertProcessing', sep: ['[SEP]', 102], cls: ['[CLS]', 101] },
  },
  'that knows no single letter': {
    ...json,
    model: { ...(json.model as Json), vocab: withoutLetters((json.model as { readonly vocab: Json }).vocab) },
  },
  "with MPNet's special tokens": { ...json, added_tokens: [...angled(''), ...angled('/')] },
  "with MPNet's special tokens, that keeps case": {
    ...json,
    normalizer: { ...normalizer, lowercase: false, strip_accents: null },
    added_tokens: [...angled(''), ...angled('/')],
  },
  'with added tokens that are normalised': {
    ...json,
    added_tokens: [
      ...(json.added_tokens as Json[]),
      { id: 30_600, content: '#Tag', normalized: true, special: false },
      { id: 30_601, content: '#TAG', normalized: true, special: false },
      { id: 30_602, content: '@k', normalized: true, special: false, rstrip: true },
      { id: 30_603, content: 'Tag', normalized: false, special: false },
    ],
  },
};

/** Of a vocabulary what is longer than one character, so that a word may have no pieces. */
function withoutLetters(vocabulary: Json): Json {
  return Object.fromEntries(
    Object.entries(vocabulary).filter(([token]) => token.replace(/^##/u, '').length > 1),
  );
}

/** `<s>`, `<pad>` and `<mask>`, which MPNet's tokenizer has in a vocabulary of lowercase words. */
function angled(slash: string): Json[] {
  return ['s', 'pad', 'mask'].map((name, at) => ({
    id: 30_700 + at + (slash === '' ? 0 : 10),
    content: `<${slash}${name}>`,
    single_word: false,
    lstrip: name === 'mask',
    rstrip: false,
    normalized: false,
    special: true,
  }));
}

for (const [name, variant] of Object.entries(variants))
  t.test(`the words of a text give the tokens of the text, with a tokenizer ${name}`, async (t) => {
    t.ok(isWordByWord(variant));
    const idsOf = idsBy(variant);
    // So small that it forgets all the time, and one that remembers everything.
    const memos = [2_000, 1 << 24].map((bytesMax) => remembering(variant, bytesMax));
    const same = (given: string): void => {
      const wanted = idsOf(given);
      for (const memo of memos)
        for (let time = 0; time < 2; time++)
          if (JSON.stringify(memo(given)) !== JSON.stringify(wanted))
            throw new Error(`${JSON.stringify(given)}: ${memo(given)} / ${wanted}`);
    };
    fc.assert(fc.property(text, same), { numRuns: 800, seed: 20_261_126 });
    // One alone is the whole of a text; and where others stand around it.
    const alone = fc.tuple(awkward, fc.constantFrom('', '<mask>', ' <mask>', '[SEP]', ' a', ' @k'), blank);
    fc.assert(
      fc.property(
        alone,
        blank,
        fc.constantFrom('', 'html', '<mask>', '@k'),
        ([word, after, end], before, first) => same(`${first}${before}${word}${after}${end}`),
      ),
      { numRuns: 800, seed: 20_261_126 },
    );
  });

t.test('2 000 real texts give the tokens of the library, at the first time and at the second', async (t) => {
  const idsOf = idsBy(json);
  const memo = remembering(json, 1 << 20);
  const glosses = await wordNetGlosses(2_000);
  const different = [...glosses, ...glosses].filter(
    (gloss) => JSON.stringify(memo(gloss)) !== JSON.stringify(idsOf(gloss)),
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
    'an added token that is not ASCII': { ...json, added_tokens: [{ ...added, content: '東京' }] },
    'an empty added token': { ...json, added_tokens: [{ ...added, content: '' }] },
    'very many added tokens': { ...json, added_tokens: Array.from({ length: 2_001 }, () => added) },
    'unknown tokens that are made one': { ...json, model: { ...(json.model as Json), fuse_unk: true } },
    'a length of words that is no number': {
      ...json,
      model: { ...(json.model as Json), max_input_chars_per_word: '3' },
    },
    'a post-processor that says the text twice': {
      ...json,
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
      },
    },
    nothing: {},
  };
  for (const [name, other] of Object.entries(others)) t.notOk(isWordByWord(other), name);
});

t.test('the parts of ASCII words that are in the vocabulary are their own tokens', async (t) => {
  for (const [name, variant] of Object.entries(variants)) {
    const memo = remembering(variant, 1 << 24);
    const idsOf = idsBy(variant);
    const same = (given: string): void => {
      const got = memo(given);
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
  for (const word of ['é', 'a\u0000', '', 'x'.repeat(101)])
    t.equal(partsOf(word), null, JSON.stringify(word));
  const short = { ...(json.model as Json), max_input_chars_per_word: 3 };
  t.equal(asciiPartsOf({ ...json, model: short })('house'), null);
  t.same(asciiPartsOf(variants['that keeps case and accents'] as Json)('House'), ['House']);
});

t.test(
  'a word that the normaliser makes a special token of is none within a text, as in the library',
  async (t) => {
    const mpnet = variants["with MPNet's special tokens"] as Json;
    const cased = variants['that keeps case and accents'] as Json;
    for (const [of, word, special] of [
      [mpnet, '<S>', '<s>'],
      [mpnet, '</S>', '</s>'],
      [mpnet, '≮S≯', '<s>'],
      [cased, '[SE\u00adP]', '[SEP]'],
      [cased, '[MA\u200dSK]', '[MASK]'],
    ] as const) {
      const memo = remembering(of, 1 << 20);
      const id = library(of).token_to_id(special);
      t.type(id, 'number');
      const idsOf = idsBy(of);
      for (const text of [`html ${word} tag`, `${word} tag`, `html ${word}`]) {
        t.same(memo(text), idsOf(text), JSON.stringify(text));
        t.notOk(memo(text).includes(id as number), JSON.stringify(text));
      }
      // What the library does to a whole text that is one such word.
      for (const text of [word, `${word}${special}`, `${special}${word} x`, ` ${word}`, `${word} `])
        t.same(memo(text), idsOf(text), JSON.stringify(text));
      t.ok(memo(`html ${special} tag`).includes(id as number), 'one that is written out is one');
    }
  },
);

t.test('whatever the normaliser leaves of a character, an added token is seen through it', async (t) => {
  const visible = (text: string): string => text.replace(/[^!-~]/gu, '');
  const added = (json.added_tokens as Json[])[0] as Json;
  const isSeen = addedTokenFinder({
    ...json,
    added_tokens: [
      { ...added, content: '(a+b)' },
      { ...added, content: '[PAD]' },
    ],
  });
  for (const word of ['(a+b)', 'x(A+B)x', '(á+\u00adb)', '[Pad]', '[\u0000p[PAD]']) t.ok(isSeen(word), word);
  for (const word of ['(a+c)', 'aab', 'pad', '[PAD', '']) t.notOk(isSeen(word), word);
  const different: string[] = [];
  for (let code = 0; code <= 0x10ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const character = String.fromCodePoint(code);
    const seen = visible(character.normalize('NFD').toLowerCase());
    // What a normaliser takes out must leave no gap that is filled here.
    if (/[\p{C}\p{Mn}\ufffd]/u.test(character) && seen !== '') different.push(character);
    const lowered = character.toLowerCase();
    // With and without lowercase, with and without strip_accents.
    for (const left of [lowered, lowered.normalize('NFD'), character.normalize('NFD'), character]) {
      const shown = visible(left).toLowerCase();
      if (shown !== '' && shown !== seen) different.push(character);
    }
  }
  t.same(different, []);
});
