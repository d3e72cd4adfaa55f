import type { Config } from '../config/config.js';
import type { ModelManifest } from '../encoder/manifest.js';
import { SwitchyardError, toSwitchyardError } from '../errors.js';
import { buildBundle } from '../index/build-bundle.js';
import type { BuildOptions, BuildProgress } from '../index/build-options.js';
import { findBundleFolder } from '../index/bundle-folder.js';
import type { Bundle } from '../index/manifest.js';
import { findPublished } from '../index/published.js';
import { readBundle } from '../index/read-bundle.js';
import { SeededRandom } from '../index/seeded-random.js';
import type { Logger } from '../telemetry/log.js';
import type { Fingerprint, Quantization } from '../vocabulary.js';
import type { BuildRecords } from './build-records.js';
import { type Chunking, checkChunking } from './chunking.js';
import { compileTemplate, TEXT_NORMALISATION } from './document-text.js';
import { readyVectorRows } from './ready-vectors.js';
import {
  type EmbedReport,
  earlierSnapshotEnd,
  embedCorpus,
  startBulkEncoder,
} from './reembed/embed-corpus.js';
import { type CorpusSource, openCorpusSource, type Snapshot } from './source/corpus-source.js';
import { sourceName } from './source/sources-folder.js';

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
  /** A feed, JSON lines or Parquet. One of this and `source`. */
  readonly sourceFile?: string;
  /** Documents from elsewhere: the texts of another version, or of an archive. */
  readonly source?: CorpusSource;
  readonly documentTemplate: string;
  readonly chunking: Chunking | null;
  /** Documents of one checkpoint. Default: the configuration's. */
  readonly checkpointDocuments?: number;
  /** Take vectors that the same model made of the same texts for builds of the corpus. Default: true. */
  readonly reuse?: boolean;
  readonly truncatedShareMax: number;
}

export interface CorpusBuildEvents {
  /** The source was read once: so many documents (or, from another build, rows) are to be done. */
  onCounted(documentCount: number): void;
  onDocuments(doneCount: number): void;
  /** `link`: the graph is linked, and what comes to a feed meanwhile is embedded. */
  onPhase(phase: 'link' | 'index' | 'recall' | 'publish'): void;
  /** A checkpoint was written: what was embedded so far is not embedded again. */
  onCheckpoint?(name: string): void;
}

export interface CorpusBuildResult {
  readonly bundle: Bundle;
  /** True when the corpus had no route and this version now serves all of it. */
  readonly routed: boolean;
  /** How the texts became vectors; null where they were not embedded. */
  readonly embedding: EmbedReport | null;
}

export interface BuildParts {
  readonly config: Config;
  readonly records: BuildRecords;
  readonly log: Logger;
  readonly events: CorpusBuildEvents;
  readonly signal: AbortSignal;
  /** Whether something serves from the same cores, which the build then leaves to it. Default: false. */
  readonly yields?: boolean;
}

/**
 * Embeds a source with a registered model, builds and publishes the bundle, and records it. The first version of a
 * corpus is routed at once; a later one waits for the operator. Nothing of an interrupted build can be opened; the same
 * request goes on from its last checkpoint. Errors: those of the source, the encoder, the index and the registry.
 */
export async function buildCorpus(
  request: CorpusBuildRequest,
  parts: BuildParts,
): Promise<CorpusBuildResult> {
  const { records, events } = parts;
  compileTemplate(request.documentTemplate);
  if (request.chunking !== null) checkChunking(request.chunking);
  const fingerprint = await records.resolveModel(request.model);
  const source = await sourceOf(request);
  if (source.hasVectors && request.chunking !== null) {
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      'chunking needs texts to embed, but the source brings its own vectors',
    );
  }
  const before = await earlierSnapshotEnd(request, parts.config.bundlesDir, fingerprint);
  const snapshot = await source.snapshot(before, parts.signal);
  events.onCounted(snapshot.documentCount);

  await records.begin({
    corpus: request.corpus,
    version: request.version,
    fingerprint,
    documentTemplate: request.documentTemplate,
    textNormalisation: TEXT_NORMALISATION,
  });
  try {
    return await embedAndPublish(request, parts, fingerprint, source, snapshot);
  } catch (error) {
    await noteFailure(request, records, error, parts.log);
    throw error;
  }
}

async function embedAndPublish(
  request: CorpusBuildRequest,
  parts: BuildParts,
  fingerprint: Fingerprint,
  source: CorpusSource,
  snapshot: Snapshot,
): Promise<CorpusBuildResult> {
  const { config, records, events, log, signal } = parts;
  if (source.hasVectors) {
    const bundle = await publishReadyVectors(request, parts, fingerprint, snapshot);
    await records.record(bundle);
    return { bundle, routed: await records.routeFirst(bundle), embedding: null };
  }
  const embedded = await embedCorpus(
    request,
    fingerprint,
    snapshot,
    {
      config,
      log,
      signal,
      yields: parts.yields ?? false,
      earlier: request.reuse === false ? [] : await earlierBundles(request, fingerprint, parts),
      onDocuments: (done) => events.onDocuments(done),
      onCheckpoint: (name) => events.onCheckpoint?.(name),
    },
    request.sourceFile ?? null,
  );
  try {
    const read = await embedded.source();
    const feed = read.watermark === null ? undefined : await feedOf(request, source, config);
    const named = { name: source.name, ...(feed === undefined ? {} : { feed }) };
    const options = (read: BuildOptions['source']) => optionsOf(request, parts, embedded.model, read);
    // A run that was killed may have published already; the same again would be another build of the same.
    const published = embedded.isResumed ? await findPublished(options({ ...named, ...read })) : null;
    if (published === null) events.onPhase('link');
    const asLinked = {
      ...named,
      sha256: async () => (await embedded.source()).sha256,
      watermark: async () => (await embedded.source()).watermark,
    };
    const bundle =
      published ?? (await buildBundle({ ...options(asLinked), storeProvenance: true }, embedded.rows));
    await records.record(bundle);
    const routed = await records.routeFirst(bundle);
    const embedding = await embedded.report();
    await embedded.removeCheckpoints();
    return { bundle, routed, embedding };
  } finally {
    await embedded.release();
  }
}

/** Vectors that came with the source: nothing is embedded but a sample of them. */
async function publishReadyVectors(
  request: CorpusBuildRequest,
  parts: BuildParts,
  fingerprint: Fingerprint,
  snapshot: Snapshot,
): Promise<Bundle> {
  const { events, signal } = parts;
  const encoder = await startBulkEncoder(parts, fingerprint);
  try {
    await encoder.ready();
    let done = 0;
    const random = new SeededRandom(SAMPLE_SEED);
    const rows = readyVectorRows(interruptible(snapshot.documents(0), signal), {
      encoder,
      render: compileTemplate(request.documentTemplate),
      random: () => random.next(),
      onDocument: () => events.onDocuments(++done),
    });
    const { name, sha256 } = snapshot;
    return await buildBundle(
      optionsOf(request, parts, encoder.model, { name, sha256, watermark: null }),
      rows,
    );
  } finally {
    await encoder.close();
  }
}

/** Default builds of this corpus that the same model embedded. One that is not there saves nothing. */
async function earlierBundles(
  { corpus }: CorpusBuildRequest,
  fingerprint: Fingerprint,
  { config, records, log }: BuildParts,
): Promise<readonly Bundle[]> {
  const bundles: Bundle[] = [];
  for (const build of await records.buildsOf(corpus, fingerprint)) {
    try {
      bundles.push(await readBundle(await findBundleFolder(config.bundlesDir, build)));
    } catch (thrown) {
      log.warn({ version: build.version }, `its vectors are not taken: ${toSwitchyardError(thrown).message}`);
    }
  }
  return bundles;
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

function optionsOf(
  request: CorpusBuildRequest,
  { config, events, signal, yields = false }: BuildParts,
  model: ModelManifest,
  source: BuildOptions['source'],
): BuildOptions {
  return {
    bundlesFolder: config.bundlesDir,
    corpus: request.corpus,
    version: request.version,
    model,
    dimensions: model.dimensions,
    metric: model.metric,
    ...indexOptions(request),
    documentTemplate: request.documentTemplate,
    textNormalisation: TEXT_NORMALISATION,
    ...chunkingOf(request),
    storeDocuments: true,
    truncatedShareMax: request.truncatedShareMax,
    ...(yields ? { threads: config.reembed.threadsBeside } : {}),
    source,
    onProgress: ({ phase }) => announcePhase(phase, events),
    signal,
  };
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

async function sourceOf({ source, sourceFile }: CorpusBuildRequest): Promise<CorpusSource> {
  if (source !== undefined) return source;
  if (sourceFile === undefined) throw new TypeError('a build needs a source');
  return openCorpusSource(sourceFile);
}

/** By which gateways find out how far the source is ahead. */
const feedOf = async (
  { sourceFile }: CorpusBuildRequest,
  source: CorpusSource,
  { varDir }: Config,
): Promise<string | undefined> => (sourceFile === undefined ? source.feed : sourceName(varDir, sourceFile));

const chunkingOf = ({ chunking }: CorpusBuildRequest): Pick<BuildOptions, 'chunking'> =>
  chunking === null
    ? {}
    : { chunking: { tokens_max: chunking.tokensMax, overlap_tokens: chunking.overlapTokens } };

async function* interruptible<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
  for await (const item of items) {
    signal.throwIfAborted();
    yield item;
  }
}
