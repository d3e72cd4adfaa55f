import { SwitchyardError } from '../errors.js';

export interface Chunking {
  /** Tokens of text in a chunk, without the title and the special tokens. */
  readonly tokensMax: number;
  /** Tokens at the end of a chunk that begin the next one again. */
  readonly overlapTokens: number;
}

/** Errors: INVALID_ARGUMENT when the overlap leaves no progress. */
export function checkChunking(chunking: Chunking): Chunking {
  const { tokensMax, overlapTokens } = chunking;
  if (!Number.isInteger(tokensMax) || tokensMax < 8) {
    throw new SwitchyardError('INVALID_ARGUMENT', `chunk tokens ${tokensMax} must be a whole number >= 8`);
  }
  if (!Number.isInteger(overlapTokens) || overlapTokens < 0 || overlapTokens > tokensMax / 2) {
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `chunk overlap ${overlapTokens} must be between 0 and half the chunk, ${Math.floor(tokensMax / 2)}`,
    );
  }
  return chunking;
}

/**
 * Cuts a text at white space into overlapping chunks of at most `tokensMax` tokens, counted word by word with the
 * model's own tokenizer. A single word above the limit is a chunk of its own (and is then cut by the encoder, and counted).
 */
export function chunkText(text: string, chunking: Chunking, countTokens: (word: string) => number): string[] {
  const words = text.split(/(?<=\s)(?=\S)/u);
  const tokens = words.map((word) => Math.max(1, countTokens(word)));
  const chunks: string[] = [];
  let start = 0;
  while (start < words.length) {
    let end = start;
    let total = 0;
    while (end < words.length && (end === start || total + (tokens[end] ?? 0) <= chunking.tokensMax)) {
      total += tokens[end] ?? 0;
      end++;
    }
    chunks.push(words.slice(start, end).join('').trim());
    if (end === words.length) break;
    start = Math.max(start + 1, backUp(tokens, end, chunking.overlapTokens));
  }
  return chunks;
}

/** The first word from which at most `overlapTokens` tokens lead up to `end`. */
function backUp(tokens: readonly number[], end: number, overlapTokens: number): number {
  let at = end;
  let total = 0;
  while (at > 0 && total + (tokens[at - 1] ?? 0) <= overlapTokens) {
    at--;
    total += tokens[at] ?? 0;
  }
  return at;
}
