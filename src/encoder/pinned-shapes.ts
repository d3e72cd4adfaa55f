import type { RunShape } from './batch-tensors.js';

export interface ShapeLimits {
  /** Numbers of texts, rising from 1. */
  readonly texts: readonly number[];
  /** Lengths in tokens, rising. */
  readonly lengths: readonly number[];
  /** Tokens of one run, padding included; one text of any length is always allowed. */
  readonly tokensMax: number;
  /** Of the model: a length beyond it is never needed, and it is always one. */
  readonly textTokensMax: number;
}

/**
 * The fixed set of shapes that runs on an accelerator are padded to. A shape seen for the first time costs an accelerator
 * many times a usual run (kernels are chosen, memory is planned), so each of these is warmed up at start, and no other
 * is ever run.
 */
export class PinnedShapes {
  readonly all: readonly RunShape[];
  readonly #lengths: readonly number[];
  readonly #texts: readonly number[];
  readonly #tokensMax: number;

  constructor({ texts, lengths, tokensMax, textTokensMax }: ShapeLimits) {
    this.#lengths = [...lengths.filter((length) => length < textTokensMax), textTokensMax];
    this.#texts = texts;
    this.#tokensMax = tokensMax;
    this.all = this.#lengths.flatMap((tokens) =>
      this.#sizesOf(tokens).map((size) => ({ texts: size, tokens })),
    );
  }

  /** The least length that holds a text of so many tokens. */
  lengthOf(tokens: number): number {
    return this.#lengths.find((length) => length >= tokens) ?? (this.#lengths.at(-1) as number);
  }

  /** The most texts that a run of this length may have. */
  textsMax(length: number): number {
    return this.#sizesOf(length).at(-1) ?? 1;
  }

  /** The least number of texts that holds so many. */
  textsOf(count: number, length: number): number {
    return this.#sizesOf(length).find((size) => size >= count) ?? this.textsMax(length);
  }

  #sizesOf(length: number): readonly number[] {
    return this.#texts.filter((size) => size === 1 || size * length <= this.#tokensMax);
  }
}
