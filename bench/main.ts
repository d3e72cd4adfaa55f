import { Command, InvalidArgumentError } from 'commander';
import { cache } from './cache.js';
import { chaos } from './chaos.js';
import { costs } from './costs.js';
import { expansion } from './expansion.js';
import { formats } from './formats.js';
import { lanes } from './lanes.js';
import { latency } from './latency.js';
import { mirror } from './mirror.js';
import { mirrorFaults } from './mirror-faults.js';
import { overload } from './overload.js';
import { peers } from './peers.js';
import { rebuild } from './rebuild.js';
import { type Bench, type BenchReport, surroundings } from './report.js';
import { routing } from './routing.js';
import { scale } from './scale.js';
import { serving } from './serving.js';
import { smoke } from './smoke.js';
import { soak } from './soak.js';
import { ssd } from './ssd.js';
import { statistics } from './statistics.js';
import { text } from './text.js';

const BENCHES: readonly Bench[] = [
  smoke,
  cache,
  chaos,
  overload,
  expansion,
  routing,
  mirrorFaults,
  serving,
  text,
  latency,
  mirror,
  soak,
  lanes,
  rebuild,
  formats,
  scale,
  ssd,
  statistics,
  peers,
  costs,
];

/** A size that is not a number would be a bench of nothing. */
function positive(text: string): number {
  const value = Number(text);
  if (!(Number.isFinite(value) && value > 0)) throw new InvalidArgumentError('must be a number above 0.');
  return value;
}

function positiveInteger(text: string): number {
  const value = positive(text);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('must be a whole number.');
  return value;
}

const program = new Command('bench')
  .description('prints every figure that docs/performance.md quotes')
  .argument('<name>', BENCHES.map(({ name, about }) => `${name}: ${about}`).join('; '))
  .option('--json', 'the report as JSON')
  .option('--smoke', 'a tiny size that only shows that the bench works')
  .option('--seed <n>', 'of everything random', positiveInteger, 1)
  .option('--rows <n>', 'rows of the index, for the benches that say so', positiveInteger)
  .option('--seconds <n>', 'how long, for the benches that say so', positive)
  .option('--workers <n>', 'search threads of each side, for the benches that say so', positiveInteger)
  .option('--only <part>', 'those with this in their name, for the benches that say so')
  .option('--profile', 'where the gateway spends its time, for the benches that say so')
  .parse();
const options = program.opts<{
  json?: boolean;
  smoke?: boolean;
  seed: number;
  rows?: number;
  seconds?: number;
  workers?: number;
  only?: string;
  profile?: boolean;
}>();
const name = program.args[0];
const bench = BENCHES.find((candidate) => candidate.name === name);
if (bench === undefined)
  program.error(`unknown bench ${name}; there are ${BENCHES.map((known) => known.name).join(', ')}`);
else {
  const size = options.smoke === true || name === 'smoke' ? 'smoke' : 'full';
  const {
    versions,
    holds = true,
    ...outcome
  } = await bench.run({
    size,
    seed: options.seed,
    ...(options.rows === undefined ? {} : { rows: options.rows }),
    ...(options.seconds === undefined ? {} : { seconds: options.seconds }),
    ...(options.workers === undefined ? {} : { workers: options.workers }),
    ...(options.only === undefined ? {} : { only: options.only }),
    ...(options.profile === undefined ? {} : { profile: options.profile }),
  });
  const report: BenchReport = {
    bench: bench.name,
    size,
    seed: options.seed,
    surroundings: surroundings(versions),
    ...outcome,
  };
  if (options.json === true) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else {
    process.stdout.write(`${report.bench} (${size}, seed ${report.seed}, input ${report.input})\n`);
    const { machine, cores, commit, versions: packages } = report.surroundings;
    const named = Object.entries(packages).map(([name, version]) => `${name} ${version}`);
    process.stdout.write(`${machine}, ${cores} cores; commit ${commit ?? 'unknown'}; ${named.join(', ')}\n`);
    if (report.ratio !== undefined) process.stdout.write(`ratio ${report.ratio.toFixed(3)}\n`);
    console.table(report.results);
  }
  if (!holds) process.exitCode = 1;
}
