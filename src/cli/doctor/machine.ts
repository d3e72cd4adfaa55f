import { constants, existsSync, readFileSync } from 'node:fs';
import { access, statfs } from 'node:fs/promises';
import { availableParallelism, freemem, totalmem } from 'node:os';
import path from 'node:path';
import { connectionsMax, openFilesMax } from '../../gateway/connection-limit.js';
import { formatBytes } from '../output.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** What a gateway with one small model needs beside its indexes: two processes, the model, the runtime. */
const BASE_MEMORY_BYTES = 1_000_000_000;

const CLIENTS_WANTED = 1_000;

/** Processor features that decide between quantizations and precisions (docs/decisions). */
export function checkProcessor(): Finding[] {
  const cores = availableParallelism();
  if (process.arch !== 'x64' || !existsSync('/proc/cpuinfo')) {
    return [ok('processor', `${process.arch}, ${cores} cores; features not read on this platform`)];
  }
  const flags = new Set(
    /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.trim().split(' ') ?? [],
  );
  const findings = [
    ok(
      'processor',
      `x64, ${cores} cores${flags.has('avx512f') ? ', AVX-512' : flags.has('avx2') ? ', AVX2' : ''}`,
    ),
  ];
  findings.push(
    flags.has('avx512_bf16')
      ? ok('bf16', 'AVX512-BF16 is there: bf16, the default quantization, is the fastest')
      : warn(
          'bf16',
          'no AVX512-BF16',
          'bf16 works but may be slower than f16 here: measure both with your own corpus',
        ),
    flags.has('avx512_vnni') || flags.has('avx_vnni')
      ? ok('int8', 'VNNI is there: int8 models are fast and exact')
      : warn('int8', 'no VNNI', 'import models with --precision fp16: int8 was checked only with VNNI'),
  );
  return findings;
}

/** Memory that this process may use, and whether the indexes fit into it. */
export function checkMemory(bundleBytes: number): Finding[] {
  const limit = cgroupLimit();
  const total = limit === null ? totalmem() : Math.min(limit, totalmem());
  const free = Math.min(freemem(), total);
  const need = BASE_MEMORY_BYTES + bundleBytes;
  const found = `${formatBytes(free)} free of ${formatBytes(total)}${limit === null ? '' : ' (container limit)'}; about ${formatBytes(need)} wanted`;
  return [
    need <= free
      ? ok('memory', found)
      : warn(
          'memory',
          found,
          'indexes beyond the memory are read from disk: give more memory or serve fewer builds',
        ),
  ];
}

/** How many clients the process's limit of open files leaves room for. */
export function checkOpenFiles(configured: number | null): Finding {
  const files = openFilesMax();
  const { publicListeners } = connectionsMax(configured, files);
  const found = `${files} may be open: up to ${publicListeners} clients on each public listener`;
  return publicListeners >= CLIENTS_WANTED
    ? ok('open files', found)
    : warn(
        'open files',
        found,
        configured !== null && configured <= publicListeners
          ? 'raise limits.connections_max where more clients connect'
          : 'raise the limit where more clients connect: ulimit -n, LimitNOFILE of a systemd unit, ulimits of a container',
      );
}

/** Whether this user can write where models, bundles and the registry go, and how much. */
export async function checkDisk(folder: string): Promise<Finding[]> {
  let existing = folder;
  while (!existsSync(existing)) existing = path.dirname(existing);
  const stats = await statfs(existing);
  const free = stats.bavail * stats.bsize;
  const found = `${formatBytes(free)} free for ${folder}`;
  const isWritable = await access(existing, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  );
  const writable = isWritable
    ? []
    : [
        fail(
          'var_dir',
          `this user may not write to ${existing}`,
          'run as the user whom it belongs to, give it to this one, or set var_dir (--var-dir) to another folder',
        ),
      ];
  return [
    free >= 2_000_000_000
      ? ok('disk', found)
      : warn(
          'disk',
          found,
          'a build needs room for its vectors twice: free some, or set var_dir to another disk',
        ),
    ...writable,
  ];
}

function cgroupLimit(): number | null {
  for (const file of ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes']) {
    if (!existsSync(file)) continue;
    const value = Number(readFileSync(file, 'utf8').trim());
    if (Number.isFinite(value) && value < totalmem()) return value;
  }
  return null;
}
