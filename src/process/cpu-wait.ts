import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import path from 'node:path';

/** How long a process was ready to run and got no processor. */
export interface CpuWait {
  /** From here on. */
  mark(): void;
  /** Milliseconds since the mark; 0 where the system does not say. */
  sinceMarkMs(): number;
}

/**
 * Of the process that `pid` names at the moment, by what Linux says of each of its threads: of the thread that waited
 * longest, since the others wait for it; `except` is a thread that nobody waits for. A stopped process and one that sleeps
 * wait for no processor.
 */
export function cpuWaitOf(pid: () => number | null, except: string | null = null): CpuWait {
  let marked: ReadonlyMap<string, number> = new Map();
  const now = (): ReadonlyMap<string, number> => waitedMs(pid(), except);
  return {
    mark: () => {
      marked = now();
    },
    sinceMarkMs: () => Math.max(0, ...[...now()].map(([thread, ms]) => ms - (marked.get(thread) ?? 0))),
  };
}

/** The thread that calls, as the system numbers it; null where it does not say. */
export function ownThread(): string | null {
  try {
    return path.basename(readlinkSync('/proc/thread-self'));
  } catch {
    return null;
  }
}

/** Thread → milliseconds in the queues of the scheduler since it began. */
function waitedMs(pid: number | null, except: string | null): ReadonlyMap<string, number> {
  const waited = new Map<string, number>();
  if (pid === null) return waited;
  const tasks = `/proc/${pid}/task`;
  try {
    for (const thread of readdirSync(tasks)) {
      if (thread === except) continue;
      // Nanoseconds on a processor, nanoseconds waiting for one, time slices.
      const ms = Number(readFileSync(`${tasks}/${thread}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
      if (Number.isFinite(ms)) waited.set(`${pid}/${thread}`, ms);
    }
  } catch {
    // Another system, a kernel without these figures, or the process just ended: then silence alone counts.
  }
  return waited;
}
