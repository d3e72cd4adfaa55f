import { SwitchyardError } from '../errors.js';
import { type Batchable, LOOKAHEAD_TEXTS } from './batching.js';
import type { OpenPiece } from './open-pieces.js';
import type { TokenisedText } from './tokenizer.js';

/** Tokenising in one go at most this long, so that a live text is seen between the texts of a large bulk piece. */
const TOKENISE_SLICE_MS = 4;

/** A text that was tokenised; `arrivedAtMs` is its piece's, by `performance.now()` of this process. */
export interface WaitingText extends Batchable {
  readonly owner: OpenPiece;
  readonly row: number;
}

/** What waits in a lane: pieces until their texts are tokenised, and texts until they are in a run; in order of arrival. */
export class LaneQueue {
  /** Texts of the last run: how much company the next ones may expect. */
  company = 0;
  readonly #untokenised: OpenPiece[] = [];
  readonly #waiting: WaitingText[] = [];

  get waiting(): readonly WaitingText[] {
    return this.#waiting;
  }

  get isEmpty(): boolean {
    return this.#untokenised.length === 0 && this.#waiting.length === 0;
  }

  /** Whether more could be tokenised for the next run. */
  get isBehind(): boolean {
    return this.#untokenised.length > 0 && this.#waiting.length < LOOKAHEAD_TEXTS;
  }

  add(open: OpenPiece): void {
    this.#untokenised.push(open);
  }

  /** What is over leaves before it costs a token. */
  dropUntokenised(isOver: (open: OpenPiece) => boolean): void {
    if (this.#untokenised.some(isOver)) keep(this.#untokenised, (open) => !isOver(open));
  }

  /** What is over leaves, tokenised or not. */
  dropOver(isOver: (open: OpenPiece) => boolean): void {
    this.dropUntokenised(isOver);
    if (this.#waiting.some(({ owner }) => isOver(owner))) keep(this.#waiting, ({ owner }) => !isOver(owner));
  }

  /**
   * True when there is enough to pick a batch from; false when its time was up before. `refuse`: a text of the piece can
   * have no vector; `leaveOut`: it needs none, since it has no tokens.
   */
  tokenise(
    tokensOf: (open: OpenPiece, row: number) => TokenisedText | SwitchyardError,
    refuse: (open: OpenPiece, error: SwitchyardError) => void,
    leaveOut: (open: OpenPiece) => void,
  ): boolean {
    const endMs = performance.now() + TOKENISE_SLICE_MS;
    for (let open = this.#untokenised[0]; open !== undefined; open = this.#untokenised[0]) {
      const { piece, tokenised, arrivedAtMs } = open;
      while (tokenised.length < piece.texts.length) {
        if (this.#waiting.length >= LOOKAHEAD_TEXTS) return true;
        if (performance.now() >= endMs) return false;
        const row = tokenised.length;
        const text = tokensOf(open, row);
        if (text instanceof SwitchyardError) {
          refuse(open, text);
          const refused = open;
          keep(this.#waiting, ({ owner }) => owner !== refused);
          break;
        }
        tokenised.push(text);
        if (text.ids.length === 0) leaveOut(open);
        else this.#waiting.push({ owner: open, row, tokens: text.ids.length, arrivedAtMs });
      }
      this.#untokenised.shift();
    }
    return this.#waiting.length > 0;
  }

  /** Takes texts out, by their positions in `waiting`. */
  take(positions: readonly number[]): WaitingText[] {
    const chosen = new Set(positions);
    const taken: WaitingText[] = [];
    for (const position of positions) {
      const text = this.#waiting[position];
      if (text === undefined) continue;
      text.owner.hasBegun = true;
      taken.push(text);
    }
    let position = 0;
    keep(this.#waiting, () => !chosen.has(position++));
    return taken;
  }
}

/** Filters in place, in order. */
function keep<T>(items: T[], wanted: (item: T) => boolean): void {
  let kept = 0;
  for (const item of items) {
    if (!wanted(item)) continue;
    items[kept] = item;
    kept += 1;
  }
  items.length = kept;
}
