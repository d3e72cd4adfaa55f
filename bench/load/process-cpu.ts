import { readdirSync, readFileSync } from 'node:fs';

/** Of the times in /proc/<pid>/stat, which Linux tells in hundredths of a second on every platform that Node runs on. */
const TICK_US = 10_000;
/** Fields behind the name in /proc/<pid>/stat, counted from the state. */
const STAT = { parent: 1, waitedUser: 13, waitedSystem: 14 } as const;

/**
 * CPU time in µs of a process, all its threads and all its descendants, also of those that ended and were waited for (a
 * PostgreSQL ends its idle connections), so that nothing a server hands to a child is left out, and a child that ends takes
 * nothing away. Linux alone tells; threads that ended meanwhile are missed, and in what is measured none do.
 */
export function treeCpuUs(pid: number): number {
  let sum = 0;
  for (const member of processTree(pid)) sum += processCpuUs(member) + waitedCpuUs(member);
  return sum;
}

/** Anonymous and shared memory of the process and all its children; mapped files are the page cache's. */
export function treeMemoryBytes(pid: number): number {
  return treeStatusBytes(pid, ['RssAnon', 'RssShmem']);
}

/** Without what is shared: no copies of indexes, which never grow and would hide what does. */
export function treeAnonymousBytes(pid: number): number {
  return treeStatusBytes(pid, ['RssAnon']);
}

function treeStatusBytes(pid: number, fields: readonly string[]): number {
  let kibibytes = 0;
  for (const member of processTree(pid)) {
    const status = readIfThere(`/proc/${member}/status`) ?? '';
    for (const field of fields)
      kibibytes += Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
  }
  return kibibytes * 1024;
}

/** CPU time in µs of each thread of one process, by the system's id of the thread; the main thread has the process's. */
export function threadCpuUs(pid: number): ReadonlyMap<number, number> {
  const times = new Map<number, number>();
  for (const thread of threadsOf(pid)) {
    const stat = readIfThere(`/proc/${pid}/task/${thread}/schedstat`);
    if (stat !== null) times.set(Number(thread), Number(stat.split(' ')[0]) / 1000);
  }
  return times;
}

/** The process and all its descendants. */
export function processTree(pid: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync('/proc')) {
    const candidate = Number(entry);
    if (!Number.isInteger(candidate)) continue;
    const parent = parentOf(candidate);
    if (parent === null) continue;
    children.set(parent, [...(children.get(parent) ?? []), candidate]);
  }
  const members = [pid];
  for (const member of members) members.push(...(children.get(member) ?? []));
  return members;
}

function parentOf(pid: number): number | null {
  const fields = statOf(pid);
  return fields === null ? null : Number(fields[STAT.parent]);
}

/** Of children that ended, and of theirs. */
function waitedCpuUs(pid: number): number {
  const fields = statOf(pid);
  if (fields === null) return 0;
  return (Number(fields[STAT.waitedUser]) + Number(fields[STAT.waitedSystem])) * TICK_US;
}

function statOf(pid: number): readonly string[] | null {
  const stat = readIfThere(`/proc/${pid}/stat`);
  // The name in brackets may hold anything, brackets and blanks too.
  return stat === null ? null : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function processCpuUs(pid: number): number {
  let sum = 0;
  for (const us of threadCpuUs(pid).values()) sum += us;
  return sum;
}

function threadsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (isGone(error)) return null;
    throw error;
  }
}

const isGone = (error: unknown): boolean =>
  ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');
