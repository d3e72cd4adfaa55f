import { spawnSync } from 'node:child_process';
import { getPriority, setPriority } from 'node:os';

export interface Yielding {
  /** As of nice(1); 0: it does not yield. */
  readonly niceness: number;
  /** `idle`: only what nobody else wants (SCHED_IDLE of Linux, by chrt(1)), beside the niceness. */
  readonly scheduling: 'nice' | 'idle';
}

const CHRT_MS_MAX = 5_000;

/**
 * What this process does from here on, and what it starts, leaves the processors to others: before it has threads of its
 * own, which inherit that. Blocks for the milliseconds of a short command. False where `idle` was asked for and cannot be
 * had: no Linux, or no chrt.
 */
export function yieldProcessors({ niceness, scheduling }: Yielding): boolean {
  if (niceness === 0) return true;
  if (niceness > getPriority()) setPriority(niceness);
  if (scheduling === 'nice') return true;
  if (process.platform !== 'linux') return false;
  const given = ['--all-tasks', '--idle', '--pid', '0', String(process.pid)];
  return spawnSync('chrt', given, { stdio: 'ignore', timeout: CHRT_MS_MAX }).status === 0;
}
