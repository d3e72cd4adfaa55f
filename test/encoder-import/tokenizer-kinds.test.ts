import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer as ReferenceTokenizer } from '@anush008/tokenizers';
import { Tokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import t from 'tap';
import { MINILM_PACKAGE } from '../../src/encoder/import/minilm.js';
import { findPackage } from '../../src/encoder/import/npm-package.js';
import { TextTokenizer } from '../../src/encoder/tokenizer.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { addedToken, tokenizerFile } from '../fixtures/tokenizer-files.js';

type Json = Readonly<Record<string, unknown>>;

const MAX_TOKENS = 256;
const opened = (json: unknown): TextTokenizer =>
  TextTokenizer.fromJson(Buffer.from(JSON.stringify(json)), 'tokenizer.json', MAX_TOKENS);

const miniLm = JSON.parse(
  await readFile(path.join(findPackage(MINILM_PACKAGE), 'model', 'tokenizer.json'), 'utf8'),
) as Json;
const wordPieces = miniLm.model as Json;

/** The printable characters that stand for the 256 bytes, in the order of their ids in GPT-2's vocabulary. */
function byteCharacters(): string[] {
  const shown = [...range(0x21, 0x7e), ...range(0xa1, 0xac), ...range(0xae, 0xff)];
  const hidden = range(0, 0xff).filter((byte) => !shown.includes(byte));
  return [...shown, ...hidden.map((_, at) => 0x100 + at)].map((code) => String.fromCharCode(code));
}
const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

const MERGES = ['t h', 'th e', 'Ġ the', 'i n', 'in g', 'Ġ a', 'e r', 'Ġ in', 'o u', 'a t', 'c at', 'Ġ cat'];
const byteVocabulary = [...byteCharacters(), ...MERGES.map((merge) => merge.replace(' ', '')), '<s>', '</s>'];
/** Of bytes, as GPT-2 and RoBERTa have it: it knows every text. */
const bytePairs = tokenizerFile(
  {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    vocab: Object.fromEntries(byteVocabulary.map((token, id) => [token, id])),
    merges: MERGES,
  },
  {
    added_tokens: ['<s>', '</s>'].map((content) => addedToken(byteVocabulary.indexOf(content), content)),
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'RobertaProcessing',
      sep: ['</s>', byteVocabulary.indexOf('</s>')],
      cls: ['<s>', byteVocabulary.indexOf('<s>')],
      trim_offsets: true,
      add_prefix_space: false,
    },
  },
);

const PIECES = ['▁the', '▁cat', '▁', 'th', 'ing', 'in', ...'abcdefghijklmnopqrstuvwxyz', 'é', '東'];
/** As SentencePiece's models are written, without their table of characters. */
const pieces = tokenizerFile(
  {
    type: 'Unigram',
    unk_id: 1,
    vocab: [['<s>', 0], ['<unk>', 0], ...PIECES.map((piece, at) => [piece, -2 - at / 7])],
    byte_fallback: false,
  },
  {
    normalizer: { type: 'NFKC' },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  },
);

const known = {
  type: 'BPE',
  vocab: { a: 0, b: 1, ab: 2, '<unk>': 3, o: 4 },
  merges: ['a b'],
  unk_token: '<unk>',
};
const { type: _type, ...typeless } = wordPieces;
/** The first id behind MiniLM's vocabulary: the reference counts on from there, whatever the file says. */
const ADDED = 30_522;
const UNKNOWN = /no id for the token of unknown words \(model\.unk_token\)/;

t.test('a text whose words have no id is not what a file that is run can give', async (t) => {
  const wordLevel = { type: 'WordLevel', vocab: wordPieces.vocab, unk_token: '[UNK]' };
  const library = new Tokenizer({ ...miniLm, model: wordLevel }, {});
  t.same(
    library.encode('zzxx', { add_special_tokens: false }).ids,
    [undefined],
    'the library gives no id, which would be token 0',
  );
  const vocabularyWith = (id: unknown): Json => ({ ...(wordPieces.vocab as Json), house: id });
  const pairsWith = (id: unknown): Json => tokenizerFile({ ...known, vocab: { ...known.vocab, house: id } });
  const unigramWith = (change: Json): Json => ({
    ...pieces,
    model: { ...(pieces.model as Json), ...change },
  });
  const addedWith = (token: unknown): Json => ({ ...miniLm, added_tokens: [token] });
  const template = {
    ...(miniLm.post_processor as Json),
    single: [{ SpecialToken: { id: '<start>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
  };
  const refused: readonly (readonly [string, Json, RegExp])[] = [
    ['a vocabulary of whole words', { ...miniLm, model: wordLevel }, /another kind of model/],
    [
      'word pieces without what stands before the later ones',
      { ...miniLm, model: { ...wordPieces, continuing_subword_prefix: null } },
      /no continuing_subword_prefix/,
    ],
    ['a kind that is no text', { ...miniLm, model: { ...wordPieces, type: null } }, /another kind of model/],
    ['no kind and nothing to tell it by', tokenizerFile({ vocab: { a: 0 } }), /another kind of model/],
    ['no list of added tokens', { ...miniLm, added_tokens: null }, /no list of added_tokens/],
    ['an added token without an id', addedWith({ content: '<new>' }), /added_tokens whose id/],
    ['an added token that is no string', addedWith({ id: 5 }), /added_tokens that is no string/],
    ['an added token that is another in the vocabulary', addedWith({ content: 'cat', id: 7 }), /another id/],
    ['an added token that is no object', addedWith('cat'), /added token that is no object/],
    ['a special token that is in no vocabulary', { ...miniLm, post_processor: template }, /each with an id/],
    [
      'such a one where nothing is unknown',
      { ...bytePairs, post_processor: { type: 'BertProcessing', sep: ['[Z]', 1], cls: ['[Y]', 2] } },
      /each with an id/,
    ],
    ['a piece without a score', unigramWith({ vocab: [['a', null]], unk_id: 0 }), /without a score/],
    ['a piece that is no string', unigramWith({ vocab: [[7, 0]], unk_id: 0 }), /that is no string/],
    ['pieces that are no list', unigramWith({ vocab: { a: 0 } }), /no list of pieces/],
    ['a vocabulary that is a list', { ...miniLm, model: { ...wordPieces, vocab: [] } }, /no vocabulary/],
    ...[null, 1.5, -1, 2 ** 31, '7'].flatMap((id): [string, Json, RegExp][] => [
      [
        `a word of the id ${id}`,
        { ...miniLm, model: { ...wordPieces, vocab: vocabularyWith(id) } },
        /whose id/,
      ],
      [`a pair of the id ${id}`, pairsWith(id), /whose id/],
    ]),
    ...[null, undefined, 0.5, -1, 1_000].map((unk_id): [string, Json, RegExp] => [
      `pieces with the unknown one ${unk_id}`,
      unigramWith({ unk_id }),
      /no id for the token of unknown words \(model\.unk_id\)/,
    ]),
    ...['[UNKNOWN]', 5, ''].flatMap((unk_token): [string, Json, RegExp][] => [
      [
        `words with the unknown one ${unk_token}`,
        { ...miniLm, model: { ...wordPieces, unk_token } },
        UNKNOWN,
      ],
      [`words of no kind with ${unk_token}`, { ...miniLm, model: { ...typeless, unk_token } }, UNKNOWN],
      [`pairs with ${unk_token}`, tokenizerFile({ ...known, unk_token }), UNKNOWN],
    ]),
    ['words without an unknown one', { ...miniLm, model: { ...wordPieces, unk_token: null } }, UNKNOWN],
  ];
  for (const [name, json, problem] of refused) {
    t.throws(() => opened(json), { reason: 'INVALID_MODEL', message: problem }, name);
    t.throws(() => opened(json), { message: /^tokenizer\.json / }, name);
  }
});

t.test('what knows every text, or has an id for what it does not know, is run', async (t) => {
  t.same([...opened(tokenizerFile(known)).encode('abxa').ids], [2, 3, 0]);
  const { unk_token: _unknown, ...silent } = known;
  t.same(
    [...opened(tokenizerFile(silent)).encode('abxa').ids],
    [2, 0],
    'as the reference, it leaves out what it does not know',
  );
  const withAdded = opened({
    ...miniLm,
    added_tokens: [...(miniLm.added_tokens as Json[]), { id: 30_600, content: '[OTHER]', special: true }],
    model: { ...wordPieces, unk_token: '[OTHER]' },
  });
  t.same([...withAdded.encode('\u{1f9ff}').ids], [101, 30_600, 102]);
  t.equal(withAdded.idMax, 30_600);
  t.equal(opened(miniLm).idMax, 30_521);
  t.equal(opened(bytePairs).idMax, byteVocabulary.length - 1);
  t.equal(opened(pieces).idMax, PIECES.length + 1);
});

t.test('a file that does not name its kind is the same tokenizer as one that does', async (t) => {
  const named = opened(miniLm);
  const unnamed = opened({ ...miniLm, model: typeless });
  for (const text of await wordNetGlosses(200))
    t.same(unnamed.encode(text).ids, named.encode(text).ids, text.slice(0, 40));
  const { type: _bpe, ...pairs } = bytePairs.model as Json;
  t.throws(() => opened({ ...bytePairs, model: { ...pairs, continuing_subword_prefix: undefined } }), {
    reason: 'INVALID_MODEL',
    message: /another kind of model/,
  });
  const { type: _unigram, ...unigram } = pieces.model as Json;
  t.same(
    opened({ ...pieces, model: unigram }).encode('the cat ☃').ids,
    opened(pieces).encode('the cat ☃').ids,
  );
});

for (const [name, json] of [
  ['byte pairs', bytePairs],
  ['pieces', pieces],
] as const)
  t.test(`token ids of ${name} equal the reference, on real texts and on random Unicode`, async (t) => {
    const tokenizer = opened(json);
    const reference = ReferenceTokenizer.fromString(JSON.stringify(json));
    reference.setTruncation(MAX_TOKENS);
    const same = async (text: string): Promise<void> => {
      const got = [...tokenizer.encode(text).ids];
      const wanted = (await reference.encode(text)).getIds();
      if (got.join() !== wanted.join()) throw new Error(`${JSON.stringify(text)}: ${got} / ${wanted}`);
    };
    const glosses = await wordNetGlosses(500);
    for (const gloss of glosses) await same(gloss);
    const words = fc.constantFrom(
      'the cat',
      'thing',
      ' ',
      '  ',
      'é',
      '東京',
      'er',
      "'s",
      '<s>',
      '1',
      '🙂',
      '\n',
    );
    const text = fc
      .array(fc.oneof(words, fc.string({ unit: 'binary', maxLength: 6 })), { maxLength: 12 })
      .map((parts) => parts.join('').replace(/\p{Surrogate}/gu, '\ufffd'));
    await fc.assert(fc.asyncProperty(text, same), { numRuns: 1_000, seed: 20_261_126 });
    t.equal(glosses.length, 500);
  });

t.test('what a file says of added tokens and of bytes is not always done as by the reference', async (t) => {
  const idsOf = async (json: Json, text: string): Promise<{ got: string[]; wanted: string[] }> => {
    const reference = ReferenceTokenizer.fromString(JSON.stringify(json));
    reference.disablePadding();
    const wanted = (await reference.encode(text)).getIds();
    return { got: [...opened(json).encode(text).ids].map(String), wanted: wanted.map(String) };
  };
  const single = { ...miniLm, added_tokens: [addedToken(ADDED, 'zqcat', { single_word: true })] };
  t.match(await idsOf(single, 'zqcat'), {
    got: ['101', String(ADDED), '102'],
    wanted: ['101', String(ADDED), '102'],
  });
  const within = await idsOf(single, 'zqcatalog');
  t.ok(within.got.includes(String(ADDED)), 'here also within a word');
  t.notOk(within.wanted.includes(String(ADDED)));

  const special = await idsOf({ ...miniLm, added_tokens: [addedToken(ADDED, '<s>')] }, '<S>');
  t.same(special.got, ['101', String(ADDED), '102'], 'here also what is one once it is normalised');
  t.notOk(special.wanted.includes(String(ADDED)));

  const bytes = range(0, 0xff).map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const { vocab } = pieces.model as { readonly vocab: readonly unknown[] };
  const model = {
    ...(pieces.model as Json),
    byte_fallback: true,
    vocab: [...vocab, ...bytes.map((byte) => [byte, -20])],
  };
  const unknown = await idsOf({ ...pieces, model }, 'a☃');
  t.ok(unknown.got.includes('1'), 'here the unknown piece');
  t.notOk(unknown.wanted.includes('1'), 'there its bytes');
});
