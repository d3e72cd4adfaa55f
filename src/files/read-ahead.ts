import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';

export interface ReadAhead {
  /** What the kernel reads around a page that is not in memory. */
  readonly kib: number;
  /** Where that is set. */
  readonly file: string;
}

/** Of the disk that a folder, or the nearest that there is above it, lies on; null where that is no Linux block device. */
export function readAheadOf(folder: string): ReadAhead | null {
  if (process.platform !== 'linux') return null;
  let existing = path.resolve(folder);
  while (!existsSync(existing)) existing = path.dirname(existing);
  const link = `/sys/dev/block/${deviceName(statSync(existing, { bigint: true }).dev)}`;
  if (!existsSync(link)) return null;
  const device = realpathSync(link);
  // Of a partition it is the disk's.
  const file = [device, path.dirname(device)]
    .map((disk) => path.join(disk, 'queue', 'read_ahead_kb'))
    .find((candidate) => existsSync(candidate));
  return file === undefined ? null : { kib: Number(readFileSync(file, 'utf8').trim()), file };
}

/** `major:minor` of a dev_t as Linux packs it. */
function deviceName(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major}:${minor}`;
}
