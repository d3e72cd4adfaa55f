import path from 'node:path';
import type { Config } from '../config/config.js';
import type { ModelManifest } from '../encoder/manifest.js';
import { loadModelFolder, MODEL_FILES } from '../encoder/model-folder.js';
import { startProcessEncoder } from '../encoder/process-encoder.js';
import { TextTokenizer } from '../encoder/tokenizer.js';
import { SwitchyardError, toSwitchyardError } from '../errors.js';
import { summariseFile } from '../files/hash.js';
import { buildBundle } from '../index/build-bundle.js';
import type { BuildBatch, BuildProgress } from '../index/build-options.js';
import type { Bundle } from '../index/manifest.js';
import { SeededRandom } from '../index/seeded-random.js';
import { type Logger, reporter } from '../telemetry/log.js';
import type { Fingerprint, Quantization } from '../vocabulary.js';
import type { BuildRecords } from './build-records.js';
import { type Chunking, checkChunking } from './chunking.js';
import { compileTemplate, type RenderDocument, TEXT_NORMALISATION } from './document-text.js';
import { embedRows } from './embed-rows.js';
import { readyVectorRows } from './ready-vectors.js';
import type { DocumentSource } from './source/document.js';
import { openSource } from './source/open.js';

const SAMPLE_SEED = 1;

/** What a build's index is like. */
export interface IndexFormat {
  readonly quantization: Quantization;
  readonly expansionSearch: number;
  /** First numbers of each vector that the graph takes. Default: all of them. */
  readonly indexDimensions?: number;
  /** Default: what the format does by itself. */
  readonly rescoreFactor?: number;
}

export interface CorpusBuildRequest extends IndexFormat {
  readonly corpus: string;
  readonly version: string;
  /** name@version or fingerprint. */
  readonly model: string;
  readonly sourceFile: string;
  readonly documentTemplate: string;
  readonly chunking: Chunking | null;
  readonly truncatedShareMax: number;
}

export interface CorpusBuildEvents {
  /** The source was read once: so many documents (or, from another build, rows) are to be done. */
  onCounted(documentCount: number): void;
  onDocuments(doneCount: number): void;
  onPhase(phase: 'index' | 'recall' | 'publish'): void;
}

export interface CorpusBuildResult {
  readonly bundle: Bundle;
  /** True when the corpus had no route and this version now serves all of it. */
  readonly routed: boolean;
}

export interface BuildParts {
  readonly config: Config;
  readonly records: BuildRecords;
  readonly log: Logger;
  readonly events: CorpusBuildEvents;
  readonly signal: AbortSignal;
}

/**
 * Embeds a source with a registered model, builds and publishes the bundle, and records it. The first version of a
 * corpus is routed at once; a later one waits for the operator. Nothing of an interrupted build can be opened, and the
 * next one cleans up. Errors: those of the source, the encoder, the index and the registry.
 */
export async function buildCorpus(
  request: CorpusBuildRequest,
  parts: BuildParts,
): Promise<CorpusBuildResult> {
  const { records, events } = parts;
  const render = compileTemplate(request.documentTemplate);
  if (request.chunking !== null) checkChunking(request.chunking);
  const fingerprint = await records.resolveModel(request.model);
  const source = await openSource(request.sourceFile);
  if (source.hasVectors && request.chunking !== null) {
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      'chunking needs texts to embed, but the source brings its own vectors',
    );
  }
  const documentCount = await countDocuments(source, parts.signal);
  events.onCounted(documentCount);

  await records.begin({
    corpus: request.corpus,
    version: request.version,
    fingerprint,
    documentTemplate: request.documentTemplate,
    textNormalisation: TEXT_NORMALISATION,
  });
  try {
    const bundle = await embedAndPublish(request, parts, fingerprint, source, render);
    await records.record(bundle);
    return { bundle, routed: await records.routeFirst(bundle) };
  } catch (error) {
    await noteFailure(request, records, error, parts.log);
    throw error;
  }
}

async function embedAndPublish(
  request: CorpusBuildRequest,
  parts: BuildParts,
  fingerprint: Fingerprint,
  source: DocumentSource,
  render: RenderDocument,
): Promise<Bundle> {
  const { config, events } = parts;
  const folder = await loadModelFolder(config.modelsDir, fingerprint);
  const encoder = startProcessEncoder({
    folder,
    providers: config.encoder.providers,
    require: config.encoder.require,
    threads: config.encoder.threads,
    batchTokensMax: config.encoder.batchTokensMax,
    accelerator: config.encoder.accelerator,
    queueLengthMax: { live: 1, shadow: 1, bulk: config.encoder.queueLengthMax },
    textBytesMax: 8 * 1024 * 1024,
    // No live reads here: nothing that a long run could hold up.
    backgroundRunMsMax: Number.POSITIVE_INFINITY,
    log: reporter(parts.log),
  });
  try {
    await encoder.ready();
    let done = 0;
    const onDocument = (): void => events.onDocuments(++done);
    const documents = interruptible(source.documents(), parts.signal);
    const random = new SeededRandom(SAMPLE_SEED);
    const rows = source.hasVectors
      ? readyVectorRows(documents, { encoder, render, random: () => random.next(), onDocument })
      : embedRows(documents, {
          encoder,
          render,
          chunking: request.chunking,
          countTokens: await tokenCounter(folder.folder),
          onDocument,
        });
    return await publish(request, parts, folder.manifest, source, rows);
  } finally {
    await encoder.close();
  }
}

/** The version says why it has no build. Losing the registry as well must not hide the first error. */
async function noteFailure(
  { corpus, version }: CorpusBuildRequest,
  records: BuildRecords,
  thrown: unknown,
  log: Logger,
): Promise<void> {
  const { reason, message } = toSwitchyardError(thrown);
  try {
    await records.fail({ corpus, version }, `${reason}: ${message}`);
  } catch (error) {
    log.warn({ err: error, corpus, version }, 'the failed build could not be noted in the registry');
  }
}

function publish(
  request: CorpusBuildRequest,
  { config, events, signal }: BuildParts,
  model: ModelManifest,
  source: DocumentSource,
  rows: AsyncIterable<BuildBatch>,
): Promise<Bundle> {
  return buildBundle(
    {
      bundlesFolder: config.bundlesDir,
      corpus: request.corpus,
      version: request.version,
      model,
      dimensions: model.dimensions,
      metric: model.metric,
      ...indexOptions(request),
      documentTemplate: request.documentTemplate,
      textNormalisation: TEXT_NORMALISATION,
      storeDocuments: true,
      truncatedShareMax: request.truncatedShareMax,
      source: {
        name: source.name,
        sha256: async () => (await summariseFile(request.sourceFile)).sha256,
        watermark: null,
      },
      onProgress: ({ phase }) => announcePhase(phase, events),
      signal,
    },
    rows,
  );
}

/** For `buildBundle`. */
export const indexOptions = (format: IndexFormat) => ({
  quantization: format.quantization,
  expansionSearch: format.expansionSearch,
  ...(format.indexDimensions === undefined ? {} : { indexDimensions: format.indexDimensions }),
  ...(format.rescoreFactor === undefined ? {} : { rescoreFactor: format.rescoreFactor }),
});

export function announcePhase(phase: BuildProgress['phase'], events: CorpusBuildEvents): void {
  if (phase === 'save') events.onPhase('index');
  else if (phase !== 'add') events.onPhase(phase);
}

async function countDocuments(source: DocumentSource, signal: AbortSignal): Promise<number> {
  let count = 0;
  for await (const _document of interruptible(source.documents(), signal)) count++;
  if (count === 0) throw new SwitchyardError('INVALID_INPUT_FILE', `${source.name} holds no document`);
  return count;
}

async function* interruptible<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
  for await (const item of items) {
    signal.throwIfAborted();
    yield item;
  }
}

/** Tokens of a text without the special ones around it. */
async function tokenCounter(folder: string): Promise<(text: string) => number> {
  const tokenizer = await TextTokenizer.open(
    path.join(folder, MODEL_FILES.tokenizer),
    Number.MAX_SAFE_INTEGER,
  );
  const specials = tokenizer.encode('').tokenCount;
  return (text) => tokenizer.encode(text).tokenCount - specials;
}
