import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import path from 'node:path';
import { packageRoot, packageVersion } from '../src/package-root.js';

/** Where and with what a figure was measured: without it a figure says nothing. */
export interface Surroundings {
  readonly machine: string;
  readonly cores: number;
  readonly memory_bytes: number;
  /** Of the code that was measured, as git describes it, `-dirty` where the checkout is another than that; null without git. */
  readonly commit: string | null;
  readonly versions: Readonly<Record<string, string>>;
}

export interface BenchReport {
  readonly bench: string;
  readonly size: 'smoke' | 'full';
  readonly seed: number;
  /** SHA-256 of the measured input, first 16 hex. */
  readonly input: string;
  readonly surroundings: Surroundings;
  /** The compared figure where two sides were alternated in one run. */
  readonly ratio?: number;
  readonly results: readonly Readonly<Record<string, number | string>>[];
}

export interface BenchOutcome extends Omit<BenchReport, 'bench' | 'size' | 'seed' | 'surroundings'> {
  /** Of servers that took part and are no packages: `{ 'redis-server': '7.0.15' }`. */
  readonly versions?: Readonly<Record<string, string>>;
  /** False: something that must hold on any machine, however busy, did not; the command ends with 1. */
  readonly holds?: boolean;
}

export interface BenchOptions {
  readonly size: 'smoke' | 'full';
  readonly seed: number;
  /** Rows of the index in place of the bench's own number, where it has one. */
  readonly rows?: number;
  /** How long a bench that runs for a time does so. */
  readonly seconds?: number;
  /** Search threads of each side, where the bench has two. */
  readonly workers?: number;
  /** A part of the names of those to run, for a bench of many. */
  readonly only?: string;
  /** Also say where the gateway's main thread spends its time, for the benches that can. */
  readonly profile?: boolean;
}

/** A bench says what it is for; `run` does its setup outside what it measures. */
export interface Bench {
  readonly name: string;
  readonly about: string;
  run(options: BenchOptions): Promise<BenchOutcome>;
}

const PACKAGES = ['usearch', 'onnxruntime-node', '@grpc/grpc-js', 'ioredis'] as const;

export function surroundings(servers: Readonly<Record<string, string>> = {}): Surroundings {
  const versionOf = (name: string): string => {
    const file = path.join(packageRoot(), 'node_modules', name, 'package.json');
    // `bench/gpu.sh` runs where only the runtime was carried to.
    if (!existsSync(file)) return 'not installed';
    return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  };
  return {
    machine: `${process.platform}/${process.arch} ${cpus()[0]?.model.trim() ?? 'unknown'}`,
    cores: availableParallelism(),
    memory_bytes: totalmem(),
    commit: commit(),
    versions: {
      switchyard: packageVersion(),
      node: process.versions.node,
      ...Object.fromEntries(PACKAGES.map((name) => [name, versionOf(name)])),
      ...servers,
    },
  };
}

function commit(): string | null {
  const words = ['describe', '--always', '--dirty'];
  try {
    return execFileSync('git', words, { cwd: packageRoot(), encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return null;
  }
}

export function inputHash(...parts: readonly (string | Float32Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts)
    hash.update(
      typeof part === 'string' ? part : new Uint8Array(part.buffer, part.byteOffset, part.byteLength),
    );
  return hash.digest('hex').slice(0, 16);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const upper = sorted[Math.floor(middle)] ?? Number.NaN;
  return Number.isInteger(middle) ? (upper + (sorted[middle - 1] ?? Number.NaN)) / 2 : upper;
}

/** Runs two sides in turn, A B A B …, and gives each side's times in ms. */
export async function alternate(
  rounds: number,
  a: () => Promise<unknown> | unknown,
  b: () => Promise<unknown> | unknown,
): Promise<{ readonly aMs: number[]; readonly bMs: number[] }> {
  const timed = async (work: () => Promise<unknown> | unknown): Promise<number> => {
    const startedAtMs = performance.now();
    await work();
    return performance.now() - startedAtMs;
  };
  const aMs: number[] = [];
  const bMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    aMs.push(await timed(a));
    bMs.push(await timed(b));
  }
  return { aMs, bMs };
}
