import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { SwitchyardError } from '../../errors.js';
import {
  type BuildParts,
  buildCorpus,
  type CorpusBuildResult,
  type IndexFormat,
} from '../../lifecycle/corpus-build.js';
import { rebuildCorpusVersion } from '../../lifecycle/corpus-rebuild.js';
import { DEFAULT_DOCUMENT_TEMPLATE } from '../../lifecycle/document-text.js';
import { digestPrefix, QUANTIZATIONS, type Quantization } from '../../vocabulary.js';
import { buildWatcher } from '../build-watcher.js';
import {
  type CommonOptions,
  commandConfig,
  commandLog,
  commandOutput,
  positiveInteger,
  wholeNumber,
} from '../options.js';
import { withRegistry } from '../registry-session.js';

interface BuildOptions extends CommonOptions {
  readonly model?: string;
  readonly fromVersion?: string;
  readonly fromBuild?: string;
  readonly corpusVersion: string;
  readonly template: string;
  readonly chunkTokens?: number;
  readonly chunkOverlap: number;
  readonly quantization: Quantization;
  readonly dimensions?: number;
  readonly rescoreFactor?: number;
  readonly expansionSearch: number;
  readonly truncatedShareMax: number;
}

export function addCorpusBuild(corpus: Command): void {
  corpus
    .command('build')
    .description(
      'embed a file of documents (.jsonl or .parquet) and publish it as a corpus version; or add a build in another format to a version, from its own vectors',
    )
    .argument('<corpus>', 'name of the corpus')
    .argument('[file]', 'JSON lines or Parquet: id, text, and optional title, attributes, vector')
    .option('--model <ref>', 'name@version or fingerprint of an imported model; needed with a file')
    .option('--corpus-version <version>', 'name of the new version', 'v1')
    .option('--from-version <version>', 'add a build to this version from its own vectors, without embedding')
    .option(
      '--from-build <digest>',
      'with --from-version: the build whose vectors are taken (default: its default one)',
    )
    .option(
      '--template <template>',
      'what is embedded of a document',
      DEFAULT_DOCUMENT_TEMPLATE.replace('\n', '\\n'),
    )
    .option('--chunk-tokens <n>', 'cut long texts into chunks of so many tokens', positiveInteger)
    .option('--chunk-overlap <n>', 'tokens that neighbouring chunks share', wholeNumber, 0)
    .option('--quantization <format>', `one of ${QUANTIZATIONS.join(', ')}`, quantization, 'bf16')
    .option(
      '--dimensions <n>',
      'numbers of each vector that the index takes, from the first (Matryoshka models); hits are rescored with all of them',
      positiveInteger,
    )
    .option(
      '--rescore-factor <n>',
      'candidates per wanted hit that are ordered by their exact distance (i8, b1 and with --dimensions)',
      positiveInteger,
    )
    .option(
      '--expansion-search <n>',
      'candidates a search looks at: more is slower and finds more',
      positiveInteger,
      128,
    )
    .option('--truncated-share-max <share>', 'share of documents that may be cut at max tokens', share, 0.05)
    .action(async (corpusName: string, file: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<BuildOptions>();
      const build = file === undefined ? rebuild(corpusName, options) : fromFile(corpusName, file, options);
      const config = commandConfig(options);
      const log = commandLog(config);
      const watcher = buildWatcher(options.json === true, file === undefined ? 'adding rows' : 'embedding');
      const result = await withRegistry(config, log, (registry) =>
        watcher.run((signal) => build({ config, registry, log, events: watcher.events, signal })),
      );
      const { manifest, digest } = result.bundle;
      commandOutput(options).answer(
        {
          corpus: manifest.corpus,
          version: manifest.version,
          build: digest,
          quantization: manifest.quantization,
          dimensions: manifest.dimensions,
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
              : file === undefined
                ? `serve it with: switchyard route set ${view.corpus} ${view.version}:${digestPrefix(digest)}=10000 --preload --reason "${view.quantization}"`
                : `${view.corpus} has its route; this build waits for a change of it`,
          ].join('\n'),
      );
    });
}

type Build = (parts: BuildParts) => Promise<CorpusBuildResult>;

const formatFrom = (options: BuildOptions): IndexFormat => ({
  quantization: options.quantization,
  expansionSearch: options.expansionSearch,
  ...(options.dimensions === undefined ? {} : { indexDimensions: options.dimensions }),
  ...(options.rescoreFactor === undefined ? {} : { rescoreFactor: options.rescoreFactor }),
});

function fromFile(corpus: string, file: string, options: BuildOptions): Build {
  const { model, fromVersion, fromBuild } = options;
  if (fromVersion !== undefined || fromBuild !== undefined)
    throw usage('give a file to embed or --from-version, not both');
  if (model === undefined) throw usage('a file is embedded by a model: name it with --model <name@version>');
  return (parts) =>
    buildCorpus(
      {
        corpus,
        version: options.corpusVersion,
        model,
        sourceFile: file,
        ...formatFrom(options),
        documentTemplate: options.template.replaceAll('\\n', '\n'),
        chunking:
          options.chunkTokens === undefined
            ? null
            : { tokensMax: options.chunkTokens, overlapTokens: options.chunkOverlap },
        truncatedShareMax: options.truncatedShareMax,
      },
      parts,
    );
}

function rebuild(corpus: string, options: BuildOptions): Build {
  const { fromVersion, model, chunkTokens } = options;
  if (fromVersion === undefined)
    throw usage(
      'give a file of documents and --model, or --from-version <version> to add a build to a version',
    );
  if (model !== undefined || chunkTokens !== undefined)
    throw usage(
      '--from-version takes the vectors of that version as they are: leave --model and --chunk-tokens out',
    );
  return (parts) =>
    rebuildCorpusVersion(
      { corpus, version: fromVersion, build: options.fromBuild ?? null, ...formatFrom(options) },
      parts,
    );
}

const usage = (message: string): SwitchyardError => new SwitchyardError('INVALID_ARGUMENT', message);

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
