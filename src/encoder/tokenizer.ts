import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { SwitchyardError } from '../errors.js';
import type { InputRole } from '../vocabulary.js';
import type { ModelManifest } from './manifest.js';
import { isWordByWord, type LibraryTokenizer, rememberingWords } from './remembered-words.js';
import { capText } from './text-cap.js';
import { UNIGRAM_TYPE, UnigramTokenizer } from './unigram.js';

/** One text as the graph takes it. */
export interface TokenisedText {
  /** Special tokens included, at most the model's max tokens. */
  readonly ids: Int32Array;
  /** Token type of each id; all 0 for nearly every model. */
  readonly typeIds: Int32Array;
  /** Tokens before cutting, special tokens included. Of a text that was capped: at least so many. */
  readonly tokenCount: number;
  /** The text was longer than max tokens. */
  readonly truncated: boolean;
}

/** The special tokens around a single text, as the tokenizer's own post-processor puts them. */
interface Frame {
  readonly prefixIds: readonly number[];
  readonly suffixIds: readonly number[];
  readonly prefixTypes: readonly number[];
  readonly suffixTypes: readonly number[];
  readonly textType: number;
}

const NO_FRAME: Frame = { prefixIds: [], suffixIds: [], prefixTypes: [], suffixTypes: [], textType: 0 };

const FRAME_SAMPLES = ['a', 'two words'] as const;

/** Of the words of one tokenizer: some 60 000, more than most corpora use often. */
const MEMO_BYTES_MAX = 8 * 1024 * 1024;

/**
 * A model's `tokenizer.json`, equal to the reference (the Rust library) but for the differences named in
 * docs/decisions/0012. Truncation and padding written in the file are ignored: max tokens comes from the manifest,
 * padding belongs to the batch. A file of the type `switchyard/unigram` is run by `UnigramTokenizer` instead.
 */
export class TextTokenizer {
  readonly maxTokens: number;
  readonly #tokenizer: LibraryTokenizer;
  readonly #frame: Frame;

  private constructor(tokenizer: LibraryTokenizer, frame: Frame, maxTokens: number) {
    this.#tokenizer = tokenizer;
    this.#frame = frame;
    this.maxTokens = maxTokens;
  }

  /** Errors: INVALID_MODEL naming the file. */
  static async open(file: string, maxTokens: number): Promise<TextTokenizer> {
    return TextTokenizer.fromJson(await readFile(file), path.basename(file), maxTokens);
  }

  static fromJson(bytes: Uint8Array, fileName: string, maxTokens: number): TextTokenizer {
    const { tokenizer, frame } = parseTokenizer(bytes, fileName);
    const specials = frame.prefixIds.length + frame.suffixIds.length;
    if (maxTokens <= specials) {
      throw new SwitchyardError(
        'INVALID_MODEL',
        `max_tokens ${maxTokens} must be > ${specials}, the special tokens that ${fileName} adds to every text`,
      );
    }
    return new TextTokenizer(tokenizer, frame, maxTokens);
  }

  /** The tokens of a text, cut at max tokens with the closing special tokens kept. Never throws on a string. */
  encode(text: string): TokenisedText {
    const { prefixIds, suffixIds, prefixTypes, suffixTypes, textType } = this.#frame;
    const specials = prefixIds.length + suffixIds.length;
    const room = this.maxTokens - specials;
    const { ids: textIds, isComplete } = this.#encodeText(text, room);
    const kept = Math.min(textIds.length, room);

    const ids = new Int32Array(kept + specials);
    ids.set(prefixIds, 0);
    for (let i = 0; i < kept; i++) ids[prefixIds.length + i] = textIds[i] as number;
    ids.set(suffixIds, prefixIds.length + kept);

    const typeIds = new Int32Array(ids.length).fill(textType);
    typeIds.set(prefixTypes, 0);
    typeIds.set(suffixTypes, prefixIds.length + kept);
    return {
      ids,
      typeIds,
      tokenCount: textIds.length + specials,
      truncated: textIds.length > room || !isComplete,
    };
  }

  /** Looks at no more of the text than it takes to know its first `room` tokens. */
  #encodeText(text: string, room: number): { ids: readonly number[]; isComplete: boolean } {
    let ids: readonly number[] = [];
    for (const cap of capText(text, room)) {
      ids = this.#tokenizer.encode(replaceLoneSurrogates(cap.text), { add_special_tokens: false }).ids;
      if (cap.isWhole) return { ids, isComplete: true };
      if (ids.length >= room + cap.marginTokens) break;
    }
    return { ids, isComplete: false };
  }
}

/** What a model wants before a text. */
export const prefixOf = (manifest: ModelManifest, role: InputRole): string =>
  role === 'query' ? manifest.query_prefix : manifest.document_prefix;

/** UTF-8 has no lone surrogates: the reference sees U+FFFD, so this tokenizer must too. */
function replaceLoneSurrogates(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\uFFFD');
}

function parseTokenizer(bytes: Uint8Array, fileName: string): { tokenizer: LibraryTokenizer; frame: Frame } {
  try {
    const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (!isRecord(json)) throw new TypeError('not a JSON object');
    if (isRecord(json.truncation) && json.truncation.direction === 'Left') {
      throw new SwitchyardError(
        'INVALID_MODEL',
        `${fileName} cuts texts on the left; only cutting on the right is supported`,
      );
    }
    if (json.type === UNIGRAM_TYPE) return { tokenizer: UnigramTokenizer.parse(json), frame: NO_FRAME };
    assertKnowsUnknown(json, fileName);
    const tokenizer: LibraryTokenizer = new Tokenizer(json, {});
    const frame = frameOf(tokenizer, fileName);
    return {
      tokenizer: isWordByWord(json) ? rememberingWords(tokenizer, json, MEMO_BYTES_MAX) : tokenizer,
      frame,
    };
  } catch (error) {
    if (error instanceof SwitchyardError) throw error;
    throw new SwitchyardError(
      'INVALID_MODEL',
      `${fileName} is not a tokenizer this version can run: it must be the tokenizer.json of the tokenizers library`,
      { cause: error },
    );
  }
}

/** Else a word that is in no vocabulary has no id at all, and would be taken for token 0. */
function assertKnowsUnknown({ model, added_tokens: added }: Record<string, unknown>, fileName: string): void {
  if (!isRecord(model) || model.type !== 'WordPiece') return;
  const { vocab, unk_token: unknownToken } = model;
  const isKnown =
    typeof unknownToken === 'string' &&
    ((isRecord(vocab) && Object.hasOwn(vocab, unknownToken)) ||
      (Array.isArray(added) && added.some((token) => isRecord(token) && token.content === unknownToken)));
  if (isKnown) return;
  throw new SwitchyardError(
    'INVALID_MODEL',
    `${fileName} has no id for the token of unknown words (model.unk_token), so it cannot encode them`,
  );
}

/**
 * Reads the frame off the post-processor by asking it, instead of knowing each kind of post-processor: what it adds
 * before and after must be the same for every text.
 */
function frameOf(tokenizer: LibraryTokenizer, fileName: string): Frame {
  const [first, second] = FRAME_SAMPLES.map((sample) => sampleFrame(tokenizer, sample));
  if (!first || !second || JSON.stringify(first) !== JSON.stringify(second)) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `${fileName} has a post-processor that does not simply put special tokens around a text`,
    );
  }
  return first;
}

function sampleFrame(tokenizer: LibraryTokenizer, text: string): Frame | undefined {
  const bare = tokenizer.encode(text, { add_special_tokens: false }).ids;
  const full = tokenizer.encode(text, { return_token_type_ids: true });
  if (bare.length === 0) return undefined;
  for (let start = 0; start + bare.length <= full.ids.length; start++) {
    if (!bare.every((id, i) => full.ids[start + i] === id)) continue;
    const end = start + bare.length;
    const types = full.ids.map((_, i) => full.token_type_ids?.[i] ?? 0);
    return {
      prefixIds: full.ids.slice(0, start),
      suffixIds: full.ids.slice(end),
      prefixTypes: types.slice(0, start),
      suffixTypes: types.slice(end),
      textType: types[start] ?? 0,
    };
  }
  return undefined;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
