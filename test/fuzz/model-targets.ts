import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { readInputJson } from '../../src/encoder/import/input-file.js';
import { TfjsWeights } from '../../src/encoder/import/tfjs-weights.js';
import { unigramTokenizerFile } from '../../src/encoder/import/use-tokenizer.js';
import { MODEL_FILES } from '../../src/encoder/model-folder.js';
import { PROBE_COUNT, probesToJson, readProbes } from '../../src/encoder/probes.js';
import type { LibraryTokenizer } from '../../src/encoder/remembered-words.js';
import { TextTokenizer } from '../../src/encoder/tokenizer.js';
import { UNIGRAM_TYPE } from '../../src/encoder/unigram.js';
import { addedToken, tokenizerFile } from '../fixtures/tokenizer-files.js';
import { modelManifest } from '../router/small-manifests.js';
import type { FuzzTarget } from './targets.js';

const MAX_TOKENS = 32;
const TEXTS = [
  'where is it',
  'Ünïcode ﬁ 字 😀',
  '',
  'Where? is\tWORDS, it\u00ad a\fb two',
  'where is [SEP] two [sep]\u0301 is',
];
const VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'where', 'is', 'it', 'a', '##b', 'two', 'words'];
const PIECES: readonly (readonly [string, number | null])[] = [
  ...['<unk>', '<s>', '</s>', '<x>', '<y>', '<z>'].map((piece) => [piece, null] as const),
  ...['▁', 'a', 'b', '▁is', '▁it'].map((piece, at) => [piece, -at] as const),
];

/** The files of a model beside its graph and manifest, and those that a model is imported from. */
export function modelTargets(folder: string): FuzzTarget[] {
  const manifest = modelManifest('words');
  const model = { folder: path.join(folder, 'model'), manifest };
  mkdirSync(model.folder);
  writeFileSync(
    path.join(model.folder, MODEL_FILES.probeVectors),
    Buffer.alloc(PROBE_COUNT * manifest.dimensions * 4),
  );
  const source = path.join(folder, 'tfjs');
  mkdirSync(source);
  writeFileSync(path.join(source, 'shard1'), Buffer.alloc(20));
  const probes = Array.from({ length: PROBE_COUNT }, (_, at) => ({
    text: `text ${at}`,
    role: 'query' as const,
  }));
  const vocabulary = path.join(source, 'vocab.json');
  const piecesMax = 100;
  return [
    {
      name: 'tokenizers',
      cases: 3_000,
      seeds: [
        Buffer.from(JSON.stringify(wordPieces())),
        Buffer.from(unigramTokenizerFile(PIECES, '', piecesMax)),
      ],
      run: (bytes) => {
        const tokenizer = TextTokenizer.fromJson(bytes, 'tokenizer.json', MAX_TOKENS);
        const library = libraryIdsBy(bytes);
        for (const text of TEXTS) {
          const ids = [...tokenizer.encode(text).ids];
          if (ids.length > MAX_TOKENS) throw new Error('more tokens than there may be');
          const wanted = library?.(text) ?? ids;
          // An id that is none is another one in the list of int32.
          if (wanted.length <= MAX_TOKENS && String(wanted) !== String(ids))
            throw new Error(`${JSON.stringify(text)}: ${ids} / ${wanted} of the library`);
        }
      },
    },
    {
      name: 'probes',
      cases: 300,
      seeds: [Buffer.from(probesToJson(probes))],
      run: async (bytes) => {
        writeFileSync(path.join(model.folder, MODEL_FILES.probes), bytes);
        await readProbes(model as never);
      },
    },
    {
      name: 'weights of TensorFlow.js',
      cases: 400,
      seeds: [Buffer.from(JSON.stringify(tfjsModel()))],
      run: async (bytes) => {
        writeFileSync(path.join(source, 'model.json'), bytes);
        const weights = await TfjsWeights.read(source);
        weights.floats('table', [2, 2]);
        weights.integer('count');
        weights.expectAllUsed();
      },
    },
    {
      name: 'vocabularies of Universal Sentence Encoder',
      cases: 300,
      seeds: [Buffer.from(JSON.stringify(PIECES))],
      run: async (bytes) => {
        writeFileSync(vocabulary, bytes);
        const file = unigramTokenizerFile(await readInputJson(vocabulary), 'vocab.json', piecesMax);
        TextTokenizer.fromJson(file, 'tokenizer.json', MAX_TOKENS).encode('is it');
      },
    },
  ];
}

/** What the tokenizers library gives for a text, with all that it puts around; null for a file that is run without it. */
function libraryIdsBy(bytes: Buffer): ((text: string) => readonly number[]) | null {
  const json = JSON.parse(bytes.toString('utf8')) as { readonly type?: unknown };
  if (json.type === UNIGRAM_TYPE) return null;
  const library = new Tokenizer(json, {}) as LibraryTokenizer;
  return (text) => library.encode(text, {}).ids;
}

const tfjsModel = () => ({
  weightsManifest: [
    {
      paths: ['shard1'],
      weights: [
        { name: 'a/table', shape: [2, 2], dtype: 'float32' },
        { name: 'a/count', shape: [1], dtype: 'int32' },
      ],
    },
  ],
});

/** As the tokenizers library writes one of a BERT model, with the few words of this test. */
function wordPieces(): object {
  const around = (content: string) => ({
    id: content,
    ids: [VOCABULARY.indexOf(content)],
    tokens: [content],
  });
  const model = {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(VOCABULARY.map((word, id) => [word, id])),
  };
  return tokenizerFile(model, {
    added_tokens: VOCABULARY.slice(0, 4).map((content, id) => addedToken(id, content)),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '[CLS]', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '[SEP]', type_id: 0 } },
      ],
      pair: [],
      special_tokens: { '[CLS]': around('[CLS]'), '[SEP]': around('[SEP]') },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  });
}
