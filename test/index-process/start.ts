import type { BuildOptions } from '../../src/index/build-options.js';
import type { Bundle } from '../../src/index/manifest.js';
import { IndexProcesses } from '../../src/index/process/index-processes.js';
import type { IndexProcessOptions } from '../../src/index/process/options.js';
import type { ProcessIndex } from '../../src/index/process/process-index.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';
import { buildTestBundle, expectedOf, failureOf, optionsOf, type TestCorpus } from '../index/corpus.js';

export interface Started {
  readonly processes: IndexProcesses;
  readonly logs: string[];
}

/** Index processes that end with the test, quick to come back and to be given up. */
export function startProcesses(
  t: { teardown(fn: () => Promise<void>): unknown },
  over: Partial<IndexProcessOptions> = {},
): Started {
  const logs: string[] = [];
  const processes = new IndexProcesses({
    workers: 1,
    queueLengthMax: 100,
    // Tests share their cores with other tests.
    niceness: 0,
    backoff: { ...DEFAULT_BACKOFF, delayMsFirst: 20, delayMsMax: 100 },
    log: (level, message) => void logs.push(`${level} ${message}`),
    ...over,
  });
  t.teardown(() => processes.close());
  return { processes, logs };
}

export interface Built {
  readonly bundle: Bundle;
  readonly options: BuildOptions;
}

export async function build(
  folder: string,
  corpus: TestCorpus,
  more: Partial<BuildOptions> = {},
): Promise<Built> {
  const options = optionsOf(folder, { dimensions: corpus.dimensions, ...more });
  return { bundle: await buildTestBundle(folder, corpus, options), options };
}

export const openBuilt = (processes: IndexProcesses, { bundle, options }: Built): Promise<ProcessIndex> =>
  processes.open(bundle, { expected: expectedOf(options) });

export function pidOf({ state, name }: ProcessIndex): number {
  if (state.kind !== 'ready') throw new Error(`${name} is ${state.kind}`);
  return state.pid;
}

/** The reason a promise was refused for, or `answered`. */
export async function reasonOf(promise: Promise<unknown>): Promise<string> {
  const error = await failureOf(promise);
  if (error === undefined) return 'answered';
  return (error as { readonly reason?: string }).reason ?? String(error);
}
