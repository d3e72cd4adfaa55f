/**
 * A 1 MB text costs 0.4 s to tokenise although only its first max tokens count. So a text is tokenised in a growing
 * window from its start, until the window holds the wanted tokens and a margin. The margin and the place of the cut
 * make the kept tokens the ones that the whole text would give.
 */
export interface CappedText {
  readonly text: string;
  readonly isWhole: boolean;
  /** Tokens wanted beyond the kept ones before a cut window is believed: its last tokens may depend on what follows. */
  readonly marginTokens: number;
}

const MARGIN_TOKENS = 32;
const CHARACTERS_PER_TOKEN = 16;
/** Texts up to so many characters are always read whole if they must be. */
const WINDOW_CHARACTERS_MIN = 4096;
/** Beyond so many characters per token of room nothing is looked at: 1 MB of blanks must not cost 1 MB of work. */
const CHARACTERS_PER_TOKEN_MAX = 256;
const WINDOW_CHARACTERS_HARD_MIN = 65_536;

/** None of those white-space characters that BERT's normaliser takes out, so that a word goes on behind them. */
const BLANK = /[^\S\f\v\ufeff]/u;
/** Where no word goes on: punctuation and CJK ideographs stand alone in every tokenizer with a word splitter. */
const STANDS_ALONE = /[\p{P}\u3400-\u9fff\uf900-\ufaff]/u;

/** Windows of a text, each twice the one before; the last one is the whole text or the hard cap. */
export function* capText(text: string, roomTokens: number): Generator<CappedText> {
  const hardCap = Math.max(WINDOW_CHARACTERS_HARD_MIN, roomTokens * CHARACTERS_PER_TOKEN_MAX);
  let length = Math.max(WINDOW_CHARACTERS_MIN, roomTokens * CHARACTERS_PER_TOKEN);
  for (; length < Math.min(text.length, hardCap); length *= 2) {
    const end = safeCut(text, length);
    if (end !== undefined) yield { text: text.slice(0, end), isWhole: false, marginTokens: MARGIN_TOKENS };
  }
  if (text.length <= hardCap) yield { text, isWhole: true, marginTokens: 0 };
  else yield { text: text.slice(0, safeCut(text, hardCap) ?? hardCap), isWhole: false, marginTokens: 0 };
}

/** The last place in the second half of the window where a word certainly ended, if there is one. */
function safeCut(text: string, length: number): number | undefined {
  for (let end = length; end > length / 2; end--) if (BLANK.test(text.charAt(end))) return end;
  for (let end = length; end > length / 2; end--) if (STANDS_ALONE.test(text.charAt(end - 1))) return end;
  return undefined;
}
