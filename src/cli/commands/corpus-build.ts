import path from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { RouteView } from '../../gateway/admin/views.js';
import type { BuildParts, CorpusBuildResult, IndexFormat } from '../../lifecycle/corpus-build.js';
import { DEFAULT_DOCUMENT_TEMPLATE } from '../../lifecycle/document-text.js';
import type { RebuildRequest } from '../../lifecycle/rebuild.js';
import { yieldProcessors } from '../../process/yield-processors.js';
import { digestPrefix, QUANTIZATIONS, type Quantization } from '../../vocabulary.js';
import { adminRecords } from '../admin-records.js';
import { addActorOption, assertSharedStorage, isGatewayRunning, withAdmin } from '../admin-session.js';
import { buildWatcher } from '../build-watcher.js';
import { embeddingView, formatEmbedding } from '../embedding-text.js';
import {
  type CommonOptions,
  commandConfig,
  commandLog,
  commandOutput,
  positiveInteger,
  wholeNumber,
} from '../options.js';
import { type Printed, printedCommand } from '../printed-command.js';
import { routeWords } from '../route-plan.js';

/** A tenth of the reads: a noise floor needs some hundred answers, not all of them. */
const NOISE_FLOOR_BPS = 1_000;

interface BuildOptions extends CommonOptions {
  readonly model?: string;
  readonly fromVersion?: string;
  readonly fromBuild?: string;
  readonly shuffle?: number;
  readonly corpusVersion: string;
  readonly template: string;
  readonly chunkTokens?: number;
  readonly chunkOverlap: number;
  readonly quantization: Quantization;
  readonly dimensions?: number;
  readonly rescoreFactor?: number;
  readonly expansionSearch: number;
  readonly truncatedShareMax: number;
  readonly textsOf?: string;
  readonly textsFrom?: string;
  readonly checkpointDocuments?: number;
  readonly reuse: boolean;
  readonly reason?: string;
  readonly actor: string;
}

export function addCorpusBuild(corpus: Command): void {
  const command = corpus
    .command('build')
    .description(
      'embed a file of documents (.jsonl or .parquet) and publish it as a corpus version; or add a build in another format to a version, from its own vectors',
    )
    .argument('<corpus>', 'name of the corpus')
    .argument(
      '[file]',
      'JSON lines or Parquet: id, text, and optional title, attributes, vector; or a feed: JSON lines with version and deleted',
    )
    .option('--model <ref>', 'name@version or fingerprint of an imported model; needed with a file')
    .option('--corpus-version <version>', 'name of the new version', 'v1')
    .option('--from-version <version>', 'add a build to this version from its own vectors, without embedding')
    .option(
      '--from-build <digest>',
      'with --from-version: the build whose vectors are taken (default: its default one)',
    )
    .option(
      '--shuffle <seed>',
      'with --from-version: the same format with its documents inserted in another order, for the noise floor of `comparison show`',
      wholeNumber,
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
    .option(
      '--texts-of <version>',
      'instead of a file: the texts that this version keeps, embedded by --model',
    )
    .option('--texts-from <archive>', 'instead of a file: the texts of an archive, as `archives` names it')
    .option(
      '--checkpoint-documents <n>',
      'documents of one checkpoint: what a build that is killed embeds again at most (default: reembed.checkpoint_documents)',
      positiveInteger,
    )
    .option('--no-reuse', 'embed also texts that the same model embedded for another version of the corpus')
    .option('--reason <text>', 'why; kept in the audit (default: what is built)');
  addActorOption(command).action(
    async (corpusName: string, file: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<BuildOptions>();
      if (options.shuffle !== undefined) refuseFormat(command);
      const isEmbedded = [file, options.textsOf, options.textsFrom].some((from) => from !== undefined);
      const build = isEmbedded ? embed(corpusName, file, options) : rebuild(corpusName, options);
      const config = commandConfig(options);
      const log = commandLog(config);
      const yields = await isGatewayRunning(config, options);
      // Before there are threads, which inherit it.
      if (yields && !yieldProcessors(config.reembed))
        log.info('reembed.scheduling idle cannot be had here: the niceness alone is');
      const watcher = buildWatcher(options.json === true, isEmbedded ? 'embedding' : 'adding rows');
      const { actor, reason = reasonOf(corpusName, file, options) } = options;
      // Embeds and publishes here; what is recorded goes through the gateway where one runs.
      const { result, route } = await withAdmin(options, async (admin) => {
        await assertSharedStorage(admin, config);
        const records = adminRecords(admin, { actor, reason });
        return {
          result: await watcher.run((signal) =>
            build({ config, records, log, events: watcher.events, signal, yields }),
          ),
          route: (await admin.listRoutes()).find((known) => known.corpus === corpusName) ?? null,
        };
      });
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
          embedding: embeddingView(result),
        },
        () => formatResult(result, nextStep(result, route, options, isEmbedded), printedCommand(options)),
      );
    },
  );
}

function formatResult(result: CorpusBuildResult, next: NextStep, printed: Printed): string {
  const { bundle, routed } = result;
  const { manifest } = bundle;
  const { corpus, version } = manifest;
  const build = digestPrefix(bundle.digest);
  const head = `${corpus}/${version} is ready: build ${build}, ${manifest.document_count} documents in ${manifest.row_count} rows, ${manifest.truncated_count} cut at max tokens, recall@10 ${manifest.recall_at_10.value.toFixed(3)}${formatEmbedding(result)}`;
  if (routed) return `${head}\n${corpus} had no route: this version now serves all of it`;
  return [
    head,
    `${corpus} has its route; this build waits for a change of it. ${next.what}:`,
    `  ${printed(next.command)}`,
  ].join('\n');
}

interface NextStep {
  readonly what: string;
  readonly command: string;
}

/** What is usually done with a build next. */
function nextStep(
  { bundle: { manifest, digest } }: CorpusBuildResult,
  route: RouteView | null,
  { shuffle }: BuildOptions,
  isEmbedded: boolean,
): NextStep {
  const { corpus, version, quantization } = manifest;
  const build = `${version}:${digestPrefix(digest)}`;
  if (isEmbedded || route === null)
    return { what: 'To see what serves now', command: `route show ${corpus}` };
  if (shuffle === undefined)
    return {
      what: 'To serve all of it from this build',
      command: `route set ${corpus} ${build}=10000 --preload --reason "${quantization}"`,
    };
  return {
    what: `To measure the noise floor of ${version} beside what is routed`,
    command: `route set ${corpus} ${routeWords(route).join(' ')} --mirror ${build}=${NOISE_FLOOR_BPS} --reason "noise floor"`,
  };
}

const reasonOf = (
  corpus: string,
  file: string | undefined,
  { fromVersion, corpusVersion, textsOf }: BuildOptions,
): string =>
  textsOf !== undefined
    ? `build of ${corpus}/${corpusVersion} from the texts of ${textsOf}`
    : file === undefined
      ? `another build of ${corpus}/${fromVersion}`
      : `build of ${corpus}/${corpusVersion} from ${path.basename(file)}`;

type Build = (parts: BuildParts) => Promise<CorpusBuildResult>;

const formatFrom = (options: BuildOptions): IndexFormat => ({
  quantization: options.quantization,
  expansionSearch: options.expansionSearch,
  ...(options.dimensions === undefined ? {} : { indexDimensions: options.dimensions }),
  ...(options.rescoreFactor === undefined ? {} : { rescoreFactor: options.rescoreFactor }),
});

function embed(corpus: string, file: string | undefined, options: BuildOptions): Build {
  const { model, fromVersion, fromBuild, shuffle } = options;
  if (fromVersion !== undefined || fromBuild !== undefined)
    throw usage('give a file to embed or --from-version, not both');
  if (shuffle !== undefined)
    throw usage('--shuffle adds a build to a version: name the version with --from-version');
  if (model === undefined) throw usage('texts are embedded by a model: name it with --model <name@version>');
  const from = sourceOf(file, options);
  return async (parts) => {
    const { rebuildCorpus } = await import('../../lifecycle/rebuild.js');
    return rebuildCorpus(
      {
        corpus,
        version: options.corpusVersion,
        model,
        from,
        ...formatFrom(options),
        documentTemplate: options.template.replaceAll('\\n', '\n'),
        chunking:
          options.chunkTokens === undefined
            ? null
            : { tokensMax: options.chunkTokens, overlapTokens: options.chunkOverlap },
        truncatedShareMax: options.truncatedShareMax,
        reuse: options.reuse,
        ...(options.checkpointDocuments === undefined
          ? {}
          : { checkpointDocuments: options.checkpointDocuments }),
      },
      parts,
    );
  };
}

function sourceOf(file: string | undefined, { textsOf, textsFrom }: BuildOptions): RebuildRequest['from'] {
  const given: readonly RebuildRequest['from'][] = [
    ...(file === undefined ? [] : [{ kind: 'file', file } as const]),
    ...(textsOf === undefined ? [] : [{ kind: 'version', version: textsOf, build: null } as const]),
    ...(textsFrom === undefined ? [] : [{ kind: 'archive', uri: textsFrom } as const]),
  ];
  const [from, ...more] = given;
  if (from === undefined || more.length > 0)
    throw usage('give one source: a file, --texts-of a version, or --texts-from an archive');
  return from;
}

function rebuild(corpus: string, options: BuildOptions): Build {
  const { fromVersion, model, chunkTokens, shuffle } = options;
  if (fromVersion === undefined)
    throw usage(
      'give a file of documents and --model, or --from-version <version> to add a build to a version',
    );
  if (model !== undefined || chunkTokens !== undefined)
    throw usage(
      '--from-version takes the vectors of that version as they are: leave --model and --chunk-tokens out',
    );
  return async (parts) => {
    const { rebuildCorpusVersion } = await import('../../lifecycle/corpus-rebuild.js');
    return rebuildCorpusVersion(
      {
        corpus,
        version: fromVersion,
        build: options.fromBuild ?? null,
        variant:
          shuffle === undefined
            ? { kind: 'format', format: formatFrom(options) }
            : { kind: 'shuffled', seed: shuffle },
      },
      parts,
    );
  };
}

/** A noise floor differs by the order alone. */
function refuseFormat(command: Command): void {
  for (const name of ['quantization', 'dimensions', 'rescoreFactor', 'expansionSearch'])
    if (command.getOptionValueSource(name) === 'cli')
      throw usage(
        `--shuffle keeps the format of the build it comes from: leave --${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} out`,
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
