import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until something is so; fails the test by its own name when it never is. */
export async function until(what: string, isSo: () => boolean, giveUpMs = 60_000): Promise<void> {
  const endMs = performance.now() + giveUpMs;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error(`never happened: ${what}`);
    await sleep(5);
  }
}

/** Whether a process is running; a zombie that nobody has waited for yet is not. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
