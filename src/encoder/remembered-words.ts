import type { Json } from './tokenizer-file.js';
import { type WordIds, WordMemo } from './word-memo.js';

/** What is used of the library; its own declarations do not resolve under nodenext. */
export interface LibraryTokenizer {
  encode(
    text: string,
    options: { readonly add_special_tokens?: boolean; readonly return_token_type_ids?: boolean },
  ): {
    readonly ids: readonly number[];
    readonly tokens?: readonly string[];
    readonly token_type_ids?: readonly number[];
  };
  token_to_id?(token: string): number | undefined;
}

/** Each is looked for in every new word; a model has five, one whose reserve is listed a thousand. */
const ADDED_TOKENS_MAX = 2_000;
const ASCII_WORD = /^[!-~]+$/u;

/**
 * Whether the tokens of a text are those of its words one after the other, words being what stands between blanks, as
 * long as `addedTokenFinder` finds nothing in it: BERT's normaliser and splitter look at nothing beyond a blank, and
 * WordPiece at nothing beyond a word.
 */
export function isWordByWord(json: Json): boolean {
  const { added_tokens: added, model } = json;
  return (
    typeOf(json.normalizer) === 'BertNormalizer' &&
    typeOf(json.pre_tokenizer) === 'BertPreTokenizer' &&
    typeOf(model) === 'WordPiece' &&
    // The library would make one of unknown tokens in a row.
    !(model as { readonly fuse_unk?: unknown }).fuse_unk &&
    lengthMaxOf(json) !== null &&
    isOnce(json.post_processor) &&
    Array.isArray(added) &&
    added.length <= ADDED_TOKENS_MAX &&
    added.every((token) => ASCII_WORD.test(contentOf(token)))
  );
}

/** Characters of a word that is taken apart, as the library understands it; null for what it compares otherwise. */
function lengthMaxOf({ model }: Json): number | null {
  const { max_input_chars_per_word: most } = model as { readonly max_input_chars_per_word?: unknown };
  if (most === undefined || most === null) return 100;
  return typeof most === 'number' ? most : null;
}

/** Whether a post-processor has the tokens of a text once, as they are. */
function isOnce(processor: unknown): boolean {
  if (processor === null || processor === undefined) return true;
  if (typeOf(processor) !== 'TemplateProcessing')
    return typeOf(processor) === 'BertProcessing' || typeOf(processor) === 'RobertaProcessing';
  const { single } = processor as { readonly single?: unknown };
  const isText = (piece: unknown): boolean =>
    typeof piece === 'object' && piece !== null && 'Sequence' in piece;
  return Array.isArray(single) && single.filter(isText).length === 1;
}

/**
 * Whether an added token may be seen in a word, as it is written or as the normaliser of any options leaves it. Then the
 * library's answer depends on more than the word: it compares whole stretches of text between added tokens with all of
 * them, also with special ones after normalising, so that `<S>` alone is the token `<s>` and in `a <S>` it is not.
 * What is found but is not there costs the whole text's tokenising, nothing else.
 */
export function addedTokenFinder(json: Json): (word: string) => boolean {
  const contents = (json.added_tokens as readonly unknown[]).map((token) => contentOf(token).toLowerCase());
  if (contents.length === 0) return () => false;
  const anyOf = new RegExp(contents.map((content) => content.replace(SYNTAX, '\\$&')).join('|'), 'u');
  // Added tokens are of ASCII: what a normaliser removes, and what it makes ASCII of, is what there is to see through.
  return (word) => anyOf.test(word.normalize('NFD').toLowerCase().replace(NOT_VISIBLE_ASCII, ''));
}

const NOT_VISIBLE_ASCII = /[^!-~]/gu;
const SYNTAX = /[\\^$.*+?()[\]{}|/]/gu;
const ASCII_PARTS = /[A-Za-z0-9]+|[^A-Za-z0-9]/gu;

/**
 * How the normaliser and the splitter of a tokenizer of which `isWordByWord` holds take a word apart, for words of ASCII
 * alone in which there is no added token: a part that is in the vocabulary is the token of that name, since WordPiece
 * takes the longest piece first. null: ask the tokenizer.
 */
export function asciiPartsOf(json: Json): (word: string) => readonly string[] | null {
  const isLowercased = Boolean((json.normalizer as { readonly lowercase?: unknown }).lowercase);
  const lengthMax = lengthMaxOf(json) ?? 0;
  return (word) => {
    if (word.length > lengthMax || !ASCII_WORD.test(word)) return null;
    return (isLowercased ? word.toLowerCase() : word).match(ASCII_PARTS);
  };
}

/** The same tokenizer, of which `isWordByWord` holds, before a memory of words that takes `bytesMax` by estimate. */
export function rememberingWords(
  tokenizer: LibraryTokenizer,
  json: Json,
  bytesMax: number,
): LibraryTokenizer {
  const isDelicate = addedTokenFinder(json);
  const partsOf = asciiPartsOf(json);
  const ask = (text: string): readonly number[] => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const idsOf = (word: string): WordIds | null => {
    if (isDelicate(word)) return null;
    const parts = partsOf(word);
    if (parts === null) return ask(word);
    return parts.flatMap((part) => {
      const id = tokenizer.token_to_id?.(part);
      return typeof id === 'number' ? [id] : ask(part);
    });
  };
  const memo = new WordMemo(idsOf, bytesMax);
  return { encode: (text) => ({ ids: memo.encode(text) ?? ask(text) }) };
}

const contentOf = (token: unknown): string =>
  String((token as { readonly content?: unknown } | null | undefined)?.content);

const typeOf = (part: unknown): unknown =>
  typeof part === 'object' && part !== null ? (part as { readonly type?: unknown }).type : undefined;
