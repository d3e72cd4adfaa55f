import type { Readable } from 'node:stream';
import type { Timers } from './timers.js';

export interface LineLogLimits {
  /** Longer lines are cut. */
  readonly lineBytesMax: number;
  /** More lines within one second are counted, not passed on. */
  readonly linesPerSecondMax: number;
}

export const DEFAULT_LINE_LIMITS: LineLogLimits = Object.freeze({
  lineBytesMax: 4_096,
  linesPerSecondMax: 100,
});

/**
 * Passes a child's output on line by line. Bounded in length and in rate: a child that prints in a loop, or one
 * line without an end, can neither fill the log nor grow the parent.
 */
export function logLines(
  stream: Readable,
  onLine: (line: string) => void,
  timers: Timers,
  limits: LineLogLimits = DEFAULT_LINE_LIMITS,
): void {
  let line: Buffer[] = [];
  let lineBytes = 0;
  let cut = false;
  let secondStartMs = timers.nowMs();
  let linesThisSecond = 0;
  let dropped = 0;

  const newSecond = (nowMs: number): void => {
    secondStartMs = nowMs;
    linesThisSecond = 0;
    if (dropped > 0) onLine(`(${dropped} lines dropped: more than ${limits.linesPerSecondMax} in a second)`);
    dropped = 0;
  };
  const endLine = (): void => {
    if (lineBytes === 0) return;
    const text = `${Buffer.concat(line).toString('utf8').trimEnd()}${cut ? ' (cut)' : ''}`;
    line = [];
    lineBytes = 0;
    cut = false;
    const nowMs = timers.nowMs();
    if (nowMs - secondStartMs >= 1_000) newSecond(nowMs);
    if (linesThisSecond >= limits.linesPerSecondMax) dropped += 1;
    else {
      linesThisSecond += 1;
      onLine(text);
    }
  };
  const append = (bytes: Buffer): void => {
    const room = limits.lineBytesMax - lineBytes;
    if (bytes.length > room) cut = true;
    const kept = bytes.subarray(0, Math.max(0, room));
    if (kept.length === 0) return;
    line.push(kept);
    lineBytes += kept.length;
  };

  stream.on('data', (chunk: Buffer) => {
    let from = 0;
    for (;;) {
      const newline = chunk.indexOf(0x0a, from);
      if (newline < 0) break;
      append(chunk.subarray(from, newline));
      endLine();
      from = newline + 1;
    }
    append(chunk.subarray(from));
  });
  stream.on('end', () => {
    endLine();
    newSecond(timers.nowMs());
  });
  // A pipe that breaks when its child is killed tells nothing that the exit does not.
  stream.on('error', () => stream.destroy());
}
