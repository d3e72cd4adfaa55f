import { SwitchyardError } from '../errors.js';
import type { Metric } from '../vocabulary.js';
import { sumOfSquares } from './distances.js';
import type { Format } from './formats.js';

/**
 * Norms outside these lose their meaning in float32 arithmetic (their squares under- or overflow in sums of
 * thousands). A vector of an embedding model is many orders of magnitude inside them.
 */
const NORM_MIN = 1e-12;
const NORM_MAX = 1e12;
/** Under cosine a vector is scaled to norm 1 before usearch sees it when half precision could not hold it. */
const PLAIN_NORM_MIN = 1e-2;
const PLAIN_NORM_MAX = 1e2;
/** Vectors of an fp16 model miss norm 1 by less than this. */
const UNIT_NORM_TOLERANCE = 2e-3;

/** Norm of `dimensions` numbers from `offset`; infinite or NaN when one of them is. */
export const measureNorm = (values: Float32Array, offset: number, dimensions: number): number =>
  Math.sqrt(sumOfSquares(values, offset, dimensions));

/**
 * Null, or why the `dimensions` numbers from `offset`, whose norm is given, cannot be searched under `metric` in
 * `format`. Rows and queries keep the same rules.
 */
export function findVectorDefect(
  { values, offset, dimensions, norm }: MeasuredVector,
  metric: Metric,
  format: Format,
): SwitchyardError | null {
  if (!Number.isFinite(norm))
    return new SwitchyardError(
      'NON_FINITE_VECTOR',
      'the vector has a NaN or an infinity: every number must be finite',
    );
  if (metric === 'cosine' && norm === 0)
    return new SwitchyardError('ZERO_VECTOR', 'the vector is zero: under cosine it has no direction');
  if (norm > NORM_MAX || (metric === 'cosine' && norm < NORM_MIN))
    return new SwitchyardError(
      'INVALID_ARGUMENT',
      `the vector has norm ${norm.toExponential(2)}, which must be within ${NORM_MIN} and ${NORM_MAX}`,
    );
  // No number is larger than the norm, so most vectors need not be looked at.
  if (metric === 'cosine' || norm <= format.magnitudeMax) return null;
  const magnitude = largestMagnitude(values, offset, dimensions);
  if (magnitude > format.magnitudeMax)
    return new SwitchyardError(
      'INVALID_ARGUMENT',
      `the vector has a number of ${magnitude}, and ${format.quantization} holds at most ${format.magnitudeMax}: use bf16 or f32`,
    );
  return null;
}

export interface MeasuredVector {
  readonly values: Float32Array;
  readonly offset: number;
  readonly dimensions: number;
  readonly norm: number;
}

function largestMagnitude(values: Float32Array, offset: number, dimensions: number): number {
  let magnitude = 0;
  for (let i = offset; i < offset + dimensions; i++)
    magnitude = Math.max(magnitude, Math.abs(values[i] as number));
  return magnitude;
}

/** Null, or why the part of a vector that a truncated cosine graph keeps has no direction. */
export function findPrefixDefect(
  values: Float32Array,
  offset: number,
  { dimensions, fullDimensions }: { readonly dimensions: number; readonly fullDimensions: number },
  format: Format,
): SwitchyardError | null {
  if (dimensions === fullDimensions || format.usearchMetric !== 'cos') return null;
  if (measureNorm(values, offset, dimensions) >= NORM_MIN) return null;
  return new SwitchyardError(
    'ZERO_VECTOR',
    `the first ${dimensions} of the vector's ${fullDimensions} numbers are zero, and the index keeps only those: truncate less`,
  );
}

/**
 * What the graph gets of `vectors` (rows × fullDimensions): the first `dimensions` of each row, scaled to norm 1 where
 * a cosine graph could not hold the norm. The same array, scaled in place, when nothing is truncated.
 */
export function toGraphVectors(
  vectors: Float32Array<ArrayBuffer>,
  fullDimensions: number,
  dimensions: number,
  usearchMetric: Format['usearchMetric'],
): Float32Array<ArrayBuffer> {
  const kept = dimensions === fullDimensions ? vectors : truncated(vectors, fullDimensions, dimensions);
  if (usearchMetric !== 'cos') return kept;
  for (let offset = 0; offset < kept.length; offset += dimensions) {
    const norm = measureNorm(kept, offset, dimensions);
    if (needsScaling('cosine', norm)) scaleToUnit(kept, offset, dimensions, norm);
  }
  return kept;
}

function truncated(
  vectors: Float32Array,
  fullDimensions: number,
  dimensions: number,
): Float32Array<ArrayBuffer> {
  const rows = vectors.length / fullDimensions;
  const kept = new Float32Array(rows * dimensions);
  for (let row = 0; row < rows; row++)
    kept.set(vectors.subarray(row * fullDimensions, row * fullDimensions + dimensions), row * dimensions);
  return kept;
}

export const isUnitNorm = (norm: number): boolean => Math.abs(norm - 1) <= UNIT_NORM_TOLERANCE;

export const needsScaling = (metric: Metric, norm: number): boolean =>
  metric === 'cosine' && (norm < PLAIN_NORM_MIN || norm > PLAIN_NORM_MAX);

/** Divides in place, in double precision. */
export function scaleToUnit(values: Float32Array, offset: number, dimensions: number, norm: number): void {
  for (let i = offset; i < offset + dimensions; i++) values[i] = (values[i] as number) / norm;
}
