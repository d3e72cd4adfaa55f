import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { EmbeddingsModel } from '@energetic-ai/embeddings';
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import t from 'tap';
import { findPackage } from '../../src/encoder/import/npm-package.js';
import { USE_LITE_PACKAGE } from '../../src/encoder/import/use-lite.js';
import { unigramTokenizerFile } from '../../src/encoder/import/use-tokenizer.js';
import { TextTokenizer } from '../../src/encoder/tokenizer.js';
import { wordNetGlosses } from '../fixtures/glosses.js';

const MAX_TOKENS = 128;
const vocabulary = JSON.parse(
  await readFile(path.join(findPackage(USE_LITE_PACKAGE), 'dist', 'vocab.json'), 'utf8'),
) as [string, number | null][];
const bytes = Buffer.from(unigramTokenizerFile(vocabulary, 'vocab.json', 8002));
const tokenizer = TextTokenizer.fromJson(bytes, 'tokenizer.json', MAX_TOKENS);
const whole = TextTokenizer.fromJson(bytes, 'tokenizer.json', 1 << 19);

/** The package's own tokenizer, without its model. */
const reference = new EmbeddingsModel({ vocabulary, model: undefined } as never) as unknown as {
  readonly tokenizer: { encode(text: string): number[] };
};
const referenceIds = (text: string): number[] => reference.tokenizer.encode(text);
const ids = (text: string): number[] => [...whole.encode(text).ids];

t.test('token ids equal those of the package on 500 real texts', async (t) => {
  const glosses = await wordNetGlosses(500, 160);
  t.equal(glosses.length, 500);
  t.same(
    glosses.filter((gloss) => JSON.stringify(ids(gloss)) !== JSON.stringify(referenceIds(gloss))),
    [],
  );
});

t.test('token ids equal those of the package on awkward texts', (t) => {
  const texts: Record<string, string> = {
    nothing: '',
    blanks: '   ',
    'blanks of other kinds': ' \t\n\u00a0\u2028 x \u3000y',
    emoji: '👍🏽🙂 👩‍👩‍👧 flags 🇩🇪 and 🙂🙂🙂 more',
    CJK: '東京都 北京是首都 ひらがなカタカナ \u{20000}\u{2a6d6}',
    'combining marks': 'e\u0301te\u0301 nai\u0308ve n\u0303 \u0e01\u0e33 \u0928\u093f',
    'compatibility forms': 'ﬁn ① Ⅷ ｆｕｌｌ ﷺ',
    'unknown characters, apart and together': 'ጀx ጀጀ yጀ',
    'pieces that score nothing': 'a: b:) c:( http://x ::: :-)',
    'a colon first': ':',
    'a smile first': ':) hello',
    'a frown and a smile first': ':(:)',
    'a colon and unknown characters first': ':ጀጀ:)',
    'equal ways': '...... !!!!!!! 0000000 aaaaaaa',
    'the blank of the vocabulary, written': '▁a ▁▁ b',
    'reserved pieces, written': '<s> </s> \ufffd extra_token_id_1',
    'upper and lower case': 'Hello HELLO hello',
  };
  for (const [name, text] of Object.entries(texts)) t.same(ids(text), referenceIds(text), name);
  t.same(ids('a\ud800b'), referenceIds('a\ufffdb'), 'a lone surrogate is U+FFFD');
  t.end();
});

t.test('token ids equal those of the package on random texts', (t) => {
  const piece = fc.constantFrom(...vocabulary.slice(6).map(([text]) => text.replaceAll('\u2581', ' ')));
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.string({ unit: fc.constantFrom(...':)(-/. 1a▁ጀ'), maxLength: 12 }),
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
  );
  fc.assert(
    fc.property(text, (string) => {
      const [got, want] = [ids(string), referenceIds(string)];
      if (got.join() !== want.join()) throw new Error(`${JSON.stringify(string)}: ${got} / ${want}`);
    }),
    { numRuns: 3000, seed: 20_261_123 },
  );
  t.pass();
  t.end();
});

t.test('the tokenizers library would give other ids, which is why it does not run this vocabulary', (t) => {
  const library = new LibraryTokenizer(
    {
      version: '1.0',
      added_tokens: [],
      normalizer: {
        type: 'Sequence',
        normalizers: [
          { type: 'NFKC' },
          { type: 'Prepend', prepend: '▁' },
          { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        ],
      },
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      model: { type: 'Unigram', unk_id: 0, vocab: vocabulary.map(([text, score]) => [text, score ?? 0]) },
    },
    {},
  ) as { encode(text: string, options: object): { ids: number[] } };
  const libraryIds = (text: string): number[] => library.encode(text, { add_special_tokens: false }).ids;
  t.same(libraryIds('a plain sentence'), referenceIds('a plain sentence'));
  t.notSame(libraryIds(':) hello'), referenceIds(':) hello'), 'pieces that score 0 at the start');
  t.notSame(libraryIds('xaaaaa'), referenceIds('xaaaaa'), 'ways of equal score');
  t.end();
});

t.test('a long text is cut at max tokens, and its tokens are those of the whole text', async (t) => {
  const prose = (await wordNetGlosses(400, 100)).join('. ');
  const texts: Record<string, string> = {
    prose,
    CJK: '東京都北京'.repeat(7000),
    'one word': 'x'.repeat(20_000),
    blanks: `${' '.repeat(9000)}cat`,
    'unknown characters and words': 'ጀ cat '.repeat(5000),
  };
  for (const [name, text] of Object.entries(texts)) {
    const cut = tokenizer.encode(text);
    const expected = ids(text);
    t.same([...cut.ids], expected.slice(0, MAX_TOKENS), name);
    t.equal(cut.truncated, expected.length > MAX_TOKENS, name);
  }
  t.match(tokenizer.encode('cat '.repeat(MAX_TOKENS).trim()), { tokenCount: MAX_TOKENS, truncated: false });
  t.match(tokenizer.encode('cat '.repeat(MAX_TOKENS + 1).trim()), {
    tokenCount: MAX_TOKENS + 1,
    truncated: true,
  });
});

t.test('a damaged file is refused by name', (t) => {
  const json = JSON.parse(bytes.toString('utf8')) as Record<string, unknown>;
  const files: Record<string, unknown> = {
    'another version': { ...json, format_version: 2 },
    'an unknown field': { ...json, lowercase: true },
    'another normalisation': { ...json, normalisation: 'NFC' },
    'no pieces': { ...json, pieces: [] },
    'a piece without a score': { ...json, pieces: [['a', null]] },
    'an unknown piece that texts can have': { ...json, unknown_id: 6 },
  };
  for (const [name, content] of Object.entries(files)) {
    t.throws(
      () => TextTokenizer.fromJson(Buffer.from(JSON.stringify(content)), 'tokenizer.json', MAX_TOKENS),
      { reason: 'INVALID_MODEL', message: /tokenizer\.json/ },
      name,
    );
  }
  t.end();
});
