import { type Command, InvalidArgumentError } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { TuneFormat } from '../../index/tune/tune-protocol.js';
import { QUANTIZATIONS } from '../../vocabulary.js';
import { adminRecords } from '../admin-records.js';
import { withAdmin } from '../admin-session.js';
import { type CommonOptions, commandConfig, commandLog, commandOutput, positiveInteger } from '../options.js';
import { printedCommand } from '../printed-command.js';
import { type Progress, startProgress } from '../progress.js';
import { formatTune, recommend } from '../tune-report.js';

interface TuneOptions extends CommonOptions {
  readonly build?: string;
  readonly recall: number;
  readonly formats?: readonly string[];
  readonly expansions: readonly number[];
  readonly rowsMax: number;
  readonly queries?: string;
  readonly queriesMax: number;
}

export function addCorpusTune(corpus: Command): void {
  corpus
    .command('tune')
    .description('measure recall, time and bytes of formats on a version of your own; publishes nothing')
    .argument('<corpus/version>', 'for example docs/v1')
    .option('--build <digest>', 'the build whose vectors are taken (default: the default one)')
    .option('--recall <share>', 'recall@10 that is wanted', share, 0.98)
    .option(
      '--formats <list>',
      'for example bf16,i8,i8@192 (default: all, with all dimensions and with half)',
      list,
    )
    .option('--expansions <list>', 'search expansions', expansions, [64, 128, 256])
    .option('--rows-max <n>', 'rows of the indexes that are measured', positiveInteger, 100_000)
    .option('--queries <file>', 'your own queries, one text a line (default: rows that are held out)')
    .option('--queries-max <n>', 'queries that are measured', positiveInteger, 300)
    .action(async (name: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<TuneOptions>();
      const [corpusName, version, ...rest] = name.split('/');
      if (!corpusName || !version || rest.length > 0)
        throw new SwitchyardError('INVALID_ARGUMENT', `name a corpus version like docs/v1, not ${name}`);
      const { tuneCorpusVersion } = await import('../../lifecycle/corpus-tune.js');
      const config = commandConfig(options);
      const controller = new AbortController();
      const abort = (): void =>
        controller.abort(new SwitchyardError('STATUS_CONFLICT', 'interrupted before anything was measured'));
      process.once('SIGINT', abort).once('SIGTERM', abort);
      const watch: { bar: Progress | null } = { bar: null };
      try {
        const result = await withAdmin(options, (admin) =>
          tuneCorpusVersion(
            {
              corpus: corpusName,
              version,
              build: options.build ?? null,
              formats: options.formats?.map(formatNamed) ?? null,
              expansions: options.expansions,
              rowsMax: options.rowsMax,
              queriesMax: options.queriesMax,
              queriesFile: options.queries ?? null,
            },
            {
              config,
              records: adminRecords(admin, { actor: 'corpus tune', reason: 'measured, nothing changed' }),
              log: commandLog(config),
              signal: controller.signal,
            },
            {
              onStarted: (rows) => {
                watch.bar = startProgress('measuring', rows, 'rows', options.json === true);
              },
              onRows: (done) => watch.bar?.update(done),
            },
          ),
        );
        watch.bar?.stop();
        watch.bar = null;
        const { rows, rowCount, queryCount, leftOut, isInterrupted } = result;
        commandOutput(options).answer(
          {
            corpus: corpusName,
            version,
            rows: rowCount,
            queries: queryCount,
            recall: options.recall,
            interrupted: isInterrupted,
            measured: rows.map(toView),
            left_out: leftOut.map(({ format, why }) => ({ ...format, why })),
            recommendation: recommendationView(isInterrupted ? null : recommend(rows, options.recall)),
          },
          () => formatTune(result, options.recall, printedCommand(options)),
        );
        if (isInterrupted) process.exitCode = 1;
      } finally {
        watch.bar?.stop();
        process.off('SIGINT', abort).off('SIGTERM', abort);
      }
    });
}

type Row = NonNullable<ReturnType<typeof recommend>>['fastest'];

const toView = (row: Row) => ({
  quantization: row.quantization,
  dimensions: row.dimensions,
  rescored: row.rescored,
  expansion_search: row.expansionSearch,
  recall_at_10: row.recallAt10,
  p50_us: row.p50Us,
  p99_us: row.p99Us,
  index_bytes_per_row: row.indexBytesPerRow,
  dram_bytes_per_row: row.dramBytesPerRow,
  build_ms: row.buildMs,
});

const recommendationView = (found: ReturnType<typeof recommend>) =>
  found === null
    ? null
    : {
        fastest: toView(found.fastest),
        smallest_dram: toView(found.smallest_dram),
        smallest_index: toView(found.smallest_index),
      };

/** `i8`, or `i8@192`; without a number all dimensions, which 0 stands for until they are known. */
function formatNamed(text: string): TuneFormat {
  const [name, dimensions] = text.split('@');
  const quantization = QUANTIZATIONS.find((known) => known === name);
  if (quantization === undefined || (dimensions !== undefined && !/^[1-9]\d{0,3}$/.test(dimensions)))
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `${text} is no format: ${QUANTIZATIONS.join(', ')}, each with @<dimensions> or without`,
    );
  return { quantization, dimensions: dimensions === undefined ? 0 : Number(dimensions) };
}

const list = (text: string): string[] => text.split(',').map((part) => part.trim());

function expansions(text: string): number[] {
  return list(text).map(positiveInteger);
}

function share(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1)) throw new InvalidArgumentError('must be a number above 0, at most 1.');
  return value;
}
