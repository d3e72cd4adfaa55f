import { getPriority, setPriority } from 'node:os';
import {
  type ErrorFrame,
  errorToFrame,
  type Reason,
  SwitchyardError,
  toSwitchyardError,
} from '../../errors.js';
import type { Frame } from '../../process/frames.js';
import { openParentChannel } from '../../process/parent-channel.js';
import { MANIFEST_FILE } from '../file-names.js';
import { corruptBundle, readBundle } from '../read-bundle.js';
import type { SearchIndex } from '../search-index.js';
import { SearchPool } from '../search-pool.js';
import { type ChildConfig, decodeConfig, encodeJson, FRAME, PAYLOAD_BYTES_MAX } from './protocol.js';
import { SearchServer } from './search-server.js';

/**
 * An index process: `node child-main.js`, started by `IndexProcesses` alone, spoken to on descriptor 3. It runs the
 * gateway's own search pool over one bundle, verified anew at every start, and ends when its parent does.
 */

/** These end the same way at every start, so the parent is told instead of left to try again. */
const FINAL_REASONS: readonly Reason[] = [
  'CORRUPT_BUNDLE',
  'UNKNOWN_BUILD',
  'FINGERPRINT_MISMATCH',
  'UNSUPPORTED_FORMAT',
  'INVALID_CONFIG',
];
const EXIT_BROKEN = 70;
/** For the native call that a search worker is in when the parent goes. */
const END_GRACE_MS = 1_000;

let server: SearchServer | null = null;
let pool: SearchPool | null = null;
let isEnding = false;

const channel = openParentChannel({
  payloadBytesMax: PAYLOAD_BYTES_MAX,
  // The server looks at what waits before it answers.
  bufferedBytesMax: Number.POSITIVE_INFINITY,
  onFrame: receive,
  onDrain: () => undefined,
  onParentGone: end,
});

function receive(frame: Frame): void {
  switch (frame.kind) {
    case FRAME.open: {
      const config = decodeConfig(frame.payload);
      if (config === null) giveUp(nonsense('an order that is no JSON'));
      else open(config).catch(giveUp);
      return;
    }
    case FRAME.search:
      if (server === null) giveUp(nonsense('a search before the index was open'));
      else server.receive(frame);
      return;
    default:
      giveUp(nonsense(`a frame of the unknown kind ${frame.kind}`));
  }
}

async function open(config: ChildConfig): Promise<void> {
  const { folder, digest, expected, workers, queueLengthMax, niceness } = config;
  // Before there are threads, which inherit it.
  if (niceness > getPriority()) setPriority(niceness);
  const bundle = await readBundle(folder);
  if (bundle.digest !== digest)
    throw corruptBundle(folder, MANIFEST_FILE, 'it is not the one that was asked for');
  pool = new SearchPool({ workers, queueLengthMax, log: { info: writeLog, warn: writeLog } });
  const index: SearchIndex = await pool.open(bundle, { expected });
  server = new SearchServer(index, channel, config, giveUp);
  channel.send(FRAME.opened, 0);
}

function writeLog(fields: Readonly<Record<string, unknown>>, message: string): void {
  process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
}

const nonsense = (what: string): SwitchyardError =>
  new SwitchyardError('INTERNAL', `the parent sent ${what}`);

/** What another start alone does not heal is told to the parent with its reason; anything else is a crash. */
function giveUp(error: unknown): void {
  if (isEnding) return;
  const known = toSwitchyardError(error);
  const cause = known.cause instanceof Error ? `: ${known.cause.message}` : '';
  process.stderr.write(`${known.reason}: ${known.message}${cause}\n`);
  if (server === null && FINAL_REASONS.includes(known.reason)) {
    const frame: ErrorFrame = errorToFrame(known);
    channel.send(FRAME.failed, 0, [encodeJson(frame)]);
  } else if (pool === null) process.exit(EXIT_BROKEN);
  else leave();
}

/** Lets the search workers finish the native call they are in: ending a thread there aborts the process. */
function end(): void {
  if (isEnding) return;
  isEnding = true;
  server?.stop();
  if (pool === null) process.exit(0);
  setTimeout(leave, END_GRACE_MS);
  pool.close().then(() => process.exit(0), leave);
}

/** With threads that may never return. SIGKILL ends them for certain, and leaves no core dump behind. */
function leave(): void {
  process.kill(process.pid, 'SIGKILL');
}
