import { Tokenizer } from '@huggingface/tokenizers';
import { SwitchyardError } from '../errors.js';
import type { InputRole } from '../vocabulary.js';
import type { ModelFolder, ModelManifest } from './manifest.js';
import { MODEL_FILES, readModelFile } from './model-folder.js';
import { isWordByWord, type LibraryTokenizer, rememberingWords } from './remembered-words.js';
import { capText } from './text-cap.js';
import { checkTokenizerFile } from './tokenizer-file.js';
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
 * A model's `tokenizer.json`. BERT's kind is compared with the reference (the Rust library); where it and the others
 * differ says docs/decisions/0012. Truncation and padding written in the file are ignored: max tokens comes from the
 * manifest, padding belongs to the batch. A file of the type `switchyard/unigram` is run by `UnigramTokenizer` instead.
 */
export class TextTokenizer {
  readonly maxTokens: number;
  /** Largest id that a text can have. */
  readonly idMax: number;
  readonly #tokenizer: LibraryTokenizer;
  readonly #frame: Frame;

  private constructor({ tokenizer, frame, idMax }: ParsedTokenizer, maxTokens: number) {
    this.#tokenizer = tokenizer;
    this.#frame = frame;
    this.idMax = idMax;
    this.maxTokens = maxTokens;
  }

  /**
   * Of a model whose folder was verified, from the same bytes: what is compared again is what tokenises.
   * Errors: CORRUPT_MODEL, INVALID_MODEL, naming the file.
   */
  static async ofModel(model: ModelFolder, maxTokens = model.manifest.max_tokens): Promise<TextTokenizer> {
    const bytes = await readModelFile(model, MODEL_FILES.tokenizer);
    return TextTokenizer.fromJson(bytes, MODEL_FILES.tokenizer, maxTokens);
  }

  /** Errors: INVALID_MODEL naming the file. */
  static fromJson(bytes: Uint8Array, fileName: string, maxTokens: number): TextTokenizer {
    const parsed = parseTokenizer(bytes, fileName);
    const { frame } = parsed;
    const specials = frame.prefixIds.length + frame.suffixIds.length;
    if (maxTokens <= specials) {
      throw new SwitchyardError(
        'INVALID_MODEL',
        `max_tokens ${maxTokens} must be > ${specials}, the special tokens that ${fileName} adds to every text`,
      );
    }
    return new TextTokenizer(parsed, maxTokens);
  }

  /**
   * The tokens of a text, cut at max tokens with the closing special tokens kept. Takes any string.
   * Errors: INVALID_MODEL when a token has no id, which no file that was accepted should come to.
   */
  encode(text: string): TokenisedText {
    const { prefixIds, suffixIds, prefixTypes, suffixTypes, textType } = this.#frame;
    const specials = prefixIds.length + suffixIds.length;
    const room = this.maxTokens - specials;
    const { ids: textIds, isComplete } = this.#encodeText(text, room);
    const kept = Math.min(textIds.length, room);

    const ids = new Int32Array(kept + specials);
    ids.set(prefixIds, 0);
    for (let i = 0; i < kept; i++) {
      const id = textIds[i] as number;
      if (!Number.isInteger(id) || id < 0) throw withoutId();
      ids[prefixIds.length + i] = id;
    }
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

interface ParsedTokenizer {
  readonly tokenizer: LibraryTokenizer;
  readonly frame: Frame;
  readonly idMax: number;
}

function parseTokenizer(bytes: Uint8Array, fileName: string): ParsedTokenizer {
  try {
    const given: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (!isRecord(given)) throw new TypeError('not a JSON object');
    if (isRecord(given.truncation) && given.truncation.direction === 'Left') {
      throw new SwitchyardError(
        'INVALID_MODEL',
        `${fileName} cuts texts on the left; only cutting on the right is supported`,
      );
    }
    if (given.type === UNIGRAM_TYPE) {
      const tokenizer = UnigramTokenizer.parse(given);
      return { tokenizer, frame: NO_FRAME, idMax: tokenizer.idMax };
    }
    const { json, idMax } = checkTokenizerFile(given, fileName);
    const tokenizer: LibraryTokenizer = new Tokenizer(json, {});
    const frame = frameOf(tokenizer, fileName);
    return {
      tokenizer: isWordByWord(json) ? rememberingWords(tokenizer, json, MEMO_BYTES_MAX) : tokenizer,
      frame,
      idMax,
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

const withoutId = (): SwitchyardError =>
  new SwitchyardError('INVALID_MODEL', 'the tokenizer of the model gave a token that has no id');

/**
 * Reads the frame off the post-processor by asking it, instead of knowing each kind of post-processor: what it adds
 * before and after must be the same for every text.
 */
function frameOf(tokenizer: LibraryTokenizer, fileName: string): Frame {
  const [first, second] = FRAME_SAMPLES.map((sample) => sampleFrame(tokenizer, sample));
  if (!first || !second || JSON.stringify(first) !== JSON.stringify(second)) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `${fileName} has a post-processor that does not simply put special tokens, each with an id, around a text`,
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
    // Of a token that is in no vocabulary the library makes the unknown one, or none.
    const hasId = (id: number | undefined, at: number): boolean =>
      id !== undefined && id === tokenizer.token_to_id?.(full.tokens?.[at] ?? '');
    if (full.ids.some((id, at) => (at < start || at >= end) && !hasId(id, at))) return undefined;
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
