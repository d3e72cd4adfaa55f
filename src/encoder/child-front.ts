import { getPriority, setPriority } from 'node:os';
import { errorToFrame, type Reason, SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Frame } from '../process/frames.js';
import { sayLast } from '../process/last-words.js';
import { openParentChannel } from '../process/parent-channel.js';
import {
  type ChildConfig,
  decodeJson,
  decodePiece,
  encodeJson,
  FRAME,
  PAYLOAD_BYTES_MAX,
  type ReadyMessage,
} from './child-protocol.js';
import { ChildWorker } from './child-worker.js';
import type { WorkerModel } from './worker-session.js';

/** These end the same way at every start, so the parent is told instead of left to try again. */
const FINAL_REASONS: readonly Reason[] = [
  'CORRUPT_MODEL',
  'INVALID_MODEL',
  'UNKNOWN_MODEL',
  'FINGERPRINT_MISMATCH',
  'PROVIDER_UNAVAILABLE',
  'PROBE_MISMATCH',
  'INVALID_CONFIG',
];
/** As EX_SOFTWARE of sysexits. */
export const EXIT_BROKEN = 70;

export interface OpenedModel extends WorkerModel {
  readonly ready: ReadyMessage;
}

/**
 * The side of an encoder process that its parent sees: reads what it is asked on descriptor 3, answers, and ends the
 * thread it is in when the model no longer works. `leave`: the parent is gone.
 */
export function serveParent(
  open: (config: ChildConfig) => Promise<OpenedModel>,
  leave: () => void = () => process.exit(0),
): void {
  let worker: ChildWorker | null = null;

  const channel = openParentChannel({
    payloadBytesMax: PAYLOAD_BYTES_MAX,
    // The parent bounds what it asks for, so answers are never refused for lack of room.
    bufferedBytesMax: Number.POSITIVE_INFINITY,
    onFrame: receive,
    onDrain: () => undefined,
    onParentGone: leave,
  });

  function receive(frame: Frame): void {
    switch (frame.kind) {
      case FRAME.configure:
        start(decodeJson<ChildConfig>(frame.payload)).catch(giveUp);
        return;
      case FRAME.encode: {
        const piece = decodePiece(frame.payload);
        if (piece === null || worker === null) {
          giveUp(new SwitchyardError('INTERNAL', 'the parent sent a piece that cannot be taken'));
          return;
        }
        worker.add(frame.id, piece);
        return;
      }
      case FRAME.cancel:
        worker?.cancel(frame.id);
        return;
      default:
        giveUp(new SwitchyardError('INTERNAL', `the parent sent a frame of the unknown kind ${frame.kind}`));
    }
  }

  async function start(config: ChildConfig): Promise<void> {
    // Before there are threads, which inherit it.
    if (config.niceness > getPriority()) setPriority(config.niceness);
    const { ready, ...model } = await open(config);
    worker = new ChildWorker(model, channel, giveUp, config.queueTime);
    channel.send(FRAME.ready, 0, encodeJson(ready));
  }

  /** What another start alone does not heal is told to the parent with its reason; anything else is a crash. */
  function giveUp(error: unknown): void {
    const known = toSwitchyardError(error);
    const cause = known.cause instanceof Error ? `: ${known.cause.message}` : '';
    sayLast(`${known.reason}: ${known.message}${cause}`);
    if (worker === null && FINAL_REASONS.includes(known.reason))
      channel.send(FRAME.failed, 0, encodeJson(errorToFrame(known)));
    else process.exit(EXIT_BROKEN);
  }
}
