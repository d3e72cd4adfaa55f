import type { Encoder } from '../encoder/encoder.js';
import { cosineOfRows } from '../encoder/probes.js';
import { SwitchyardError } from '../errors.js';
import type { BuildBatch } from '../index/build-options.js';
import type { Metric } from '../vocabulary.js';
import { type RenderDocument, storedDocument } from './document-text.js';
import type { SourceDocument } from './source/document.js';

const ROWS_PER_BATCH = 256;
const SAMPLE_SIZE = 64;
const COSINE_MIN = 0.999;
/** Cosine does not see lengths; dot and l2 do, so there the lengths must be the model's, too. */
const LENGTH_RATIO_MAX = 1.01;

export interface ReadyVectorOptions {
  readonly encoder: Encoder;
  readonly render: RenderDocument;
  /** Uniform in [0, 1), seeded by the caller, so that a build can be repeated. */
  readonly random: () => number;
  readonly onDocument: () => void;
}

/**
 * Rows from vectors that came with the source. They are believed only after a uniform sample of their texts was encoded
 * again with the stated model: any cosine below 0.999, and under dot and l2 any other length, ends the build with
 * FINGERPRINT_MISMATCH, before anything is published (the check runs as the last step of the stream).
 */
export async function* readyVectorRows(
  documents: AsyncIterable<SourceDocument>,
  options: ReadyVectorOptions,
): AsyncIterable<BuildBatch> {
  const { dimensions } = options.encoder.model;
  const sample: SourceDocument[] = [];
  let seen = 0;
  let batch: SourceDocument[] = [];
  for await (const document of documents) {
    if (document.vector === null) {
      throw new SwitchyardError(
        'INVALID_INPUT_FILE',
        `document ${document.id} has no vector, but others have one`,
      );
    }
    if (document.vector.length !== dimensions) {
      throw new SwitchyardError(
        'DIMENSION_MISMATCH',
        `the vector of document ${document.id} has ${document.vector.length} numbers; ${options.encoder.model.name} has ${dimensions}`,
      );
    }
    seen++;
    const slot = sample.length < SAMPLE_SIZE ? sample.length : Math.floor(options.random() * seen);
    if (slot < SAMPLE_SIZE) sample[slot] = document;
    batch.push(document);
    options.onDocument();
    if (batch.length < ROWS_PER_BATCH) continue;
    yield toBatch(batch, dimensions);
    batch = [];
  }
  if (batch.length > 0) yield toBatch(batch, dimensions);
  await verifySample(sample, options);
}

function toBatch(documents: readonly SourceDocument[], dimensions: number): BuildBatch {
  const vectors = new Float32Array(documents.length * dimensions);
  for (const [at, document] of documents.entries()) {
    if (document.vector !== null) vectors.set(document.vector, at * dimensions);
  }
  return {
    vectors,
    rows: documents.map((document) => ({
      documentId: document.id,
      chunk: 0,
      truncated: false,
      document: storedDocument(document),
    })),
  };
}

async function verifySample(
  sample: readonly SourceDocument[],
  { encoder, render }: ReadyVectorOptions,
): Promise<void> {
  if (sample.length === 0) return;
  const { dimensions, metric } = encoder.model;
  const encoded = await encoder.encode({
    texts: sample.map(render),
    role: 'document',
    lane: 'bulk',
    deadlineAtMs: Number.POSITIVE_INFINITY,
  });
  const given = toBatch(sample, dimensions).vectors;
  for (const [at, document] of sample.entries()) {
    const similarity = cosineOfRows(encoded.values, given, at, dimensions);
    if (similarity >= COSINE_MIN) {
      if (metric !== 'cosine') expectLength(document.id, metric, encoded.values, given, at, dimensions);
      continue;
    }
    throw new SwitchyardError(
      'FINGERPRINT_MISMATCH',
      `the vector of document ${document.id} has cosine ${similarity.toFixed(4)} to its text encoded by ` +
        `${encoder.model.name}@${encoder.model.version}; ${COSINE_MIN} is needed. Another model, template or prefix made ` +
        'these vectors: name the right one, or leave the vectors out to embed the texts',
    );
  }
}

function expectLength(
  id: string,
  metric: Metric,
  encoded: Float32Array,
  given: Float32Array,
  row: number,
  dimensions: number,
): void {
  const wanted = lengthOfRow(encoded, row, dimensions);
  const found = lengthOfRow(given, row, dimensions);
  if (Math.max(found / wanted, wanted / found) <= LENGTH_RATIO_MAX) return;
  throw new SwitchyardError(
    'FINGERPRINT_MISMATCH',
    `the vector of document ${id} has length ${found.toPrecision(4)}, and the model gives its text one of ` +
      `${wanted.toPrecision(4)}: under ${metric} lengths count. Bring the vectors as the model gives them (normalised or not)`,
  );
}

const lengthOfRow = (matrix: Float32Array, row: number, dimensions: number): number =>
  Math.hypot(...matrix.subarray(row * dimensions, (row + 1) * dimensions));
