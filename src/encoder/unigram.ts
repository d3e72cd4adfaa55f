import { type Static, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';

/** `type` of a `tokenizer.json` that is run here instead of by the tokenizers library. */
export const UNIGRAM_TYPE = 'switchyard/unigram';

const closed = { additionalProperties: false } as const;

const UNIGRAM_FILE = Type.Object(
  {
    type: Type.Literal(UNIGRAM_TYPE),
    format_version: Type.Literal(1),
    normalisation: Type.Literal('NFKC'),
    /** Stands for a blank, and before every text that is not empty. */
    blank: Type.String({ minLength: 1, maxLength: 1 }),
    /** Characters that no piece begins with; neighbours become one. */
    unknown_id: Type.Integer({ minimum: 0 }),
    /** Pieces before this one are reserved and never found in a text. */
    first_piece_id: Type.Integer({ minimum: 0 }),
    /** Piece and score; the place in the list is the id. */
    pieces: Type.Array(Type.Tuple([Type.String({ minLength: 1, maxLength: 256 }), Type.Number()]), {
      minItems: 1,
      maxItems: 1 << 20,
    }),
  },
  closed,
);
export type UnigramFile = Static<typeof UNIGRAM_FILE>;

interface TrieNode {
  readonly children: Map<string, TrieNode>;
  /** Piece that ends here. Of equal pieces the last one counts, as in the reference. */
  id: number | undefined;
}

/**
 * The unigram tokenizer of Universal Sentence Encoder lite, id for id as `@energetic-ai/embeddings` (and
 * `@tensorflow-models/universal-sentence-encoder`, where that came from) does it: docs/decisions/0014 has what makes
 * it another than the tokenizers library's. Case-sensitive, no special tokens, no cutting.
 */
export class UnigramTokenizer {
  readonly #blank: string;
  readonly #unknownId: number;
  readonly #trie: TrieNode = { children: new Map(), id: undefined };
  readonly #scores: Float64Array;
  /** In code points. */
  readonly #lengths: Int32Array;

  private constructor(file: UnigramFile) {
    this.#blank = file.blank;
    this.#unknownId = file.unknown_id;
    this.#scores = Float64Array.from(file.pieces, ([, score]) => score);
    this.#lengths = Int32Array.from(file.pieces, ([piece]) => [...piece].length);
    for (const [id, [piece]] of file.pieces.entries()) if (id >= file.first_piece_id) this.#insert(piece, id);
  }

  /** Largest id that a text can have. */
  get idMax(): number {
    return this.#scores.length - 1;
  }

  /** Throws a TypeError that says what is wrong with the file. */
  static parse(json: unknown): UnigramTokenizer {
    const problem = Value.Errors(UNIGRAM_FILE, json).First();
    if (problem) throw new TypeError(`${problem.path || '/'}: ${problem.message}`);
    const file = json as UnigramFile;
    const reserved = Math.min(file.first_piece_id, file.pieces.length);
    if (file.unknown_id >= reserved) throw new TypeError('/unknown_id: must be a reserved piece');
    return new UnigramTokenizer(file);
  }

  encode(text: string): { readonly ids: readonly number[] } {
    const normalised = text.normalize('NFKC');
    if (normalised.length === 0) return { ids: [] };
    const symbols = [...(this.#blank + normalised.replaceAll(' ', this.#blank))];
    return { ids: this.#backtrack(this.#bestPieces(symbols)) };
  }

  #insert(piece: string, id: number): void {
    let node = this.#trie;
    for (const symbol of piece) {
      let child = node.children.get(symbol);
      if (!child) {
        child = { children: new Map(), id: undefined };
        node.children.set(symbol, child);
      }
      node = child;
    }
    node.id = id;
  }

  /** Viterbi: for every place in the text the last piece of the best way there. */
  #bestPieces(symbols: readonly string[]): Int32Array {
    const best = new Float64Array(symbols.length + 1);
    const last = new Int32Array(symbols.length + 1).fill(this.#unknownId);
    const offer = (start: number, end: number, id: number, score: number): void => {
      const total = score + (best[start] as number);
      const current = best[end] as number;
      // `>=`: of equal ways the one with the shorter last piece. A best score of 0 counts as "no way yet", which is
      // how the reference loses a way of pieces that all score 0. Both are part of the model: it was used like this.
      if (current !== 0 && total < current) return;
      best[end] = total;
      last[end] = id;
    };
    for (let start = 0; start < symbols.length; start++) {
      let isKnown = false;
      let node = this.#trie.children.get(symbols[start] as string);
      for (let end = start + 1; node; end++) {
        if (node.id !== undefined) {
          isKnown = true;
          offer(start, end, node.id, this.#scores[node.id] as number);
        }
        node = end < symbols.length ? node.children.get(symbols[end] as string) : undefined;
      }
      // Costs nothing, unlike in other unigram tokenizers; there is no other way past such a character.
      if (!isKnown) offer(start, start + 1, this.#unknownId, 0);
    }
    return last;
  }

  #backtrack(last: Int32Array): number[] {
    const ids: number[] = [];
    for (let end = last.length - 1; end > 0; ) {
      const id = last[end] as number;
      const isUnknown = id === this.#unknownId;
      if (!(isUnknown && ids.at(-1) === this.#unknownId)) ids.push(id);
      end -= isUnknown ? 1 : (this.#lengths[id] as number);
    }
    return ids.reverse();
  }
}
