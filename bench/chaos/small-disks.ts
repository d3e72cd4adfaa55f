import { execFileSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';

const DISK_BYTES = 65_536;

/** Mounts a memory file system of so few bytes; the reason where this user or container may not. */
export function mountSmall(folder: string, bytes = DISK_BYTES): string | undefined {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', folder], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return `a small tmpfs cannot be mounted: ${(error as Error).message.split('\n')[0]}`;
  }
}

export const unmount = (folder: string): void => {
  execFileSync('umount', ['-l', folder], { stdio: 'pipe' });
};

/** A tier dram of a few kilobytes; null where none can be mounted. */
export async function mountMemory(varDir: string): Promise<string | null> {
  const folder = path.join(varDir, 'memory');
  await mkdir(folder);
  return mountSmall(folder) === undefined ? folder : null;
}
