import { SeededRandom } from '../../index/seeded-random.js';

export interface Interval {
  readonly low: number;
  readonly high: number;
}

export interface BootstrapOptions {
  /** Two-sided: 0.9 leaves one in twenty on each side. */
  readonly confidence: number;
  readonly resamples: number;
  readonly seed: number;
}

/** Draws between two looks at the event loop: a few milliseconds. */
const DRAWS_PER_SLICE = 400_000;

/**
 * A resample of few distinct values may have no variance at all, and its t would be endless. This share of the sample's
 * own variance is the least that it is taken to have; other resamples have far more.
 */
const VARIANCE_SHARE_MIN = 1 / 16;

/**
 * Studentised bootstrap interval of the mean of `values` (bootstrap-t): where percentiles let too much through on
 * the skewed, half-zero differences that two rankings have, this holds its level (docs/decisions/0120). Deterministic
 * for a seed. Long ones give the event loop its turns (invariant 7).
 */
export async function meanInterval(
  values: readonly number[],
  { confidence, resamples, seed }: BootstrapOptions,
): Promise<Interval> {
  const { length } = values;
  const mean = values.reduce((sum, value) => sum + value, 0) / length;
  const centred = Float64Array.from(values, (value) => value - mean);
  const variance = centred.reduce((sum, value) => sum + value * value, 0) / Math.max(1, length - 1);
  if (variance === 0) return { low: mean, high: mean };
  const random = new SeededRandom(seed);
  const ts = new Float64Array(resamples);
  for (let done = 0, drawn = 0; done < resamples; done++, drawn += length) {
    if (drawn >= DRAWS_PER_SLICE) {
      drawn = 0;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    ts[done] = resampledT(centred, variance * VARIANCE_SHARE_MIN, random);
  }
  ts.sort();
  const error = Math.sqrt(variance / length);
  const tail = (1 - confidence) / 2;
  return { low: mean - quantile(ts, 1 - tail) * error, high: mean - quantile(ts, tail) * error };
}

function resampledT(centred: Float64Array, varianceMin: number, random: SeededRandom): number {
  const { length } = centred;
  let sum = 0;
  let squares = 0;
  for (let at = 0; at < length; at++) {
    const value = centred[random.below(length)] as number;
    sum += value;
    squares += value * value;
  }
  const mean = sum / length;
  const variance = Math.max(varianceMin, (squares - length * mean * mean) / (length - 1));
  return mean / Math.sqrt(variance / length);
}

/** Linear between order statistics. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const low = sorted[below] as number;
  const high = sorted[Math.min(below + 1, sorted.length - 1)] as number;
  return low + (high - low) * (place - below);
}
