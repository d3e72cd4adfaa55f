import { existsSync, readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { Config } from '../../config/config.js';
import type { Bundle } from '../../index/manifest.js';
import { residentBytes } from '../../index/placement.js';
import { measureMemoryFolder } from '../../index/tiers/measure-memory.js';
import { isMemoryBacked } from '../../index/tiers/memory-folder.js';
import { autoMemoryDir } from '../../index/tiers/memory-mounts.js';
import { formatBytes } from '../output.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** Of the file that is measured: less says nothing about pages, more takes long. */
const MEASURED_BYTES_MIN = 8e6;
const MEASURED_BYTES_MAX = 500e6;
/** Searches in memory may take so much longer than in the page cache before huge pages are worth a mount. */
const SLOWER_MAX = 1.1;
const HUGE_PAGES =
  'mount one with huge pages: mount -t tmpfs -o huge=always,mode=1777,size=<bytes> tmpfs /mnt/switchyard; tiers.memory_dir: auto finds it at the next start; or set tiers.memory_dir to none';

/** Where tier dram keeps its copies, whether the builds fit, and whether searches are slower there. */
export async function checkDram(config: Config, bundles: readonly Bundle[]): Promise<Finding[]> {
  const { memoryDir, dramBytesMax } = config.tiers;
  if (memoryDir === 'none') return [ok('dram tier', `the page cache, ${formatBytes(dramBytesMax)} at most`)];
  const folder = memoryDir === 'auto' ? await autoMemoryDir() : memoryDir;
  if (!existsSync(folder) || !(await isMemoryBacked(folder)))
    return memoryDir === 'auto'
      ? [
          warn(
            'dram tier',
            `no memory in ${folder}`,
            'indexes of tier dram are kept in the page cache instead',
          ),
        ]
      : [
          fail(
            'dram tier',
            `${folder} is no folder of a tmpfs`,
            'mount one there, or set tiers.memory_dir to auto',
          ),
        ];
  const { bavail, bsize } = await statfs(folder);
  const need = bundles.reduce((sum, { manifest }) => sum + residentBytes(manifest), 0);
  const found = `${formatBytes(bavail * bsize)} free in ${folder}, ${formatBytes(dramBytesMax)} of them may be used; all builds take ${formatBytes(need)}`;
  const isEnough = bavail * bsize >= need && dramBytesMax >= need;
  return [
    isEnough
      ? ok('dram tier', found)
      : warn(
          'dram tier',
          found,
          'not all builds fit at once. Containers give 64 MB of /dev/shm: raise it (--shm-size); tiers.dram_bytes_max is the other limit',
        ),
    await checkHugePages(folder, bavail * bsize, bundles),
  ];
}

async function checkHugePages(folder: string, free: number, bundles: readonly Bundle[]): Promise<Finding> {
  const setting = hugeSetting(folder);
  const bytesOf = ({ manifest }: Bundle): number => manifest.files['index.usearch']?.bytes ?? 0;
  const [largest] = bundles
    .filter((bundle) => bytesOf(bundle) <= Math.min(MEASURED_BYTES_MAX, free / 2))
    .sort((a, b) => bytesOf(b) - bytesOf(a));
  if (largest === undefined || bytesOf(largest) < MEASURED_BYTES_MIN)
    return ok(
      'huge pages',
      `${setting}; no index of ${formatBytes(MEASURED_BYTES_MIN)} or more to measure with`,
    );
  const ratio = await measureMemoryFolder(largest, folder);
  const found = `${setting}; a search in ${folder} takes ${ratio.toFixed(2)} of its time in the page cache (${formatBytes(bytesOf(largest))})`;
  return ratio <= SLOWER_MAX ? ok('huge pages', found) : warn('huge pages', found, HUGE_PAGES);
}

/** The mount's own `huge=`, and the kernel's word on shared memory. */
function hugeSetting(folder: string): string {
  const mounts = existsSync('/proc/mounts') ? readFileSync('/proc/mounts', 'utf8').split('\n') : [];
  const options = mounts
    .map((line) => line.split(' '))
    .filter(([, at]) => at !== undefined && (folder === at || folder.startsWith(`${at}/`)))
    .sort(([, a], [, b]) => (b ?? '').length - (a ?? '').length)[0]?.[3];
  const mount = /huge=\w+/.exec(options ?? '')?.[0] ?? 'huge=never';
  const kernelFile = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
  const kernel = existsSync(kernelFile) ? /\[(\w+)\]/.exec(readFileSync(kernelFile, 'utf8'))?.[1] : undefined;
  return `${mount}${kernel === 'force' || kernel === 'deny' ? `, and the kernel says ${kernel}` : ''}`;
}
