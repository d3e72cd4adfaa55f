import { SwitchyardError } from '../../errors.js';
import { cosineOfRows } from '../probes.js';
import type { ModelSession } from '../session.js';
import type { TokenisedText } from '../tokenizer.js';
import { probeTexts } from './probe-texts.js';

/** A text alone and the same text in any batch must be this close. */
export const BATCH_COSINE_MIN = 0.9999;
const BATCH_SIZE = 8;
const NORM_TOLERANCE = 1e-3;

export interface CheckedModel {
  /** Vectors of the probes, each computed in a run of its own. */
  readonly probeVectors: Float32Array;
  /** Worst cosine between a probe alone and in a mixed batch. */
  readonly batchCosine: number;
}

/**
 * What every model must pass before it is published. Errors: INVALID_MODEL with the measured figure.
 * `onProgress` is called with the probes done of all that will be run.
 */
export async function checkModel(
  session: ModelSession,
  onProgress: (completed: number, total: number) => void,
): Promise<CheckedModel> {
  const { dimensions } = session.manifest;
  const probes = probeTexts();
  const tokenised = probes.map((probe) => session.tokenize([probe.text], probe.role)[0] as TokenisedText);
  const total = 2 * probes.length + 1;

  await expectLongestText(session);
  await expectLargestId(session);
  const alone = new Float32Array(probes.length * dimensions);
  for (const [row, text] of tokenised.entries()) {
    alone.set(await runOrRefuse(session, [text]), row * dimensions);
    onProgress(row + 1, total);
  }
  expectUsableVectors(alone, session);

  let batchCosine = 1;
  let completed = probes.length;
  for (const rows of mixedBatches(tokenised)) {
    const together = await runOrRefuse(
      session,
      rows.map((row) => tokenised[row] as TokenisedText),
    );
    for (const [i, row] of rows.entries()) {
      const vector = alone.slice(row * dimensions, (row + 1) * dimensions);
      const inBatch = together.slice(i * dimensions, (i + 1) * dimensions);
      batchCosine = Math.min(batchCosine, cosineOfRows(vector, inBatch, 0, dimensions));
    }
    completed += rows.length;
    onProgress(completed, total);
  }
  if (batchCosine < BATCH_COSINE_MIN) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `a text's vector depends on its batch: cosine ${batchCosine.toFixed(6)} to itself alone, it must be >= ${BATCH_COSINE_MIN}; a model quantised with one scale per tensor does that, use its fp32 or fp16 file`,
      { details: { batch_cosine: batchCosine.toFixed(6) } },
    );
  }
  onProgress(total, total);
  return { probeVectors: alone, batchCosine };
}

/** Batches that each hold short and long texts, so that padding is at work in all of them. */
function mixedBatches(texts: readonly TokenisedText[]): number[][] {
  const byLength = texts
    .map((_, row) => row)
    .sort((a, b) => (texts[a] as TokenisedText).ids.length - (texts[b] as TokenisedText).ids.length || a - b);
  const batchCount = Math.ceil(texts.length / BATCH_SIZE);
  return Array.from({ length: batchCount }, (_, batch) =>
    byLength.filter((_, i) => i % batchCount === batch),
  );
}

function expectUsableVectors(vectors: Float32Array, session: ModelSession): void {
  const { dimensions, normalisation } = session.manifest;
  for (let start = 0; start < vectors.length; start += dimensions) {
    const norm = Math.sqrt(vectors.subarray(start, start + dimensions).reduce((sum, x) => sum + x * x, 0));
    // `run` has refused what is not finite.
    const usable = normalisation === 'l2' ? Math.abs(norm - 1) <= NORM_TOLERANCE : norm > 0;
    if (usable) continue;
    throw new SwitchyardError(
      'INVALID_MODEL',
      `probe ${start / dimensions} gives a vector of norm ${norm}; it must be ${normalisation === 'l2' ? 1 : '> 0'}`,
    );
  }
}

/** A graph with fewer positions than the manifest's max tokens would fail on the first long text in production. */
async function expectLongestText(session: ModelSession): Promise<void> {
  const { max_tokens: maxTokens } = session.manifest;
  const [longest] = session.tokenize(['word '.repeat(maxTokens)], 'document');
  if (longest?.ids.length !== maxTokens) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `a text of ${maxTokens} words has ${longest?.ids.length} tokens after cutting; it must have max_tokens ${maxTokens}`,
    );
  }
  await runOrRefuse(session, [longest]);
}

/** A token that the graph has no vector for would fail the run of every text that shares a batch with it. */
async function expectLargestId(session: ModelSession): Promise<void> {
  const id = session.tokenIdMax;
  const text = { ids: Int32Array.of(id), typeIds: Int32Array.of(0), tokenCount: 1, truncated: false };
  try {
    await session.run([text]);
  } catch (error) {
    throw new SwitchyardError(
      'INVALID_MODEL',
      `the graph does not take token ${id}, the largest id of tokenizer.json: they are not of one model`,
      { cause: error },
    );
  }
}

/** A failed run, which in service is an internal error, is here the fault of the model. */
async function runOrRefuse(session: ModelSession, texts: readonly TokenisedText[]): Promise<Float32Array> {
  try {
    return await session.run(texts);
  } catch (error) {
    const longest = texts.reduce((tokens, text) => Math.max(tokens, text.ids.length), 0);
    const problem =
      error instanceof SwitchyardError
        ? error.message
        : `the graph does not run on ${texts.length} texts of up to ${longest} tokens: if it has fewer positions, state a smaller max_tokens`;
    throw new SwitchyardError('INVALID_MODEL', problem, { cause: error });
  }
}
