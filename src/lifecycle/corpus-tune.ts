import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { loadModelFolder } from '../encoder/model-folder.js';
import { startProcessEncoder } from '../encoder/process-encoder.js';
import { SwitchyardError } from '../errors.js';
import type { Bundle } from '../index/manifest.js';
import { type TuneResult, tuneFormats } from '../index/tune/tune.js';
import type { TuneFormat } from '../index/tune/tune-protocol.js';
import { reporter } from '../telemetry/log.js';
import { QUANTIZATIONS } from '../vocabulary.js';
import type { BuildParts } from './corpus-build.js';
import { recordedBundle } from './corpus-rebuild.js';

const SEED = 1;
const BITS_PER_BYTE = 8;
const TEXTS_PER_CALL = 256;

export interface CorpusTuneRequest {
  readonly corpus: string;
  readonly version: string;
  readonly build: string | null;
  /** With 0 dimensions: all of them. Null: `usualFormats`. */
  readonly formats: readonly TuneFormat[] | null;
  readonly expansions: readonly number[];
  readonly rowsMax: number;
  readonly queriesMax: number;
  /** One text a line; null: rows of the corpus are held out and searched for. */
  readonly queriesFile: string | null;
}

export interface TuneEvents {
  /** So many rows in all will be added, over all formats. */
  onStarted(rowCount: number): void;
  onRows(rowsDone: number): void;
}

export interface CorpusTuneResult extends TuneResult {
  readonly bundle: Bundle;
}

/**
 * Measures recall@10, time and bytes of formats and search expansions on a corpus version's own vectors. Nothing is
 * published. Errors: those of `recordedBundle`, of the encoder when texts are given, and of `tuneFormats`.
 */
export async function tuneCorpusVersion(
  request: CorpusTuneRequest,
  parts: Omit<BuildParts, 'events'>,
  events: TuneEvents,
): Promise<CorpusTuneResult> {
  const bundle = await recordedBundle(request, parts);
  const { row_count: rowCount, full_dimensions: dimensions } = bundle.manifest;
  const queries = request.queriesFile === null ? null : await encodedQueries(request, bundle, parts);
  const formats = (request.formats ?? usualFormats(dimensions)).map((format) => ({
    ...format,
    dimensions: format.dimensions === 0 ? dimensions : format.dimensions,
  }));
  for (const format of formats)
    if (format.dimensions > dimensions)
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        `${format.quantization}@${format.dimensions}: the vectors have ${dimensions} dimensions`,
      );
  const result = await tuneFormats(bundle, {
    formats,
    expansions: request.expansions,
    rowsMax: request.rowsMax,
    queries,
    heldOutCount: Math.min(request.queriesMax, rowCount),
    seed: SEED,
    threads: availableParallelism(),
    temporaryFolder: parts.config.varDir,
    signal: parts.signal,
    onStarted: (rows) => events.onStarted(rows * formats.length),
    onRows: (done) => events.onRows(done),
  });
  return { ...result, bundle };
}

/** Every format with all dimensions and with half of them, rounded down to what b1 can hold where there are so many. */
export function usualFormats(dimensions: number): TuneFormat[] {
  const half = Math.floor(dimensions / 2);
  const truncated = half < BITS_PER_BYTE ? half : half - (half % BITS_PER_BYTE);
  return [dimensions, truncated]
    .filter((count) => count >= 1)
    .flatMap((count) => QUANTIZATIONS.map((quantization) => ({ quantization, dimensions: count })));
}

async function encodedQueries(
  { queriesFile, queriesMax }: CorpusTuneRequest,
  { manifest }: Bundle,
  { config, log, signal }: Omit<BuildParts, 'events'>,
): Promise<Float32Array> {
  const texts = (await readQueries(queriesFile ?? '')).slice(0, queriesMax);
  const { encoder: settings } = config;
  const encoder = startProcessEncoder({
    folder: await loadModelFolder(config.modelsDir, manifest.model.fingerprint),
    providers: settings.providers,
    require: settings.require,
    threads: settings.threads,
    batchTokensMax: settings.batchTokensMax,
    accelerator: settings.accelerator,
    queueLengthMax: { live: 1, shadow: 1, bulk: settings.queueLengthMax },
    textBytesMax: config.limits.textBytesMax,
    backgroundRunMsMax: Number.POSITIVE_INFINITY,
    log: reporter(log),
  });
  try {
    await encoder.ready();
    const { dimensions } = encoder.model;
    const queries = new Float32Array(texts.length * dimensions);
    for (let first = 0; first < texts.length; first += TEXTS_PER_CALL) {
      signal.throwIfAborted();
      const { values } = await encoder.encode({
        texts: texts.slice(first, first + TEXTS_PER_CALL),
        role: 'query',
        lane: 'bulk',
        deadlineAtMs: Number.POSITIVE_INFINITY,
      });
      queries.set(values, first * dimensions);
    }
    return queries;
  } finally {
    await encoder.close();
  }
}

async function readQueries(file: string): Promise<string[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new SwitchyardError('INVALID_INPUT_FILE', `${file} does not exist`);
  }
  const texts = text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()]));
  if (texts.length === 0) throw new SwitchyardError('INVALID_INPUT_FILE', `${file} holds no query`);
  return texts;
}
