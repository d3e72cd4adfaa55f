import type { Config } from '../../config/config.js';
import type { Encoder } from '../../encoder/encoder.js';
import type { ModelFolder } from '../../encoder/manifest.js';
import { loadModelFolder } from '../../encoder/model-folder.js';
import { startProcessEncoder } from '../../encoder/process-encoder.js';
import { TextTokenizer } from '../../encoder/tokenizer.js';
import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import { summariseFile } from '../../files/hash.js';
import type { BuildBatch } from '../../index/build-options.js';
import type { Bundle } from '../../index/manifest.js';
import { type Logger, reporter } from '../../telemetry/log.js';
import type { Fingerprint } from '../../vocabulary.js';
import type { Chunking } from '../chunking.js';
import { compileTemplate, TEXT_NORMALISATION } from '../document-text.js';
import type { Snapshot } from '../source/corpus-source.js';
import { Checkpoints, checkpointsFolder, type ReembedPlan, readPlan } from './checkpoints.js';
import { BlockEmbedder, type EmbedCounts } from './embed-blocks.js';
import { KnownVectors } from './known-vectors.js';
import { type ReadSource, reembed } from './reembed.js';

/** A model is hashed, loaded and probed in it, by a process that yields to all others. */
const START_MS_MAX = 600_000;

export interface EmbedRequest {
  readonly corpus: string;
  readonly version: string;
  readonly documentTemplate: string;
  readonly chunking: Chunking | null;
  /** Documents of one checkpoint. Default: the configuration's. */
  readonly checkpointDocuments?: number;
}

export interface EmbedParts {
  readonly config: Config;
  /** Builds of the same model, whose vectors are taken where the text is the same. */
  readonly earlier: readonly Bundle[];
  /** Whether something serves from the same cores: its encoder then has `reembed.niceness`, and fewer threads. Default: false. */
  readonly yields?: boolean;
  readonly onDocuments: (done: number) => void;
  readonly onCheckpoint: (name: string) => void;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** What an embedding did, for whoever asked for it. */
export interface EmbedReport extends Readonly<EmbedCounts> {
  readonly checkpointsWritten: number;
  readonly checkpointsResumed: number;
  /** Documents that were not embedded again because a checkpoint had them. */
  readonly documentsResumed: number;
  /** Documents that a run which stopped had given to its encoder after its last checkpoint: they were embedded again. */
  readonly documentsReembedded: number;
  /** Damaged checkpoints, embedded again. */
  readonly checkpointsRedone: number;
  readonly changesReplayed: number;
  readonly watermark: string | null;
}

/** The rows of a corpus version, and checkpoints that are removed once its build was recorded. */
export interface EmbeddedCorpus {
  readonly model: ModelFolder['manifest'];
  /** Once: also what comes to a feed while they are linked in. */
  readonly rows: AsyncIterable<BuildBatch>;
  /** As far as it was read by now: once all rows came, as far as they go. */
  source(): Promise<ReadSource>;
  /** Whether an interrupted run had come so far before: its bundle may have been published. */
  readonly isResumed: boolean;
  /** Up to now. */
  report(): Promise<EmbedReport>;
  /** After the build was recorded. */
  removeCheckpoints(): Promise<void>;
  /** Whatever happened. What is not removed is there for the next run. */
  release(): Promise<void>;
}

/** Where an interrupted run's snapshot of a feed ended, if its checkpoints are of use to this one; else null. */
export async function earlierSnapshotEnd(
  request: EmbedRequest,
  bundlesFolder: string,
  fingerprint: Fingerprint,
): Promise<ReembedPlan['source']['snapshot']> {
  const plan = await readPlan(checkpointsFolder(bundlesFolder, request.corpus, request.version));
  const isSame = plan !== null && plan.fingerprint === fingerprint && isSameText(plan, request);
  return isSame ? plan.source.snapshot : null;
}

const isSameText = (plan: ReembedPlan, { documentTemplate, chunking }: EmbedRequest): boolean =>
  plan.documentTemplate === documentTemplate && JSON.stringify(plan.chunking) === JSON.stringify(chunking);

/**
 * Embeds a snapshot and what came after it, from checkpoint to checkpoint. `sourceFile`: compared with the snapshot at the
 * end; null where that is not a file of its own.
 * Errors: BUILD_LOCKED, those of the source and of the encoder; the signal's reason. What was embedded stays.
 */
export async function embedCorpus(
  request: EmbedRequest,
  fingerprint: Fingerprint,
  snapshot: Snapshot,
  parts: EmbedParts,
  sourceFile: string | null,
): Promise<EmbeddedCorpus> {
  const { config, log, signal } = parts;
  const folder = await loadModelFolder(config.modelsDir, fingerprint);
  const { manifest: model } = folder;
  const { dimensions } = model;
  const checkpoints = await Checkpoints.open(
    checkpointsFolder(config.bundlesDir, request.corpus, request.version),
    log,
  );
  const known = new KnownVectors(dimensions);
  const encoders = new EncoderOnDemand(parts, fingerprint);
  const release = async (): Promise<void> => {
    await encoders.close();
    await known.close();
    await checkpoints.release();
  };
  try {
    const before = await checkpoints.plan();
    const interval = request.checkpointDocuments ?? config.reembed.checkpointDocuments;
    const plan = planOf(request, fingerprint, dimensions, snapshot, interval);
    // An interval that was set otherwise meanwhile counts from the next run on.
    const goesOn = before !== null && JSON.stringify({ ...before, interval }) === JSON.stringify(plan);
    const isResumed = await checkpoints.adopt(goesOn ? before : plan);
    const unfinished = await checkpoints.takeUnfinished();
    for (const bundle of parts.earlier) await addEarlier(known, bundle, log, signal);
    let done = 0;
    const counts: EmbedCounts = { documents: 0, rows: 0, encoded: 0, deduplicated: 0, reused: 0 };
    const embedded = await reembed({
      ...parts,
      snapshot,
      checkpoints,
      known,
      dimensions,
      isOneRowEach: request.chunking === null,
      interval: goesOn ? before.interval : interval,
      onResumed: (documents) => {
        done += documents;
        parts.onDocuments(done);
      },
      embedder: new BlockEmbedder({
        encoder: () => encoders.get(),
        dimensions,
        maxTokens: model.max_tokens,
        render: compileTemplate(request.documentTemplate),
        chunking: request.chunking,
        countTokens: request.chunking === null ? () => 0 : await tokenCounter(folder),
        known,
        batchTexts: config.reembed.batchTextsMax,
        counts,
        onDocument: () => parts.onDocuments(++done),
      }),
    });
    // What comes while the rows are linked in has one started again.
    await encoders.rest();
    if (sourceFile !== null) await assertUnchanged(sourceFile, snapshot);
    const { checkpointCounts } = embedded;
    return {
      model,
      rows: embedded.rows(),
      source: embedded.source,
      isResumed,
      report: async () => ({
        ...counts,
        checkpointsWritten: checkpointCounts.written,
        checkpointsResumed: checkpointCounts.resumed,
        documentsResumed: checkpointCounts.resumedDocuments,
        documentsReembedded: unfinished,
        checkpointsRedone: checkpointCounts.redone,
        changesReplayed: embedded.changesReplayed(),
        watermark: (await embedded.source()).watermark,
      }),
      removeCheckpoints: () => checkpoints.remove(),
      release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

function planOf(
  request: EmbedRequest,
  fingerprint: Fingerprint,
  dimensions: number,
  snapshot: Snapshot,
  interval: number,
): ReembedPlan {
  const { kind, name, sha256, changes } = snapshot;
  const { chunking } = request;
  return {
    format: 1,
    corpus: request.corpus,
    version: request.version,
    fingerprint,
    documentTemplate: request.documentTemplate,
    textNormalisation: TEXT_NORMALISATION,
    chunking:
      chunking === null ? null : { tokensMax: chunking.tokensMax, overlapTokens: chunking.overlapTokens },
    dimensions,
    source: {
      kind,
      name,
      sha256,
      snapshot: changes === null ? null : { offset: changes.end.offset, changes: changes.end.changes },
    },
    interval,
  };
}

/** A build that cannot be read saves nothing, and is not what this run is about. */
async function addEarlier(
  known: KnownVectors,
  bundle: Bundle,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  try {
    await known.addBundle(bundle, signal);
  } catch (thrown) {
    signal.throwIfAborted();
    const { reason, message } = toSwitchyardError(thrown);
    log.warn({ reason }, `vectors of an earlier build are not taken: ${message}`);
  }
}

async function assertUnchanged(file: string, { kind, name, sha256 }: Snapshot): Promise<void> {
  if (kind !== 'file' || (await summariseFile(file)).sha256 === sha256) return;
  throw new SwitchyardError(
    'INVALID_INPUT_FILE',
    `${name} changed while it was read: a source without versions must stay as it is; build again, or bring changes as a feed`,
  );
}

/** Starts an encoder when the first text needs one: a run that only goes on with checkpoints needs none. */
class EncoderOnDemand {
  readonly #parts: EmbedParts;
  readonly #fingerprint: Fingerprint;
  #own: Promise<Encoder> | null = null;
  #isClosed = false;

  constructor(parts: EmbedParts, fingerprint: Fingerprint) {
    this.#parts = parts;
    this.#fingerprint = fingerprint;
  }

  async get(): Promise<Encoder> {
    if (this.#isClosed) throw new SwitchyardError('SHUTTING_DOWN', 'the build that would embed has ended');
    this.#own ??= startBulkEncoder(this.#parts, this.#fingerprint);
    const encoder = await this.#own;
    await encoder.ready();
    return encoder;
  }

  /** Until one is needed again. */
  async rest(): Promise<void> {
    const own = this.#own;
    this.#own = null;
    await (await own?.catch(() => null))?.close();
  }

  /** For good: also whoever is still reading rows of a build that ended gets no other. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.rest();
  }
}

/** An encoder that nobody reads from: its runs may be long, and it yields the processor to those that serve. */
export async function startBulkEncoder(
  { config, log, yields = false }: Pick<EmbedParts, 'config' | 'log' | 'yields'>,
  fingerprint: Fingerprint,
): Promise<Encoder> {
  const { encoder, reembed: settings } = config;
  return startProcessEncoder({
    folder: await loadModelFolder(config.modelsDir, fingerprint),
    providers: encoder.providers,
    require: encoder.require,
    threads: yields ? settings.threadsBeside : settings.threads,
    batchTokensMax: encoder.batchTokensMax,
    accelerator: encoder.accelerator,
    queueLengthMax: { live: 1, shadow: 1, bulk: encoder.queueLengthMax },
    textBytesMax: 8 * 1024 * 1024,
    niceness: yields ? settings.niceness : 0,
    startTimeoutMs: START_MS_MAX,
    // No live reads here: nothing that a long run could hold up.
    backgroundRunMsMax: Number.POSITIVE_INFINITY,
    log: reporter(log),
  });
}

/** Tokens of a text without the special ones around it. */
async function tokenCounter(model: ModelFolder): Promise<(text: string) => number> {
  const tokenizer = await TextTokenizer.ofModel(model, Number.MAX_SAFE_INTEGER);
  const specials = tokenizer.encode('').tokenCount;
  return (text) => tokenizer.encode(text).tokenCount - specials;
}
