import { SwitchyardError } from '../errors.js';
import type { Metric, Quantization } from '../vocabulary.js';

/** usearch's own words for metrics; they stay inside src/index/. */
export type UsearchMetric = 'cos' | 'ip' | 'l2sq' | 'hamming';

/** How many candidates a lossy format fetches before they are ordered by their exact distance. */
export interface Rescoring {
  /** Candidates per wanted row. */
  readonly factor: number;
  readonly candidatesMin: number;
}

export interface Format {
  readonly quantization: Quantization;
  readonly metric: Metric;
  /** Metric the graph is built and searched with. */
  readonly usearchMetric: UsearchMetric;
  /** Null: usearch's distance is the answer's distance. */
  readonly rescoring: Rescoring | null;
  /** Rows must have norm 1, because the format drops norms and the metric does not. */
  readonly unitVectorsOnly: boolean;
  /** Largest magnitude of one number that the format holds; Infinity where float32's own range is the limit. */
  readonly magnitudeMax: number;
}

export const USEARCH_METRICS: Readonly<Record<Metric, UsearchMetric>> = {
  cosine: 'cos',
  dot: 'ip',
  l2: 'l2sq',
};

const F16_MAX = 65_504;
const NEVER_RESCORED = { rescoring: null, unitVectorsOnly: false, magnitudeMax: Number.POSITIVE_INFINITY };

/**
 * The one table of formats. `f32 f16 bf16` serve every metric. `i8` keeps directions only (usearch scales every
 * vector to one range), so its graph is always a cosine graph and it takes cosine or unit vectors. `b1` keeps signs
 * only, so its graph is always a Hamming graph. Both are rescored from vectors.f32, which gives the exact distance.
 */
export function formatOf(quantization: Quantization, metric: Metric, dimensions: number): Format {
  switch (quantization) {
    case 'f32':
    case 'bf16':
      return { quantization, metric, usearchMetric: USEARCH_METRICS[metric], ...NEVER_RESCORED };
    case 'f16':
      return {
        quantization,
        metric,
        usearchMetric: USEARCH_METRICS[metric],
        ...NEVER_RESCORED,
        magnitudeMax: F16_MAX,
      };
    case 'i8':
      return {
        quantization,
        metric,
        usearchMetric: 'cos',
        rescoring: { factor: 3, candidatesMin: 32 },
        unitVectorsOnly: metric !== 'cosine',
        magnitudeMax: Number.POSITIVE_INFINITY,
      };
    case 'b1':
      // usearch clears only whole bytes before it sets bits, so a partial last byte keeps bits of another vector.
      if (dimensions % 8 !== 0)
        throw new SwitchyardError(
          'UNSUPPORTED_FORMAT',
          `quantization b1 needs dimensions that are a multiple of 8, not ${dimensions}: use i8 or bf16`,
        );
      return {
        quantization,
        metric,
        usearchMetric: 'hamming',
        rescoring: { factor: 20, candidatesMin: 200 },
        unitVectorsOnly: metric !== 'cosine',
        magnitudeMax: Number.POSITIVE_INFINITY,
      };
    default:
      quantization satisfies never;
      throw new SwitchyardError(
        'UNSUPPORTED_FORMAT',
        `there is no format with quantization ${String(quantization)} and metric ${String(metric)}`,
      );
  }
}

/** Bytes of one vector inside index.usearch. */
export function vectorBytes(quantization: Quantization, dimensions: number): number {
  switch (quantization) {
    case 'f32':
      return dimensions * 4;
    case 'f16':
    case 'bf16':
      return dimensions * 2;
    case 'i8':
      return dimensions;
    case 'b1':
      return Math.ceil(dimensions / 8);
  }
}

/** Larger is better for every metric: cosine similarity, inner product, minus squared distance. */
export function scoreOf(metric: Metric, distance: number): number {
  return metric === 'l2' ? -distance : 1 - distance;
}
