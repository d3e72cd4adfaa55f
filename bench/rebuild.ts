import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { getPriority } from 'node:os';
import path from 'node:path';
import type { ModelFolder } from '../src/encoder/manifest.js';
import { packageRoot } from '../src/package-root.js';
import { modelRef } from '../src/vocabulary.js';
import { builtBundle } from './data/built-bundle.js';
import { allGlosses } from './data/gloss-vectors.js';
import { searchCorpus } from './data/search-corpus.js';
import { withoutFailures } from './load/load-generator.js';
import type { LatencyUs } from './load/load-protocol.js';
import { treeCpuUs } from './load/process-cpu.js';
import { type Bench, inputHash, median } from './report.js';
import { temporaryFolder } from './rig/folders.js';
import { type GatewayRig, ownNodeArguments, PROGRAM } from './rig/gateway.js';
import { openTextSide } from './rig/text-side.js';

const SIZES = {
  smoke: { rowCount: 800, queryCount: 64, glossStep: 200, pairs: 1, seconds: 0.5, warmUpSeconds: 0.3 },
  full: { rowCount: 50_000, queryCount: 8_192, glossStep: 1, pairs: 12, seconds: 4, warmUpSeconds: 3 },
} as const;
const LOAD = 0.3;
const IN_FLIGHT = 8;
const REBUILT = 'rebuilt';
/** Documents that a build reads before the first call of its encoder, of 1 024 texts, is through. */
const READ_AHEAD = 2_048;

/**
 * Text queries at 30 % of a gateway's capacity, each latency counted from the moment its request was due, alone and, in
 * turn with the same arrivals, while `switchyard corpus build` embeds all glosses by the same model beside that gateway,
 * as its client, which is how it knows that it must yield. Settings in the environment (`SWITCHYARD_REEMBED__*`) are the
 * build's too. `ratio`: the p99 beside a build ÷ alone, the median of the pairs.
 */
export const rebuild: Bench = {
  name: 'rebuild',
  about: "a gateway's p99 of text queries while a corpus is embedded on its host ÷ without",
  run: async ({ size, seed, seconds }) => {
    const plan = { ...SIZES[size], ...(seconds === undefined ? {} : { seconds }) };
    const corpus = await searchCorpus({ ...plan, seed });
    const { bundle } = await builtBundle(corpus, 'v1');
    const opened: (() => Promise<void> | void)[] = [];
    const teardown = { teardown: (cleanUp: () => Promise<void> | void) => void opened.push(cleanUp) };
    try {
      const { gateway, load } = await openTextSide(teardown, corpus, bundle);
      const folder = await temporaryFolder(teardown, 'switchyard-bench-build-');
      const builds = await openBuilds(folder, gateway, corpus.model);
      teardown.teardown(() => builds.close());
      const capacity = withoutFailures(
        await load.run({ kind: 'closed', inFlight: IN_FLIGHT, seconds: plan.warmUpSeconds, from: 0 }),
      ).perSecond;
      const perSecond = capacity * LOAD;
      const side = async (pair: number): Promise<LatencyUs> =>
        withoutFailures(
          await load.run({
            kind: 'open',
            perSecond,
            seed: seed + pair,
            seconds: plan.seconds,
            from: pair * 331,
          }),
        ).latencyUs;
      const alone: LatencyUs[] = [];
      const beside: LatencyUs[] = [];
      const cores: number[] = [];
      const niceness = new Set<number>();
      for (let pair = 0; pair < plan.pairs; pair++) {
        const turns = [
          async () => void alone.push(await side(pair)),
          async () => {
            const build = await builds.begin();
            const [beganMs, before] = [performance.now(), build.cpuUs()];
            beside.push(await side(pair));
            cores.push((build.cpuUs() - before) / ((performance.now() - beganMs) * 1000));
            niceness.add(build.niceness);
            await build.interrupt();
          },
        ];
        for (const turn of pair % 2 === 0 ? turns : turns.reverse()) await turn();
      }
      const ratios = (of: (latency: LatencyUs) => number): number[] =>
        beside
          .map((latency, pair) => of(latency) / of(alone[pair] as LatencyUs))
          .sort((left, right) => left - right);
      const p99 = ratios((latency) => latency.p99);
      const row = (name: string, sides: readonly LatencyUs[]) => ({
        side: name,
        requests_per_s: Math.round(perSecond),
        p50_us: Math.round(median(sides.map(({ p50 }) => p50))),
        p99_us: Math.round(median(sides.map((latency) => latency.p99))),
      });
      return {
        input: inputHash(bundle.digest, corpus.queryTexts.join('\n'), (await allGlosses()).join('\n')),
        ratio: median(p99),
        results: [
          row('alone', alone),
          {
            ...row('beside a build', beside),
            build_cores: rounded(median(cores)),
            build_niceness: [...niceness].join(', '),
          },
          {
            side: 'p99, beside ÷ alone',
            pairs: plan.pairs,
            ratio: rounded(median(p99)),
            ratio_least: rounded(p99[0] ?? Number.NaN),
            ratio_most: rounded(p99.at(-1) ?? Number.NaN),
            p50_ratio: rounded(median(ratios(({ p50 }) => p50))),
          },
        ],
      };
    } finally {
      for (const close of opened.reverse()) await close();
    }
  },
};

interface RunningBuild {
  /** Of its process. */
  readonly niceness: number;
  /** Of its process and those that it started. */
  cpuUs(): number;
  interrupt(): Promise<void>;
}

/** Builds of all glosses beside a gateway, each interrupted before it ends; nothing is left of them. */
async function openBuilds(
  folder: string,
  { admin, varDir }: GatewayRig,
  model: ModelFolder,
): Promise<{ begin(): Promise<RunningBuild>; close(): Promise<void> }> {
  const source = path.join(folder, 'glosses.jsonl');
  const glosses = await allGlosses();
  await writeFile(source, glosses.map((text, at) => JSON.stringify({ id: `${at}`, text })).join('\n'));
  // The folder of bundles is every bench's: neither does a build go on from what an earlier run left.
  const clean = (): Promise<void> =>
    rm(path.join(varDir, 'bundles', REBUILT), { recursive: true, force: true });
  await clean();
  let count = 0;
  return {
    begin: async () => {
      // A version of its own each time, so that none goes on from another's checkpoints.
      const version = `v${++count}`;
      const build = ['corpus', 'build', REBUILT, source, '--model', modelRef(model.manifest)];
      const at = ['--var-dir', varDir, '--admin-port', new URL(admin).port];
      const { NODE_OPTIONS: _loader, ...environment } = process.env;
      const child = spawn(
        process.execPath,
        [...ownNodeArguments(), PROGRAM, ...at, ...build, '--no-reuse', '--corpus-version', version],
        { cwd: packageRoot(), stdio: ['ignore', 'ignore', 'pipe'], env: environment },
      );
      return embedding(child);
    },
    close: clean,
  };
}

/** Resolves when the build has embedded its first texts: its encoder has started. */
function embedding(child: ChildProcess): Promise<RunningBuild> {
  const exited = once(child, 'exit');
  let said = '';
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the build ended with ${code}: ${said}`)));
    child.stderr?.on('data', (chunk: Buffer) => {
      said = `${said}${chunk.toString('utf8')}`.slice(-4096);
      const read = Number([...said.matchAll(/embedding: (\d+)\/\d+ documents/g)].at(-1)?.[1] ?? 0);
      if (read <= READ_AHEAD) return;
      const pid = child.pid as number;
      resolve({
        niceness: getPriority(pid),
        cpuUs: () => treeCpuUs(pid),
        interrupt: async () => {
          child.kill('SIGTERM');
          await exited;
        },
      });
    });
  });
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000;
