import { errorToFrame, type SwitchyardError } from '../errors.js';
import type { FrameChannel } from '../process/frame-channel.js';
import { type BatchMessage, encodeJson, encodeVectors, FRAME, type Piece } from './child-protocol.js';
import type { TokenisedText } from './tokenizer.js';

/** A piece that came and is not answered. */
export interface OpenPiece {
  readonly id: number;
  readonly piece: Piece;
  /** `performance.now()` of this process. */
  readonly arrivedAtMs: number;
  readonly deadlineAtMs: number;
  readonly tokenised: TokenisedText[];
  readonly values: Float32Array;
  readonly runs: { batch: number; runUs: number }[];
  missing: number;
  /** A text of it is in a run, or was. */
  hasBegun: boolean;
  /** Answered already, or waited for by nobody: its texts are dropped where they are. */
  over: boolean;
}

/** The pieces that the parent waits for; each is answered once, with its vectors or an error. */
export class OpenPieces {
  readonly #channel: FrameChannel;
  readonly #dimensions: number;
  readonly #open = new Map<number, OpenPiece>();

  /** `dimensions`: of the model. */
  constructor(channel: FrameChannel, dimensions: number) {
    this.#channel = channel;
    this.#dimensions = dimensions;
  }

  add(id: number, piece: Piece): OpenPiece {
    const arrivedAtMs = performance.now();
    const open: OpenPiece = {
      id,
      piece,
      arrivedAtMs,
      deadlineAtMs: arrivedAtMs + piece.remainingMs,
      tokenised: [],
      values: new Float32Array(piece.texts.length * this.#dimensions),
      runs: [],
      missing: piece.texts.length,
      hasBegun: false,
      over: false,
    };
    this.#open.set(id, open);
    return open;
  }

  find(id: number): OpenPiece | undefined {
    return this.#open.get(id);
  }

  /** Row `from` of a run's vectors for text `row` of a piece. True when it was the last missing one: `answer` it. */
  store(
    owner: OpenPiece,
    row: number,
    vectors: Float32Array,
    from: number,
    { batch, runUs }: BatchMessage,
  ): boolean {
    if (owner.over) return false;
    const dimensions = this.#dimensions;
    owner.values.set(vectors.subarray(from * dimensions, (from + 1) * dimensions), row * dimensions);
    if (owner.runs.at(-1)?.batch !== batch) owner.runs.push({ batch, runUs });
    return this.#isDone(owner);
  }

  /** A text of a piece needs no vector. As `store`. */
  leaveOut(owner: OpenPiece): boolean {
    return !owner.over && this.#isDone(owner);
  }

  #isDone(owner: OpenPiece): boolean {
    owner.missing -= 1;
    if (owner.missing > 0) return false;
    this.#settle(owner);
    return true;
  }

  answer({ id, runs, tokenised, values }: OpenPiece): void {
    const answer = {
      runs,
      tokenCounts: Uint32Array.from(tokenised, ({ tokenCount }) => tokenCount),
      truncatedCount: tokenised.filter(({ truncated }) => truncated).length,
      values,
    };
    this.#channel.send(FRAME.vectors, id, encodeVectors(answer));
  }

  refuse(open: OpenPiece, error: SwitchyardError): void {
    if (open.over) return;
    this.#settle(open);
    this.#channel.send(FRAME.refused, open.id, encodeJson(errorToFrame(error)));
  }

  #settle(open: OpenPiece): void {
    open.over = true;
    this.#open.delete(open.id);
  }
}
