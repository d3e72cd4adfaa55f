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
 * Tokens of the words seen lately, before a tokenizer that reads a text word by word: most words of a text were in others
 * before, and to look one up costs a tenth of tokenising it. Bounded in bytes: what was not asked for while half of the
 * bound filled up is forgotten, so words that nobody repeats push out one another.
 */
export class WordMemo {
  readonly #idsOf: (word: string) => WordIds | null;
  readonly #halfBytesMax: number;
  #words = new Map<string, WordIds | null>();
  #older = new Map<string, WordIds | null>();
  #bytes = 0;
  #olderBytes = 0;

  /**
   * `idsOf`: without the special tokens around a text; null for a word whose tokens depend on the text it is in.
   * `bytesMax`: an estimate of what the words take, at most.
   */
  constructor(idsOf: (word: string) => WordIds | null, bytesMax: number) {
    this.#idsOf = idsOf;
    this.#halfBytesMax = bytesMax / 2;
  }

  get bytes(): number {
    return this.#bytes + this.#olderBytes;
  }

  /** The ids of the words of a text, which has no lone surrogates, one after the other; null when one has none alone. */
  encode(text: string): number[] | null {
    const ids: number[] = [];
    const end = text.length;
    for (let from = 0, to = 0; from < end; from = to + 1) {
      for (to = from; to < end && !isBlank(text.charCodeAt(to)); ) to++;
      if (to === from) continue;
      const found = this.#find(text.slice(from, to));
      if (found === null) return null;
      if (typeof found === 'number') ids.push(found);
      else for (const id of found) ids.push(id);
    }
    return ids;
  }

  #find(word: string): WordIds | null {
    const known = this.#words.get(word);
    if (known !== undefined) return known;
    if (word.length > WORD_LENGTH_MAX) return this.#idsOf(word);
    // A part of a text keeps the whole of it in memory: what is remembered is a copy.
    const own = Buffer.from(word, 'utf8').toString('utf8');
    const older = this.#older.get(word);
    return this.#remember(own, older === undefined ? this.#idsOf(word) : older);
  }

  #remember(word: string, ids: WordIds | null): WordIds | null {
    const isList = ids !== null && typeof ids !== 'number';
    const only = isList && ids.length === 1 ? ids[0] : undefined;
    // A damaged vocabulary may have ids that are no numbers.
    const kept = typeof only === 'number' ? only : ids;
    const listed = kept === null || typeof kept === 'number' ? 0 : kept.length;
    const bytes = ENTRY_BYTES + 2 * word.length + listed * ID_BYTES;
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
