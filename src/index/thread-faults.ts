import { openSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import type { SearchWorkerData } from './search-protocol.js';

/**
 * Major page faults: pages that had to be read from a disk. Linux counts them per thread and process, in field 12 of
 * /proc/<pid>/task/<thread>/stat and /proc/<pid>/stat; elsewhere they read as 0.
 */
const FAULTS_AFTER_NAME = 9;
const STAT_BYTES_MAX = 1024;

let descriptor: number | null = null;
const buffer = Buffer.alloc(STAT_BYTES_MAX);

/** In a search worker, first thing. */
export function tellThreadId({ threadId }: SearchWorkerData): void {
  try {
    const task = readlinkSync('/proc/thread-self');
    descriptor = openSync('/proc/thread-self/stat', 'r');
    Atomics.store(new Int32Array(threadId), 0, Number(task.slice(task.lastIndexOf('/') + 1)));
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}

/** Of the calling search worker. About 3 µs. */
export function threadMajorFaults(): number {
  if (descriptor === null) return 0;
  return parseMajorFaults(buffer.toString('latin1', 0, readSync(descriptor, buffer, 0, buffer.length, 0)));
}

/** Of another thread of this process; 0 when it has ended. */
export function majorFaultsOfThread(threadId: number): number {
  return threadId === 0 ? 0 : majorFaultsIn(`/proc/self/task/${threadId}/stat`);
}

/** Of all threads of another process, since it was started; 0 when it has ended. */
export const majorFaultsOfProcess = (pid: number): number => majorFaultsIn(`/proc/${pid}/stat`);

function majorFaultsIn(statFile: string): number {
  try {
    return parseMajorFaults(readFileSync(statFile, 'latin1'));
  } catch (error) {
    if (isAbsent(error)) return 0;
    throw error;
  }
}

export function parseMajorFaults(stat: string): number {
  // The name, in brackets, may hold spaces and brackets.
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ', FAULTS_AFTER_NAME + 1)[FAULTS_AFTER_NAME]);
}

const isAbsent = (error: unknown): boolean => {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ESRCH';
};
