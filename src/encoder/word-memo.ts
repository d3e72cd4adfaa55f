/** The tokens of a word, for instance of `house,`; a number for one alone. */
export type WordIds = number | readonly number[];

/** A word between blanks that is longer is seldom seen twice: a link, a hash, base64. */
const WORD_LENGTH_MAX = 64;
/** Beside characters and ids: an entry's share of a hash table, and the headers of its string and its list. */
const ENTRY_BYTES = 96;
const ID_BYTES = 8;

/** Blanks that no tokenizer of this kind lets anything reach across. */
const isBlank = (code: number): boolean => code === 32 || code === 10 || code === 9 || code === 13;

/**
 * Whether the tokens of a text are those of its words one after the other, words being what stands between blanks: BERT's
 * normaliser and splitter look at nothing beyond a blank, WordPiece at nothing beyond a word, and no added token has a
 * blank in it. `json`: of a `tokenizer.json`.
 */
export function isWordByWord(json: Readonly<Record<string, unknown>>): boolean {
  const { added_tokens: addedTokens } = json;
  return (
    typeOf(json.normalizer) === 'BertNormalizer' &&
    typeOf(json.pre_tokenizer) === 'BertPreTokenizer' &&
    typeOf(json.model) === 'WordPiece' &&
    Array.isArray(addedTokens) &&
    addedTokens.every((token) => !/\s/u.test(String((token as { content?: unknown } | null)?.content)))
  );
}

const ASCII_WORD = /^[!-~]+$/u;
const ASCII_PARTS = /[A-Za-z0-9]+|[^A-Za-z0-9]/gu;
const ASCII_PUNCTUATION = /^[!-/:-@[-`{-~]/u;

/**
 * How the normaliser and the splitter of a tokenizer of which `isWordByWord` holds take a word apart, for words of ASCII
 * alone in which no added token can begin: a part that is in the vocabulary is the token of that name, since WordPiece
 * takes the longest piece first. null: ask the tokenizer.
 */
export function asciiPartsOf(
  json: Readonly<Record<string, unknown>>,
): (word: string) => readonly string[] | null {
  const added = (json.added_tokens as readonly { readonly content?: unknown }[]).map(({ content }) =>
    String(content),
  );
  if (!added.every((content) => ASCII_PUNCTUATION.test(content))) return () => null;
  const firsts = [...new Set(added.map((content) => content.charAt(0)))];
  const isLowercased = Boolean((json.normalizer as { readonly lowercase?: unknown }).lowercase);
  const { max_input_chars_per_word: most } = json.model as { readonly max_input_chars_per_word?: unknown };
  const lengthMax = typeof most === 'number' ? most : 100;
  return (word) => {
    if (word.length > lengthMax || !ASCII_WORD.test(word)) return null;
    if (firsts.some((first) => word.includes(first))) return null;
    return (isLowercased ? word.toLowerCase() : word).match(ASCII_PARTS);
  };
}

const typeOf = (part: unknown): unknown =>
  typeof part === 'object' && part !== null ? (part as { type?: unknown }).type : undefined;

/**
 * Tokens of the words seen lately, before a tokenizer of which `isWordByWord` holds: most words of a text were in others
 * before, and to look one up costs a tenth of tokenising it. Bounded in bytes: what was not asked for while half of the
 * bound filled up is forgotten, so words that nobody repeats push out one another.
 */
export class WordMemo {
  readonly #idsOf: (word: string) => WordIds;
  readonly #halfBytesMax: number;
  #words = new Map<string, WordIds>();
  #older = new Map<string, WordIds>();
  #bytes = 0;
  #olderBytes = 0;

  /** `idsOf`: without special tokens. `bytesMax`: an estimate of what the words take, at most. */
  constructor(idsOf: (word: string) => WordIds, bytesMax: number) {
    this.#idsOf = idsOf;
    this.#halfBytesMax = bytesMax / 2;
  }

  get bytes(): number {
    return this.#bytes + this.#olderBytes;
  }

  /** The ids that `idsOf` has for the whole text, which has no lone surrogates. */
  encode(text: string): number[] {
    const ids: number[] = [];
    const end = text.length;
    for (let from = 0, to = 0; from < end; from = to + 1) {
      for (to = from; to < end && !isBlank(text.charCodeAt(to)); ) to++;
      if (to === from) continue;
      const found = this.#find(text.slice(from, to));
      if (typeof found === 'number') ids.push(found);
      else for (const id of found) ids.push(id);
    }
    return ids;
  }

  #find(word: string): WordIds {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    if (word.length > WORD_LENGTH_MAX) return this.#idsOf(word);
    // A part of a text keeps the whole of it in memory: what is remembered is a copy.
    const own = Buffer.from(word, 'utf8').toString('utf8');
    return this.#remember(own, this.#older.get(word) ?? this.#idsOf(word));
  }

  #remember(word: string, ids: WordIds): WordIds {
    const only = typeof ids !== 'number' && ids.length === 1 ? ids[0] : undefined;
    // A damaged vocabulary may have ids that are no numbers.
    const kept = typeof only === 'number' ? only : ids;
    const bytes = ENTRY_BYTES + 2 * word.length + (typeof kept === 'number' ? 0 : kept.length * ID_BYTES);
    if (this.#bytes + bytes > this.#halfBytesMax) {
      this.#older = this.#words;
      this.#olderBytes = this.#bytes;
      this.#words = new Map();
      this.#bytes = 0;
    }
    this.#words.set(word, kept);
    this.#bytes += bytes;
    return kept;
  }
}
