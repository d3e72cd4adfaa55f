import { errorToFrame, SwitchyardError, toSwitchyardError } from '../errors.js';
import { LaneDelays, type QueueTimeLimits } from '../process/controlled-delay.js';
import type { FrameChannel } from '../process/frame-channel.js';
import type { InputRole } from '../vocabulary.js';
import { LANES, type Lane } from '../vocabulary.js';
import type { RunShape } from './batch-tensors.js';
import type { Batcher } from './batcher.js';
import { LOOKAHEAD_TEXTS } from './batching.js';
import {
  type BatchMessage,
  encodeBatch,
  encodeJson,
  encodeVectors,
  FRAME,
  type Piece,
} from './child-protocol.js';
import type { ModelManifest } from './manifest.js';
import type { TokenisedText } from './tokenizer.js';

/** The model that a worker runs. */
export interface WorkerSession {
  readonly manifest: ModelManifest;
  tokenizeOne(text: string, role: InputRole): TokenisedText;
  run(texts: readonly TokenisedText[], shape?: RunShape): Promise<Float32Array>;
  /** A run is another thread's: this one can read, tokenise and answer meanwhile. Absent: a run blocks it. */
  readonly isBeside?: boolean;
}

export interface WorkerModel {
  readonly session: WorkerSession;
  readonly batcher: Batcher;
}

/** Tokenising in one go at most this long, so that a live text is seen between the texts of a large bulk piece. */
const TOKENISE_SLICE_MS = 4;

interface OpenPiece {
  readonly id: number;
  readonly piece: Piece;
  /** `performance.now()` of this process. */
  readonly arrivedAtMs: number;
  readonly deadlineAtMs: number;
  readonly tokenised: TokenisedText[];
  readonly values: Float32Array;
  readonly runs: { batch: number; runUs: number }[];
  missing: number;
  /** Answered already, or waited for by nobody: its texts are dropped where they are. */
  over: boolean;
}

interface WaitingText {
  readonly owner: OpenPiece;
  readonly row: number;
  readonly tokens: number;
  /** `performance.now()` of this process when its piece came. */
  readonly arrivedAtMs: number;
}

interface LaneQueue {
  /** Pieces whose texts are not all tokenised yet, oldest first. */
  readonly untokenised: OpenPiece[];
  readonly waiting: WaitingText[];
  /** Texts of the last run: how much company the next ones may expect. */
  company: number;
}

/**
 * The work of an encoder process: pieces in, batches through the model, vectors out. One run at a time; between two runs
 * the loop reads what has arrived, so a live text overtakes queued bulk. Where a run is another thread's, what arrives
 * meanwhile is tokenised, and the answers of a run are sent while the next one is on its way.
 */
export class ChildWorker {
  readonly #started: WorkerModel;
  readonly #channel: FrameChannel;
  readonly #lanes: Readonly<Record<Lane, LaneQueue>> = {
    live: { untokenised: [], waiting: [], company: 0 },
    shadow: { untokenised: [], waiting: [], company: 0 },
    bulk: { untokenised: [], waiting: [], company: 0 },
  };
  readonly #open = new Map<number, OpenPiece>();
  #batch = 0;
  #isWorking = false;
  #onArrival: () => void = ignore;
  /** Sends the answers of the last run; they leave once the next one has begun, or when there is none. */
  #sendAnswers: () => void = ignore;
  readonly #onBroken: (error: unknown) => void;
  readonly #delays: LaneDelays;

  /** `onBroken`: the model no longer works in this process, which had better end. */
  constructor(
    started: WorkerModel,
    channel: FrameChannel,
    onBroken: (error: unknown) => void,
    queueTime: QueueTimeLimits | null = null,
  ) {
    this.#delays = new LaneDelays(queueTime);
    this.#started = started;
    this.#channel = channel;
    this.#onBroken = onBroken;
  }

  add(id: number, piece: Piece): void {
    const { dimensions } = this.#started.session.manifest;
    const arrivedAtMs = performance.now();
    const open: OpenPiece = {
      id,
      piece,
      arrivedAtMs,
      deadlineAtMs: arrivedAtMs + piece.remainingMs,
      tokenised: [],
      values: new Float32Array(piece.texts.length * dimensions),
      runs: [],
      missing: piece.texts.length,
      over: false,
    };
    this.#open.set(id, open);
    this.#lanes[piece.lane].untokenised.push(open);
    this.#onArrival();
    this.#wake();
  }

  cancel(id: number): void {
    const open = this.#open.get(id);
    if (open !== undefined) this.#refuse(open, expired());
  }

  #wake(): void {
    if (this.#isWorking) return;
    this.#isWorking = true;
    setImmediate(() => {
      this.#work().then(
        () => {
          this.#isWorking = false;
        },
        (error: unknown) => this.#onBroken(error),
      );
    });
  }

  async #work(): Promise<void> {
    for (;;) {
      // Who would be encoded last goes first: it only holds a place.
      if (this.#delays.isStanding) for (const name of LANES) this.#dropOver(name);
      const lane = LANES.find((name) => this.#hasWork(name));
      for (const name of LANES) if (this.#isEmpty(name)) this.#delays.emptied(name);
      if (lane === undefined) {
        this.#sendLast();
        return;
      }
      const isEnough = this.#tokenise(lane);
      const holdMs = isEnough ? this.#holdMs(lane) : 0;
      if (isEnough && holdMs <= 0) await this.#runBatch(lane);
      else this.#sendLast();
      if (holdMs > 0) await this.#arrivalOr(holdMs);
      // The poll phase comes before the next check phase: frames that arrived meanwhile are read here.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /**
   * How long what waits is held back for company. Never when the last run had none or less: a lone request, and one of
   * several that are all here already, goes at once.
   */
  #holdMs(lane: Lane): number {
    const { waiting, company } = this.#lanes[lane];
    const oldest = waiting[0];
    const { delayMsMax } = this.#started.batcher;
    if (delayMsMax === 0 || oldest === undefined || waiting.length >= company) return 0;
    return oldest.arrivedAtMs + delayMsMax - performance.now();
  }

  async #arrivalOr(holdMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, holdMs);
      this.#onArrival = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#onArrival = ignore;
  }

  #hasWork(lane: Lane): boolean {
    this.#dropOver(lane);
    return !this.#isEmpty(lane);
  }

  #isEmpty(lane: Lane): boolean {
    const { untokenised, waiting } = this.#lanes[lane];
    return untokenised.length === 0 && waiting.length === 0;
  }

  /** Expired and cancelled texts, and those that waited too long, leave here, before they cost a token. */
  #dropOver(lane: Lane): void {
    const { untokenised, waiting } = this.#lanes[lane];
    const nowMs = performance.now();
    const isOver = (open: OpenPiece): boolean => {
      if (!open.over && open.deadlineAtMs <= nowMs) this.#refuse(open, expired());
      if (!open.over && this.#isShed(open, nowMs)) this.#refuse(open, shed(open.piece.lane));
      return open.over;
    };
    if (untokenised.some(isOver)) keep(untokenised, (open) => !isOver(open));
    if (waiting.some(({ owner }) => isOver(owner))) keep(waiting, ({ owner }) => !isOver(owner));
  }

  #isShed({ piece, missing, arrivedAtMs }: OpenPiece, nowMs: number): boolean {
    const isUntouched = piece.isWhole && missing === piece.texts.length;
    return isUntouched && this.#delays.isTooLong(piece.lane, nowMs - arrivedAtMs);
  }

  /** True when there is enough to pick a batch from; false when its time was up before. */
  #tokenise(lane: Lane): boolean {
    const { untokenised, waiting } = this.#lanes[lane];
    const endMs = performance.now() + TOKENISE_SLICE_MS;
    for (let open = untokenised[0]; open !== undefined; open = untokenised[0]) {
      const { texts } = open.piece;
      while (open.tokenised.length < texts.length) {
        if (waiting.length >= LOOKAHEAD_TEXTS) return true;
        if (performance.now() >= endMs) return false;
        const row = open.tokenised.length;
        const text = this.#tokensOf(open, row);
        if (text instanceof SwitchyardError) {
          this.#refuse(open, text);
          keep(waiting, ({ owner }) => owner !== open);
          break;
        }
        open.tokenised.push(text);
        waiting.push({ owner: open, row, tokens: text.ids.length, arrivedAtMs: open.arrivedAtMs });
      }
      untokenised.shift();
    }
    return waiting.length > 0;
  }

  /** The tokens of a text, or why it can have no vector, which is no fault of the texts beside it. */
  #tokensOf({ piece: { texts, role } }: OpenPiece, row: number): TokenisedText | SwitchyardError {
    try {
      const text = this.#started.session.tokenizeOne(texts[row] as string, role);
      return text.ids.length > 0 ? text : withoutTokens();
    } catch (error) {
      if (error instanceof SwitchyardError) return error;
      throw error;
    }
  }

  async #runBatch(lane: Lane): Promise<void> {
    const { session, batcher } = this.#started;
    const queue = this.#lanes[lane];
    const { positions, shape } = batcher.pick(lane, queue.waiting);
    const chosen = new Set(positions);
    const texts: WaitingText[] = [];
    for (const position of positions) {
      const text = queue.waiting[position];
      if (text !== undefined) texts.push(text);
    }
    let position = 0;
    keep(queue.waiting, () => !chosen.has(position++));

    queue.company = texts.length;
    const startMs = performance.now();
    this.#delays.began(lane, startMs - Math.max(...texts.map(({ arrivedAtMs }) => arrivedAtMs)), startMs);
    const run = session.run(
      texts.map(({ owner, row }) => tokenisedOf(owner, row)),
      shape,
    );
    // Its own errors are not the run's: that one is still out, and the next one must not be asked for.
    if (session.isBeside === true) await this.#workBeside(run);
    let vectors: Float32Array;
    try {
      vectors = await run;
    } catch (error) {
      await this.#afterFailedRun(texts, error);
      return;
    }
    expectVectors(vectors, texts.length, session.manifest);
    const runUs = Math.round((performance.now() - startMs) * 1000);
    batcher.observe(lane, shape, runUs);
    const batch: BatchMessage = {
      batch: ++this.#batch,
      lane,
      texts: texts.length,
      tokens: texts.reduce((sum, { tokens }) => sum + tokens, 0),
      paddedTokens: shape.texts * shape.tokens,
      runUs,
    };
    const complete: OpenPiece[] = [];
    for (const [i, { owner, row }] of texts.entries())
      if (this.#store(owner, row, vectors, i, batch)) complete.push(owner);
    this.#sendAnswers = () =>
      this.#channel.together(() => {
        this.#channel.send(FRAME.batch, 0, [encodeBatch(batch)]);
        for (const open of complete) this.#answer(open);
      });
    if (session.isBeside !== true) this.#sendLast();
  }

  #sendLast(): void {
    const send = this.#sendAnswers;
    this.#sendAnswers = ignore;
    send();
  }

  /** What can be done while another thread runs the model: the last answers, and the tokens of what comes. */
  async #workBeside(run: Promise<unknown>): Promise<void> {
    this.#sendLast();
    let isOver = false;
    const end = (): void => {
      isOver = true;
      this.#onArrival();
    };
    run.then(end, end);
    while (!isOver) {
      const lane = LANES.find((name) => this.#isTokeniserBehind(name));
      if (lane === undefined) {
        await new Promise<void>((resolve) => {
          this.#onArrival = resolve;
        });
        this.#onArrival = ignore;
      } else {
        this.#tokenise(lane);
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  }

  #isTokeniserBehind(lane: Lane): boolean {
    const { untokenised, waiting } = this.#lanes[lane];
    const nowMs = performance.now();
    for (const open of untokenised)
      if (!open.over && open.deadlineAtMs <= nowMs) this.#refuse(open, expired());
    if (untokenised.some(({ over }) => over)) keep(untokenised, ({ over }) => !over);
    return untokenised.length > 0 && waiting.length < LOOKAHEAD_TEXTS;
  }

  /** True when it was the last missing text of its piece. */
  #store(
    owner: OpenPiece,
    row: number,
    vectors: Float32Array,
    from: number,
    { batch, runUs }: BatchMessage,
  ): boolean {
    const { dimensions } = this.#started.session.manifest;
    if (owner.over) return false;
    owner.values.set(vectors.subarray(from * dimensions, (from + 1) * dimensions), row * dimensions);
    if (owner.runs.at(-1)?.batch !== batch) owner.runs.push({ batch, runUs });
    owner.missing -= 1;
    if (owner.missing > 0) return false;
    this.#settle(owner);
    return true;
  }

  #answer({ id, runs, tokenised, values }: OpenPiece): void {
    const answer = {
      runs,
      tokenCounts: Uint32Array.from(tokenised, ({ tokenCount }) => tokenCount),
      truncatedCount: tokenised.filter(({ truncated }) => truncated).length,
      values,
    };
    this.#channel.send(FRAME.vectors, id, encodeVectors(answer));
  }

  /**
   * The texts of a run that failed are refused. Whether it was the texts or the device, a run of a known text tells:
   * a broken device (after a CUDA error nothing works any more) ends the process, so that a fresh one takes over.
   */
  async #afterFailedRun(texts: readonly WaitingText[], error: unknown): Promise<void> {
    const cause = error instanceof SwitchyardError ? error.cause : error;
    process.stderr.write(`a run of ${texts.length} texts failed: ${messageOf(cause ?? error)}\n`);
    this.#sendLast();
    const { session, batcher } = this.#started;
    const known = session.tokenizeOne('a known text', 'query');
    // In a shape that was warmed up, like every run.
    const waiting = [{ tokens: known.ids.length, arrivedAtMs: performance.now() }];
    await session.run([known], batcher.pick('live', waiting).shape);
    for (const { owner } of texts) if (!owner.over) this.#refuse(owner, toSwitchyardError(error));
  }

  #refuse(open: OpenPiece, error: SwitchyardError): void {
    this.#settle(open);
    this.#channel.send(FRAME.refused, open.id, encodeJson(errorToFrame(error)));
  }

  #settle(open: OpenPiece): void {
    open.over = true;
    this.#open.delete(open.id);
  }
}

const expired = (): SwitchyardError =>
  new SwitchyardError('DEADLINE_EXCEEDED', 'the deadline passed before the encoder came to it');

const shed = (lane: Lane): SwitchyardError =>
  new SwitchyardError(
    'OVERLOADED',
    'the text waited too long in a queue that does not drain: try again later, or ask another replica',
    { details: { queue: 'encoder', lane } },
  );

const withoutTokens = (): SwitchyardError =>
  new SwitchyardError(
    'EMPTY_QUERY',
    'a text has no token under this model: its tokenizer leaves out every character of it',
  );

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : 'an unknown error');

/** Vectors that are not those of the texts would be given to whoever asked. */
function expectVectors(vectors: Float32Array, texts: number, { dimensions }: ModelManifest): void {
  if (vectors.length === texts * dimensions) return;
  throw new SwitchyardError(
    'INTERNAL',
    `a run of ${texts} texts gave ${vectors.length} numbers, not ${texts} vectors of ${dimensions}`,
  );
}

function tokenisedOf(owner: OpenPiece, row: number): TokenisedText {
  const text = owner.tokenised[row];
  if (text === undefined) throw new SwitchyardError('INTERNAL', 'a text was batched before it was tokenised');
  return text;
}

function ignore(): void {
  // Nothing is held back.
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
