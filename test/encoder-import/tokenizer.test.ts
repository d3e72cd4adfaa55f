import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer as ReferenceTokenizer } from '@anush008/tokenizers';
import fc from 'fast-check';
import t from 'tap';
import { MINILM_PACKAGE } from '../../src/encoder/import/minilm.js';
import { findPackage } from '../../src/encoder/import/npm-package.js';
import { TextTokenizer } from '../../src/encoder/tokenizer.js';
import { wordNetGlosses } from '../fixtures/glosses.js';

const MAX_TOKENS = 256;
const file = path.join(findPackage(MINILM_PACKAGE), 'model', 'tokenizer.json');
const bytes = await readFile(file);
const tokenizer = TextTokenizer.fromJson(bytes, 'tokenizer.json', MAX_TOKENS);

const reference = ReferenceTokenizer.fromFile(file);
reference.disablePadding();
reference.setTruncation(MAX_TOKENS);
const referenceIds = async (text: string): Promise<number[]> => (await reference.encode(text)).getIds();
const ids = (text: string): number[] => [...tokenizer.encode(text).ids];

const glosses = await wordNetGlosses(2000);

t.test('token ids equal the reference on 2 000 real texts', async (t) => {
  const different = [];
  for (const gloss of glosses) {
    if (JSON.stringify(ids(gloss)) !== JSON.stringify(await referenceIds(gloss))) different.push(gloss);
  }
  t.equal(glosses.length, 2000);
  t.same(different, []);
});

t.test('token ids equal the reference on awkward texts', async (t) => {
  const texts: Record<string, string> = {
    nothing: '',
    blanks: ' \t\n\u00a0\u2028 ',
    'emoji with modifiers and joiners': '👍🏽🙂 👩‍👩‍👧 flags 🇩🇪',
    CJK: '東京都 北京是首都 ひらがなカタカナ',
    'CJK compatibility and extension A': '\uf900\u3400\u4dbf豈',
    'Hangul and Arabic': '한국어 문장 مرحبا بالعالم',
    'combining marks, decomposed': 'e\u0301te\u0301 nai\u0308ve n\u0303andu\u0301 \u0e01\u0e33',
    'combining marks, composed': 'été naïve Ångström İstanbul Straße ﬁn ①',
    'control and format characters': 'a\u0000b\u200bc\ufeffd\u00ade\ufffdf\u0007',
    'a lone surrogate': 'a\ud800b \udc00',
    'special tokens written in the text': '[SEP] and [CLS] x [MASK]y [PAD]',
    'a word of 100 characters': 'x'.repeat(100),
    'a word of 101 characters': 'x'.repeat(101),
    punctuation: "don't—stop… «quotes» $5+3=8^2 a_b c/d",
    'numbers and code': 'x = foo(1234.5678e-9); // 0xDEADBEEF',
  };
  for (const [name, text] of Object.entries(texts)) t.same(ids(text), await referenceIds(text), name);
});

t.test('token ids equal the reference on texts of 10 kB and more, which are cut', async (t) => {
  const prose = glosses.slice(0, 300).join('. ');
  const texts: Record<string, string> = {
    '10 kB of prose': prose.slice(0, 10_000),
    'prose of many kilobytes': prose,
    '10 kB of CJK': '東京都北京'.repeat(700),
    '200 kB of CJK': '東京都北京'.repeat(14_000),
    '10 kB of emoji': '🙂'.repeat(2500),
    'one word of 10 kB': 'x'.repeat(10_000),
    'a word of 10 kB, then others': `${'x'.repeat(10_000)} cat dog`,
    'words, a word of 9 kB, words': `${'ab '.repeat(20)}${'y'.repeat(9000)} cat`,
    'blanks, then a word': `${' '.repeat(9000)}cat`,
    punctuation: 'a-b.'.repeat(2500),
    'combining marks': `e${'\u0301'.repeat(10_000)} x`,
    'exactly max tokens': 'cat '.repeat(MAX_TOKENS - 2),
    'one token more than max tokens': 'cat '.repeat(MAX_TOKENS - 1),
  };
  for (const [name, text] of Object.entries(texts)) t.same(ids(text), await referenceIds(text), name);
});

t.test('a window of a long text ends at no character that the normaliser takes out of a word', async (t) => {
  // Some 99 characters of a word of more than 500, which is one unknown token, fill what remains of the room.
  const start = `${'cat '.repeat(200)}${' '.repeat(3195)}${'q7'.repeat(50).slice(0, 99)}`;
  const blanks = Array.from({ length: 0x1_0000 }, (_, code) => String.fromCharCode(code)).filter(
    (character) => /\s/u.test(character),
  );
  t.ok(blanks.length >= 25 && blanks.includes('\f'), `${blanks.length} characters of white space`);
  for (const blank of [...blanks, '\u0085', '\u00ad', '\u200b']) {
    const text = `${start}${blank}${'z'.repeat(500)} dog`;
    t.same(ids(text), await referenceIds(text), `U+${blank.charCodeAt(0).toString(16)}`);
  }
});

t.test('two differences to the reference are known: CJK extension B and the Greek final sigma', async (t) => {
  t.same(ids('\u{20000}\u{2a6d6}'), [101, 100, 102]);
  t.same(await referenceIds('\u{20000}\u{2a6d6}'), [101, 100, 100, 102]);

  t.same(ids('Σ'), await referenceIds('Σ'), 'a sigma that stands alone is no final one');
  t.notSame(ids('ΟΔΟΣ'), await referenceIds('ΟΔΟΣ'));
  t.same(ids('ΟΔΟΣ'), await referenceIds('οδος'), 'this tokenizer lowercases Σ at the end to ς');
  t.same(await referenceIds('ΟΔΟΣ'), await referenceIds('οδοσ'), 'the reference always to σ');
});

t.test('random Unicode equals the reference outside of the two known differences', async (t) => {
  const text = fc
    .string({ unit: 'binary', maxLength: 40 })
    .map((string) => string.replace(/[\u{20000}-\u{323af}Σ]/gu, ''));
  await fc.assert(
    fc.asyncProperty(text, async (string) => {
      const got = ids(string);
      const want = await referenceIds(string);
      if (JSON.stringify(got) !== JSON.stringify(want))
        throw new Error(`${JSON.stringify(string)}: ${got} / ${want}`);
    }),
    { numRuns: 1000, seed: 20_261_123 },
  );
  t.pass();
});

t.test('a text is cut at max tokens with its closing token kept, and counted before', async (t) => {
  const long = tokenizer.encode('cat '.repeat(1000));
  t.equal(long.ids.length, MAX_TOKENS);
  t.equal(long.ids.at(-1), 102);
  t.equal(long.tokenCount, 1002);
  t.equal(long.truncated, true);

  const fitting = tokenizer.encode('cat '.repeat(MAX_TOKENS - 2));
  t.match(fitting, { tokenCount: MAX_TOKENS, truncated: false });
  t.match(tokenizer.encode('cat '.repeat(MAX_TOKENS - 1)), { tokenCount: MAX_TOKENS + 1, truncated: true });
  t.match(tokenizer.encode('cat '.repeat(50_000)), { truncated: true });
  t.ok(tokenizer.encode('cat '.repeat(50_000)).tokenCount > MAX_TOKENS, 'a capped text has at least so many');
});

t.test('a text of a megabyte costs a small part of tokenising it whole', async (t) => {
  const megabyte = glosses.join(' ').repeat(10).slice(0, 1_000_000);
  const whole = TextTokenizer.fromJson(bytes, 'tokenizer.json', 1 << 19);
  // Of this process and not of the clock: a neighbour that takes the core costs nothing here.
  const time = (work: () => unknown): number => {
    const start = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
  tokenizer.encode(megabyte);
  const cappedMs = time(() => tokenizer.encode(megabyte));
  const wholeMs = time(() => whole.encode(megabyte));
  t.ok(cappedMs * 5 < wholeMs, `${cappedMs} ms against ${wholeMs} ms`);
  for (const text of ['x'.repeat(1e6), ' '.repeat(1e6), `e${'\u0301'.repeat(1e6)}`, '🙂'.repeat(5e5)]) {
    t.ok(time(() => tokenizer.encode(text)) * 2 < wholeMs, 'a window that never fills is bounded too');
  }
});

t.test('special tokens come from the post-processor, whatever its kind', async (t) => {
  const json = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
  const withProcessor = (post_processor: unknown): number[] => {
    const changed = Buffer.from(JSON.stringify({ ...json, post_processor }));
    return [...TextTokenizer.fromJson(changed, 'tokenizer.json', 4).encode('cat dog fish').ids];
  };
  const [, cat, dog, fish] = ids('cat dog fish') as [number, number, number, number];
  t.same(withProcessor({ type: 'BertProcessing', sep: ['[SEP]', 102], cls: ['[CLS]', 101] }), [
    101,
    cat,
    dog,
    102,
  ]);
  t.same(withProcessor(null), [cat, dog, fish]);
  const suffixOnly = {
    type: 'TemplateProcessing',
    single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: '[SEP]', type_id: 0 } }],
    pair: [],
  };
  t.same(withProcessor(suffixOnly), [cat, dog, fish, 102]);
});

t.test('a file that is no tokenizer is refused by name', async (t) => {
  const json = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
  const files: Record<string, unknown> = {
    'no JSON': '{',
    'a list': [],
    'an empty object': {},
    'an unknown model': { ...json, model: { type: 'Strange' } },
    'cutting on the left': { ...json, truncation: { direction: 'Left', max_length: 128 } },
  };
  for (const [name, content] of Object.entries(files)) {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    t.throws(
      () => TextTokenizer.fromJson(Buffer.from(text), 'tokenizer.json', MAX_TOKENS),
      { reason: 'INVALID_MODEL', message: /tokenizer\.json/ },
      name,
    );
  }
  t.throws(() => TextTokenizer.fromJson(bytes, 'tokenizer.json', 2), {
    reason: 'INVALID_MODEL',
    message: /> 2/,
  });
});
