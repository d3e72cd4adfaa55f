import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { BuildView, CorpusVersionView } from '../../gateway/admin/views.js';
import { buildCorpus } from '../../lifecycle/corpus-build.js';
import { DEFAULT_DOCUMENT_TEMPLATE } from '../../lifecycle/document-text.js';
import { digestPrefix, QUANTIZATIONS, type Quantization } from '../../vocabulary.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { buildWatcher } from '../build-watcher.js';
import {
  type CommonOptions,
  commandConfig,
  commandLog,
  commandOutput,
  positiveInteger,
  wholeNumber,
} from '../options.js';
import { table } from '../output.js';
import { withRegistry } from '../registry-session.js';

interface BuildOptions extends CommonOptions {
  readonly model: string;
  readonly corpusVersion: string;
  readonly template: string;
  readonly chunkTokens?: number;
  readonly chunkOverlap: number;
  readonly quantization: Quantization;
  readonly expansionSearch: number;
  readonly truncatedShareMax: number;
}

export function addCorpusCommands(program: Command): void {
  const corpus = program.command('corpus').description('corpora and their versions');
  corpus
    .command('build')
    .description('embed a file of documents (.jsonl or .parquet) and publish it as a corpus version')
    .argument('<corpus>', 'name of the corpus')
    .argument('<file>', 'JSON lines or Parquet: id, text, and optional title, attributes, vector')
    .requiredOption('--model <ref>', 'name@version or fingerprint of an imported model')
    .option('--corpus-version <version>', 'name of the new version', 'v1')
    .option(
      '--template <template>',
      'what is embedded of a document',
      DEFAULT_DOCUMENT_TEMPLATE.replace('\n', '\\n'),
    )
    .option('--chunk-tokens <n>', 'cut long texts into chunks of so many tokens', positiveInteger)
    .option('--chunk-overlap <n>', 'tokens that neighbouring chunks share', wholeNumber, 0)
    .option('--quantization <format>', `one of ${QUANTIZATIONS.join(', ')}`, quantization, 'bf16')
    .option(
      '--expansion-search <n>',
      'candidates a search looks at: more is slower and finds more',
      positiveInteger,
      128,
    )
    .option('--truncated-share-max <share>', 'share of documents that may be cut at max tokens', share, 0.05)
    .action(async (corpusName: string, file: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<BuildOptions>();
      const config = commandConfig(options);
      const log = commandLog(config);
      const output = commandOutput(options);
      const watcher = buildWatcher(options.json === true);
      const result = await withRegistry(config, log, (registry) =>
        watcher.run((signal) =>
          buildCorpus(
            {
              corpus: corpusName,
              version: options.corpusVersion,
              model: options.model,
              sourceFile: file,
              quantization: options.quantization,
              documentTemplate: options.template.replaceAll('\\n', '\n'),
              chunking:
                options.chunkTokens === undefined
                  ? null
                  : { tokensMax: options.chunkTokens, overlapTokens: options.chunkOverlap },
              expansionSearch: options.expansionSearch,
              truncatedShareMax: options.truncatedShareMax,
            },
            { config, registry, log, events: watcher.events, signal },
          ),
        ),
      );
      const { manifest, digest } = result.bundle;
      output.answer(
        {
          corpus: manifest.corpus,
          version: manifest.version,
          build: digest,
          documents: manifest.document_count,
          rows: manifest.row_count,
          truncated: manifest.truncated_count,
          recall_at_10: manifest.recall_at_10.value,
          routed: result.routed,
        },
        (view) =>
          [
            `${view.corpus}/${view.version} is ready: build ${digestPrefix(digest)}, ${view.documents} documents in ${view.rows} rows, ${view.truncated} cut at max tokens, recall@10 ${view.recall_at_10.toFixed(3)}`,
            view.routed
              ? `${view.corpus} had no route: this version now serves all of it`
              : `${view.corpus} has its route; this build waits for a change of it`,
          ].join('\n'),
      );
    });

  corpus
    .command('list')
    .description('corpus versions with their default builds')
    .argument('[corpus]', 'of this corpus only')
    .action(async (name: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const versions = await withAdmin(options, (admin) => admin.listCorpusVersions(name ?? null));
      commandOutput(options).answer(versions, formatVersions);
    });

  corpus
    .command('builds')
    .description('every build of a corpus; routes take the default one where they name none')
    .argument('<corpus>', 'name of the corpus')
    .argument('[version]', 'of this version only')
    .action(async (name: string, version: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const builds = await withAdmin(options, (admin) => admin.listBuilds(name, version ?? null));
      commandOutput(options).answer(builds, formatBuilds);
    });

  addChangeOptions(
    corpus
      .command('default')
      .description('make a build the one that routes take where they name none')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version')
      .argument('<build>', 'digest, or at least 8 characters of it'),
  ).action(async (name: string, version: string, build: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const made = await withAdmin(options, (admin) =>
      admin.setDefaultBuild({ corpus: name, version, build, reason, actor }),
    );
    commandOutput(options).answer(made, (view) => formatBuilds([view]));
  });

  addChangeOptions(
    corpus
      .command('archive')
      .description('take a corpus version out of service for good; it must be in no route')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version'),
  ).action(async (name: string, version: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const archived = await withAdmin(options, (admin) =>
      admin.archiveCorpusVersion({ corpus: name, version, reason, actor }),
    );
    commandOutput(options).answer(archived, (view) => formatVersions([view]));
  });
}

function formatVersions(versions: readonly CorpusVersionView[]): string {
  if (versions.length === 0) return 'no corpus yet; build one with `switchyard corpus build`';
  return table(
    ['corpus', 'version', 'status', 'model', 'embeddings', 'build'],
    versions.map((view) => [
      view.corpus,
      view.version,
      view.status,
      view.model,
      view.total_embeddings,
      view.default_build ?? '-',
    ]),
  );
}

function formatBuilds(builds: readonly BuildView[]): string {
  if (builds.length === 0) return 'no build yet; make one with `switchyard corpus build`';
  return table(
    ['version', 'build', 'default', 'format', 'rows', 'recall@10', 'made'],
    builds.map((view) => [
      view.version,
      view.build,
      view.is_default ? 'yes' : 'no',
      view.quantization,
      view.row_count,
      view.recall_at_10.toFixed(3),
      view.created_at,
    ]),
  );
}

function quantization(text: string): Quantization {
  const found = QUANTIZATIONS.find((candidate) => candidate === text);
  if (found === undefined) throw new InvalidArgumentError(`must be one of ${QUANTIZATIONS.join(', ')}.`);
  return found;
}

function share(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('must be a number from 0 to 1.');
  return value;
}
