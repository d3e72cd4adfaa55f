import { SwitchyardError, toSwitchyardError } from '../errors.js';
import { LaneDelays, type QueueTimeLimits } from '../process/controlled-delay.js';
import type { FrameChannel } from '../process/frame-channel.js';
import { LANES, type Lane } from '../vocabulary.js';
import { type BatchMessage, encodeBatch, FRAME, type Piece } from './child-protocol.js';
import { withoutTokens } from './encode-request.js';
import { LaneQueue, type WaitingText } from './lane-queue.js';
import type { ModelManifest } from './manifest.js';
import { type OpenPiece, OpenPieces } from './open-pieces.js';
import type { TokenisedText } from './tokenizer.js';
import type { WorkerModel } from './worker-session.js';

/**
 * The work of an encoder process: pieces in, batches through the model, vectors out. One run at a time; between two runs
 * the loop reads what has arrived, so a live text overtakes queued bulk. Where a run is another thread's, what arrives
 * meanwhile is tokenised, and the answers of a run are sent while the next one is on its way.
 */
export class ChildWorker {
  readonly #started: WorkerModel;
  readonly #channel: FrameChannel;
  readonly #pieces: OpenPieces;
  readonly #lanes: Readonly<Record<Lane, LaneQueue>> = {
    live: new LaneQueue(),
    shadow: new LaneQueue(),
    bulk: new LaneQueue(),
  };
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
    this.#pieces = new OpenPieces(channel, started.session.manifest.dimensions);
    this.#onBroken = onBroken;
  }

  add(id: number, piece: Piece): void {
    this.#lanes[piece.lane].add(this.#pieces.add(id, piece));
    this.#onArrival();
    this.#wake();
  }

  cancel(id: number): void {
    const open = this.#pieces.find(id);
    if (open !== undefined) this.#pieces.refuse(open, expired());
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
      for (const name of LANES) if (this.#lanes[name].isEmpty) this.#delays.emptied(name);
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
    return !this.#lanes[lane].isEmpty;
  }

  /** Expired and cancelled texts, and those that waited too long, leave here, before they cost a token. */
  #dropOver(lane: Lane): void {
    this.#lanes[lane].dropOver(this.#overAt(performance.now()));
  }

  /** Whether a piece is over now; it is refused when it has just become so. */
  #overAt(nowMs: number): (open: OpenPiece) => boolean {
    return (open) => {
      if (open.over) return true;
      if (open.deadlineAtMs <= nowMs) this.#pieces.refuse(open, expired());
      else if (this.#isShed(open, nowMs)) this.#pieces.refuse(open, shed(open.piece.lane));
      return open.over;
    };
  }

  /** What has begun is not thrown away: a piece whose first texts are in a run, or one of many of its request. */
  #isShed({ piece, hasBegun, arrivedAtMs }: OpenPiece, nowMs: number): boolean {
    return piece.isWhole && !hasBegun && this.#delays.isTooLong(piece.lane, nowMs - arrivedAtMs);
  }

  #tokenise(lane: Lane): boolean {
    return this.#lanes[lane].tokenise(
      (open, row) => this.#tokensOf(open, row),
      (open, error) => this.#pieces.refuse(open, error),
      (open) => this.#leaveOut(open),
    );
  }

  #leaveOut(open: OpenPiece): void {
    if (!this.#pieces.leaveOut(open)) return;
    // A run is told of before the pieces that were in it are answered.
    this.#sendLast();
    this.#pieces.answer(open);
  }

  /** The tokens of a text, or why it can have no vector, which is no fault of the texts beside it. */
  #tokensOf({ piece: { texts, role, leavesOut } }: OpenPiece, row: number): TokenisedText | SwitchyardError {
    try {
      const text = this.#started.session.tokenizeOne(texts[row] as string, role);
      if (text.ids.length > 0) return text;
      return leavesOut ? { ...text, tokenCount: 0, truncated: false } : withoutTokens();
    } catch (error) {
      if (error instanceof SwitchyardError) return error;
      throw error;
    }
  }

  async #runBatch(lane: Lane): Promise<void> {
    const { session, batcher } = this.#started;
    const queue = this.#lanes[lane];
    const { positions, shape } = batcher.pick(lane, queue.waiting);
    const texts = queue.take(positions);
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
      if (this.#pieces.store(owner, row, vectors, i, batch)) complete.push(owner);
    this.#sendAnswers = () =>
      this.#channel.together(() => {
        this.#channel.send(FRAME.batch, 0, [encodeBatch(batch)]);
        for (const open of complete) this.#pieces.answer(open);
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
    const queue = this.#lanes[lane];
    queue.dropUntokenised(this.#overAt(performance.now()));
    return queue.isBehind;
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
    for (const { owner } of texts) this.#pieces.refuse(owner, toSwitchyardError(error));
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
