import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const V1 = '/sys/fs/cgroup/memory';
const V2 = '/sys/fs/cgroup';

/** A control group that limits the memory of what is put into it, its page cache included. */
export interface MemoryCgroup {
  add(pid: number): void;
  limit(bytes: number): void;
  /** Memory that cannot be taken back: not the page cache of files on a disk. */
  heldBytes(): number;
  /** Once nothing is in it. */
  remove(): void;
}

/** Errors in words: why this machine, container or user cannot have one. */
export function createMemoryCgroup(): MemoryCgroup | string {
  const isV1 = existsSync(path.join(V1, 'memory.limit_in_bytes'));
  const parent = isV1 ? V1 : V2;
  if (!isV1 && !existsSync(path.join(V2, 'cgroup.controllers'))) return 'there is no cgroup file system';
  const folder = path.join(parent, `switchyard-bench-${process.pid}`);
  const limitFile = path.join(folder, isV1 ? 'memory.limit_in_bytes' : 'memory.max');
  try {
    mkdirSync(folder);
    if (!existsSync(limitFile)) {
      rmdirSync(folder);
      return `the memory controller is not given to ${parent}`;
    }
    return {
      add: (pid) => writeFileSync(path.join(folder, 'cgroup.procs'), String(pid)),
      limit: (bytes) => writeFileSync(limitFile, String(Math.round(bytes))),
      heldBytes: () => held(readFileSync(path.join(folder, 'memory.stat'), 'utf8'), isV1),
      remove: () => rmdirSync(folder),
    };
  } catch (error) {
    return `no cgroup can be made in ${parent}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function held(stat: string, isV1: boolean): number {
  const of = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(stat)?.[1] ?? 0);
  return isV1 ? of('rss') + of('shmem') : of('anon') + of('shmem') + of('slab') + of('kernel_stack');
}
