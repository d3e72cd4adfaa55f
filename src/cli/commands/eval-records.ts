import type { Command } from 'commander';
import { SwitchyardError } from '../../errors.js';
import { goldenQueryView } from '../../gateway/admin/evaluation-admin.js';
import type { GoldenSetView } from '../../gateway/admin/evaluation-views.js';
import { readGoldenSet } from '../../lifecycle/evaluation/open-golden-set.js';
import { type GoldenQuery, parseGoldenSetName } from '../../registry/golden-sets.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import {
  addComparisonOptions,
  type ComparisonOptions,
  comparisonInput,
  goldenNameOf,
  unusedNote,
} from '../evaluation-options.js';
import { loadGoldenQueries, storeGoldenSet } from '../evaluation-records.js';
import { formatComparison, formatEvaluations } from '../evaluation-text.js';
import { type CommonOptions, commandOutput } from '../options.js';
import { table } from '../output.js';

interface ImportOptions extends ChangeOptions {
  readonly name?: string;
  readonly qrels?: string;
  readonly split?: string;
}

const QUERIES_SHOWN = 20;

/** What is kept: golden sets, evaluations, and comparisons of them. */
export function addEvaluationLists(evaluation: Command): void {
  addComparisonOptions(
    evaluation
      .command('compare')
      .description('a candidate against a baseline, both evaluated before')
      .argument('<baseline>', 'id of its evaluation, as `eval list --json` shows it')
      .argument('<candidate>', 'id of its evaluation'),
  ).action(async (baseline: string, candidate: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<CommonOptions & ComparisonOptions>();
    const compared = await withAdmin(options, (admin) =>
      admin.compareEvaluations({ evaluation_id: candidate, baseline, ...comparisonInput(options) }),
    );
    commandOutput(options).answer(compared, (view) => formatComparison({ baseline, candidate }, view));
  });

  evaluation
    .command('list')
    .description('finished evaluations, latest first')
    .argument('[corpus]', 'of this corpus only')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const evaluations = await withAdmin(options, (admin) =>
        admin.listEvaluations(corpus === undefined ? {} : { corpus }),
      );
      commandOutput(options).answer(evaluations, formatEvaluations);
    });

  const golden = evaluation.command('golden').description('golden sets: queries with judged documents');
  addChangeOptions(
    golden
      .command('import')
      .description('read a golden set from files; what is there already is found again')
      .argument('<path>', 'a BEIR folder, TREC topics or their folder, or the Cranfield collection')
      .option('--name <name>', 'what it is called (default: as its files)')
      .option('--qrels <file>', 'the qrels of TREC topics (default: found beside them)')
      .option('--split <name>', 'the split of a BEIR folder (default: test, or the only one)'),
  ).action(async (place: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ImportOptions>();
    const { reason, actor, qrels = null, split = null } = options;
    const read = await readGoldenSet({ place, qrels, split });
    const output = commandOutput(options);
    if (read.unusedQueryCount > 0) output.say(unusedNote(read.unusedQueryCount));
    const stored = await withAdmin(options, (admin) =>
      storeGoldenSet(admin, options.name ?? goldenNameOf(place), read, { reason, actor }),
    );
    output.answer(stored, (view) => formatGoldenSets([view]));
  });

  golden
    .command('list')
    .description('golden sets of the registry')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const sets = await withAdmin(options, (admin) => admin.listGoldenSets({}));
      commandOutput(options).answer(sets, formatGoldenSets);
    });

  golden
    .command('show')
    .description('a golden set with its queries')
    .argument('<name>', 'or <name>@<number> for another version than the latest')
    .action(async (text: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const { name, number } = parseGoldenSetName(text);
      const shown = await withAdmin(options, async (admin) => {
        const versions = await admin.listGoldenSets({ golden_set: name });
        const found = number === null ? versions[0] : versions.find((version) => version.number === number);
        if (found === undefined)
          throw new SwitchyardError(
            'UNKNOWN_GOLDEN_SET',
            `there is no golden set ${text}: \`switchyard eval golden list\` shows what there is`,
          );
        return { ...found, queries: await loadGoldenQueries(admin, found), query_count: found.queries };
      });
      const view = { ...shown, queries: shown.queries.map(goldenQueryView) };
      commandOutput(options).answer(view, () => formatGoldenSet(shown));
    });
}

const HEADER = ['golden set', 'queries', 'judgements', 'source', 'imported', 'sha256'];

function formatGoldenSets(sets: readonly GoldenSetView[]): string {
  if (sets.length === 0) return 'no golden set yet; add one with `switchyard eval golden import`';
  return table(
    HEADER,
    sets.map((set) => [
      `${set.name}@${set.number}`,
      set.queries,
      set.judgements,
      set.source,
      set.created_at.slice(0, 10),
      set.content_sha256.slice(0, 12),
    ]),
  );
}

function formatGoldenSet(set: {
  readonly name: string;
  readonly number: number;
  readonly query_count: number;
  readonly queries: readonly GoldenQuery[];
}): string {
  const shown = set.queries.slice(0, QUERIES_SHOWN).map(({ id, text, judgements }) => {
    const grades = [...judgements.values()];
    return [id, grades.filter((grade) => grade > 0).length, grades.length, text];
  });
  const more = set.query_count - shown.length;
  return [
    `${set.name}@${set.number}`,
    table(['query', 'relevant', 'judged', 'text'], shown),
    ...(more > 0 ? [`… and ${more} more; --json shows all`] : []),
  ].join('\n');
}
