import { getPriority, setPriority } from 'node:os';
import { errorToFrame, type Reason, SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Frame } from '../process/frames.js';
import { openParentChannel } from '../process/parent-channel.js';
import {
  type ChildConfig,
  decodeJson,
  decodePiece,
  encodeJson,
  FRAME,
  PAYLOAD_BYTES_MAX,
} from './child-protocol.js';
import { startSession } from './child-start.js';
import { ChildWorker } from './child-worker.js';

/**
 * An encoder process: `node child-main.js`, started by `startProcessEncoder` alone, spoken to on descriptor 3.
 * It ends when its parent does.
 */

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
const EXIT_BROKEN = 70;

let worker: ChildWorker | null = null;

const channel = openParentChannel({
  payloadBytesMax: PAYLOAD_BYTES_MAX,
  // The parent bounds what it asks for, so answers are never refused for lack of room.
  bufferedBytesMax: Number.POSITIVE_INFINITY,
  onFrame: receive,
  onDrain: () => undefined,
  onParentGone: () => process.exit(0),
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
  const started = await startSession(config);
  worker = new ChildWorker(started, channel, giveUp, config.queueTime);
  const { provider, fallbackReason, worstProbeCosine } = started;
  channel.send(FRAME.ready, 0, encodeJson({ provider, fallbackReason, worstProbeCosine }));
}

/** What another start alone does not heal is told to the parent with its reason; anything else is a crash. */
function giveUp(error: unknown): void {
  const known = toSwitchyardError(error);
  const cause = known.cause instanceof Error ? `: ${known.cause.message}` : '';
  process.stderr.write(`${known.reason}: ${known.message}${cause}\n`);
  if (worker === null && FINAL_REASONS.includes(known.reason))
    channel.send(FRAME.failed, 0, encodeJson(errorToFrame(known)));
  else process.exit(EXIT_BROKEN);
}
