import { readFile } from 'node:fs/promises';

/** Start of a process in clock ticks since boot, from /proc; null where there is no /proc, or no such process. */
export async function startTicksOf(pid: number): Promise<string | null> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return null;
    throw error;
  }
  // The command name, in brackets, may hold spaces and brackets; field 22 counts from after the last one.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
}

/** Whether another process is the one that had this pid and started then: pids come again. */
export async function isSameProcess(pid: number, startTicks: string | null): Promise<boolean> {
  if (!isAlive(pid)) return false;
  const now = await startTicksOf(pid);
  return now === null || startTicks === null || now === startTicks;
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
