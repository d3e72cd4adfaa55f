import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { AdminApi, Author } from '../../gateway/admin/api.js';
import type {
  EvaluationComparisonView,
  EvaluationView,
  GoldenSetView,
} from '../../gateway/admin/evaluation-views.js';
import {
  CONCURRENCY_DEFAULT,
  DEPTH_DEFAULT,
  type EvaluatedVersion,
  evaluateVersion,
} from '../../lifecycle/evaluation/evaluate.js';
import { isGoldenPlace, readGoldenSet } from '../../lifecycle/evaluation/open-golden-set.js';
import { trecRun } from '../../lifecycle/evaluation/run-file.js';
import { type GoldenQuery, parseGoldenSetName } from '../../registry/golden-sets.js';
import { GAINS, type Gain } from '../../registry/schema.js';
import { addActorOption, withAdmin } from '../admin-session.js';
import { clientAccess } from '../client-access.js';
import {
  addComparisonOptions,
  type ComparisonOptions,
  comparisonInput,
  goldenNameOf,
  unusedNote,
} from '../evaluation-options.js';
import { loadGoldenQueries, storeEvaluation, storeGoldenSet } from '../evaluation-records.js';
import { formatComparison, formatEvaluations } from '../evaluation-text.js';
import { GatewayClient } from '../gateway-client.js';
import { httpVersionSearch } from '../http-version-search.js';
import { type CommonOptions, commandConfig, commandOutput, positiveInteger, urlOf } from '../options.js';
import { startProgress } from '../progress.js';
import { addEvaluationLists } from './eval-records.js';

interface EvalOptions extends CommonOptions, ComparisonOptions {
  readonly golden: string;
  readonly versions: readonly string[];
  readonly k: number;
  readonly depth: number;
  readonly gain: Gain;
  readonly concurrency: number;
  readonly runOut?: string;
  readonly qrels?: string;
  readonly split?: string;
  readonly url?: string;
  readonly reason: string;
  readonly actor: string;
}

export function addEvalCommands(program: Command): void {
  const evaluation = program
    .command('eval')
    .description('what corpus versions find of a golden set, and whether one is better than another');
  addComparisonOptions(
    addActorOption(
      evaluation
        .command('run', { isDefault: true })
        .description(
          'put a golden set to versions of a corpus by way of a running gateway; compares them with the first',
        )
        .argument('<corpus>', 'name of the corpus')
        .requiredOption(
          '--golden <path|name>',
          'files (BEIR, TREC, Cranfield), or a golden set of the registry',
        )
        .requiredOption('--versions <list>', 'for example v1,v2: the first is the baseline', versionList)
        .option('-k, --k <n>', 'of recall@k', positiveInteger, 10)
        .option('--depth <n>', 'documents asked for, for MAP', positiveInteger, DEPTH_DEFAULT)
        .addOption(new Option('--gain <kind>', 'how grades count in nDCG').choices(GAINS).default('graded'))
        .option('--run-out <file>', 'write the answers as a TREC run; of several versions, one file each')
        .option('--qrels <file>', 'the qrels of TREC topics (default: found beside them)')
        .option('--split <name>', 'the split of a BEIR folder (default: test, or the only one)')
        .option('--concurrency <n>', 'queries under way at once', positiveInteger, CONCURRENCY_DEFAULT)
        .option('--url <url>', 'the gateway (default: listen.http of the configuration)')
        .option('--reason <text>', 'why; kept in the audit', 'evaluated'),
    ),
  ).action(async (corpus: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<EvalOptions>();
    const report = await withAdmin(options, (admin) => evaluateVersions(admin, corpus, options));
    commandOutput(options).answer(report, formatReport);
  });
  addEvaluationLists(evaluation);
}

interface Report {
  readonly golden_set: GoldenSetView;
  readonly evaluations: readonly EvaluationView[];
  readonly comparisons: readonly (EvaluationComparisonView & {
    readonly baseline_version: string;
    readonly candidate_version: string;
  })[];
  readonly runs: readonly string[];
}

async function evaluateVersions(admin: AdminApi, corpus: string, options: EvalOptions): Promise<Report> {
  const author: Author = { actor: options.actor, reason: options.reason };
  const { say } = commandOutput(options);
  const goldenSet = await goldenSetOf(admin, options, author, say);
  const queries = await loadGoldenQueries(admin, goldenSet);
  const place = {
    corpus,
    goldenSet,
    k: options.k,
    depth: Math.max(options.depth, options.k),
    gain: options.gain,
  };
  const client = new GatewayClient(
    options.url ?? urlOf(commandConfig(options).listen.http),
    clientAccess(options),
  );
  const search = httpVersionSearch(client, corpus);
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(new SwitchyardError('STATUS_CONFLICT', 'interrupted; versions that were done are kept'));
  process.once('SIGINT', abort).once('SIGTERM', abort);
  const evaluations: EvaluationView[] = [];
  const runs: string[] = [];
  try {
    for (const version of options.versions) {
      const bar = startProgress(`evaluating ${version}`, queries.length, 'queries', options.json === true);
      try {
        const evaluated = await evaluateVersion(
          { ...place, version, queries },
          {
            search,
            concurrency: options.concurrency,
            signal: controller.signal,
            onQuery: (done) => bar.update(done),
          },
        );
        if (options.runOut !== undefined)
          runs.push(await writeRun(options.runOut, corpus, options.versions.length > 1, evaluated, queries));
        evaluations.push(await storeEvaluation(admin, place, evaluated, author));
      } finally {
        bar.stop();
      }
    }
  } finally {
    process.off('SIGINT', abort).off('SIGTERM', abort);
  }
  const [baseline, ...candidates] = evaluations;
  const comparisons = [];
  for (const candidate of candidates) {
    const compared = await admin.compareEvaluations({
      evaluation_id: candidate.evaluation_id,
      baseline: baseline?.evaluation_id ?? '',
      ...comparisonInput(options),
    });
    comparisons.push({
      baseline_version: baseline?.version ?? '',
      candidate_version: candidate.version,
      ...compared,
    });
  }
  return { golden_set: goldenSet, evaluations, comparisons, runs };
}

/** Of the registry by its name; what lies in files becomes a golden set there, named as its folder. */
async function goldenSetOf(
  admin: AdminApi,
  { golden, qrels, split }: EvalOptions,
  author: Author,
  say: (line: string) => void,
): Promise<GoldenSetView> {
  if (isGoldenPlace(golden)) {
    const read = await readGoldenSet({ place: golden, qrels: qrels ?? null, split: split ?? null });
    if (read.unusedQueryCount > 0) say(unusedNote(read.unusedQueryCount));
    return storeGoldenSet(admin, goldenNameOf(golden), read, author);
  }
  const { name, number } = parseGoldenSetName(golden);
  const versions = await admin.listGoldenSets({ golden_set: name });
  const found = number === null ? versions[0] : versions.find((version) => version.number === number);
  if (found !== undefined) return found;
  throw new SwitchyardError(
    'UNKNOWN_GOLDEN_SET',
    `there is no golden set ${golden}, and no file or folder of that name: \`switchyard eval golden list\` shows what there is`,
  );
}

async function writeRun(
  file: string,
  corpus: string,
  isOneOfMany: boolean,
  { version, ranked }: EvaluatedVersion,
  queries: readonly GoldenQuery[],
): Promise<string> {
  const { dir, name, ext } = path.parse(file);
  const target = isOneOfMany ? path.join(dir, `${name}.${version}${ext}`) : file;
  const inOrder = new Map(queries.map(({ id }) => [id, ranked.get(id) ?? []]));
  await writeFile(target, trecRun(inOrder, `${corpus}/${version}`));
  return target;
}

function formatReport({ golden_set, evaluations, comparisons, runs }: Report): string {
  return [
    `golden set ${golden_set.name}@${golden_set.number}: ${golden_set.queries} queries, ${golden_set.judgements} judgements`,
    '',
    formatEvaluations(evaluations),
    ...comparisons.flatMap((compared) => [
      '',
      formatComparison(
        { baseline: compared.baseline_version, candidate: compared.candidate_version },
        compared,
      ),
    ]),
    ...(runs.length === 0 ? [] : ['', ...runs.map((file) => `run written to ${file}`)]),
  ].join('\n');
}

function versionList(text: string): string[] {
  const versions = text.split(',').map((part) => part.trim());
  if (versions.some((version) => version === ''))
    throw new InvalidArgumentError('must be versions like v1,v2.');
  if (new Set(versions).size < versions.length) throw new InvalidArgumentError('names a version twice.');
  return versions;
}
