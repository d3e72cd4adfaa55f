import { Duplex } from 'node:stream';
import type { Test } from 'tap';
import { BackgroundCap } from '../../src/encoder/background-cap.js';
import { type Batcher, LengthSortedBatcher, PinnedBatcher } from '../../src/encoder/batcher.js';
import { RunCost } from '../../src/encoder/batching.js';
import {
  type BatchMessage,
  decodeBatch,
  decodeJson,
  decodeVectors,
  FRAME,
  type Piece,
  type PieceVectors,
} from '../../src/encoder/child-protocol.js';
import { ChildWorker } from '../../src/encoder/child-worker.js';
import { PinnedShapes } from '../../src/encoder/pinned-shapes.js';
import { ModelSession } from '../../src/encoder/session.js';
import { ShapeCosts } from '../../src/encoder/shape-costs.js';
import type { WorkerSession } from '../../src/encoder/worker-session.js';
import type { ErrorFrame } from '../../src/errors.js';
import type { QueueTimeLimits } from '../../src/process/controlled-delay.js';
import { FrameChannel } from '../../src/process/frame-channel.js';
import { type Frame, FrameParser } from '../../src/process/frames.js';
import type { Lane } from '../../src/vocabulary.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';

export const TOKENS_MAX = 128;

/** The worker of an encoder process over a tiny real model, and everything that it says. */
export async function workerRig(t: Test) {
  const folder = await tinyModelFolder(t);
  const { dimensions } = folder.manifest;
  const session = await ModelSession.open(folder, { provider: 'cpu', threads: 1 });
  t.teardown(() => session.release());

  function startWorker(
    batcher: Batcher,
    onBatch: (batches: number) => void = () => undefined,
    queueTime: QueueTimeLimits | null = null,
    model: WorkerSession = session,
    broken: (error: unknown) => void = thrown,
  ) {
    const answers = new Map<number, PieceVectors | ErrorFrame>();
    const batches: BatchMessage[] = [];
    let answered = 0;
    const take = ({ kind, id, payload }: Frame): void => {
      if (kind === FRAME.batch) {
        batches.push(decodeBatch(payload) as BatchMessage);
        onBatch(batches.length);
        return;
      }
      answered += 1;
      const texts = payload.length < 4 ? 0 : payload.readUInt32LE(0);
      answers.set(
        id,
        kind === FRAME.vectors
          ? (decodeVectors(payload, texts, dimensions) as PieceVectors)
          : decodeJson<ErrorFrame>(payload),
      );
    };
    const parser = new FrameParser(1 << 24);
    const socket = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        parser.push(chunk, take);
        done();
      },
    });
    const channel = new FrameChannel({
      socket,
      payloadBytesMax: 1 << 24,
      bufferedBytesMax: Number.POSITIVE_INFINITY,
      onFrame: () => undefined,
      onDrain: () => undefined,
      onClosed: () => undefined,
    });
    const worker = new ChildWorker({ session: model, batcher }, channel, broken, queueTime);
    return { worker, answers, batches, answered: () => answered };
  }

  /** As if the runs were another thread's: this one goes on while they last. `during` is called while one does. */
  const beside = (during: (run: number) => void = () => undefined): WorkerSession => {
    let runs = 0;
    return {
      manifest: session.manifest,
      isBeside: true,
      tokenizeOne: (text, role) => session.tokenizeOne(text, role),
      run: async (texts, shape) => {
        runs += 1;
        for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
        during(runs);
        for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
        return session.run(texts, shape);
      },
    };
  };

  function pinned(): Batcher {
    const shapes = new PinnedShapes({
      texts: [1, 2, 8],
      lengths: [8, 16, 64],
      tokensMax: TOKENS_MAX,
      textTokensMax: folder.manifest.max_tokens,
    });
    return new PinnedBatcher(shapes, 0, cap(20), new ShapeCosts());
  }

  return { session, dimensions, startWorker, beside, pinned };
}

function thrown(error: unknown): never {
  throw error;
}

export const sorted = (
  options: { delayMs?: number; backgroundRunMsMax?: number; usPerToken?: number } = {},
): Batcher =>
  new LengthSortedBatcher(
    TOKENS_MAX,
    options.delayMs ?? 0,
    cap(options.backgroundRunMsMax ?? 20),
    new RunCost(1, options.usPerToken ?? 1),
  );

const cap = (runMsMax: number): BackgroundCap => new BackgroundCap(runMsMax, () => performance.now());

export const piece = (lane: Lane, count: number, text = 'a cat with stripes', isWhole = true): Piece => ({
  role: 'query',
  lane,
  remainingMs: Number.POSITIVE_INFINITY,
  isWhole,
  leavesOut: false,
  texts: Array.from({ length: count }, () => text),
});

export const isVectors = (answer: PieceVectors | ErrorFrame | undefined): answer is PieceVectors =>
  answer !== undefined && 'values' in answer;
