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

/** What decides about a build's format: of a manifest, or of what is to be built. */
export interface FormatParameters {
  readonly quantization: Quantization;
  readonly metric: Metric;
  /** Numbers of a vector in the graph. */
  readonly dimensions: number;
  /** Numbers of a vector of the model; more than `dimensions` in a truncated build. */
  readonly full_dimensions: number;
  /** Candidates per wanted row, where the build was told. */
  readonly rescore_factor?: number;
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
/** A search for a few rows fetches as many candidates as one for so many. */
const WANTED_MIN = 10;
/** Candidates per wanted row where the build does not say. Beyond the search expansion each one makes a search slower. */
const FACTORS: Readonly<Record<Quantization, { readonly whole: number | null; readonly truncated: number }>> =
  {
    f32: { whole: null, truncated: 5 },
    f16: { whole: null, truncated: 5 },
    bf16: { whole: null, truncated: 5 },
    i8: { whole: 3, truncated: 5 },
    b1: { whole: 20, truncated: 40 },
  };
export const RESCORE_FACTOR_MAX = 1000;

/**
 * The one table of formats. `f32 f16 bf16` serve every metric. `i8` keeps directions only (usearch scales every
 * vector to one range), so its graph is always a cosine graph and it takes cosine or unit vectors. `b1` keeps signs
 * only, so its graph is always a Hamming graph. Both, and whatever has a truncated graph, are rescored from vectors.f32,
 * which holds the whole vectors, so every score is the exact one. Errors: UNSUPPORTED_FORMAT.
 */
export function formatOf(parameters: FormatParameters): Format {
  const { quantization, metric, dimensions } = parameters;
  const plain = {
    quantization,
    metric,
    usearchMetric: USEARCH_METRICS[metric],
    rescoring: rescoringOf(parameters),
    unitVectorsOnly: false,
    magnitudeMax: Number.POSITIVE_INFINITY,
  };
  switch (quantization) {
    case 'f32':
    case 'bf16':
      return plain;
    case 'f16':
      return { ...plain, magnitudeMax: F16_MAX };
    case 'i8':
      return { ...plain, usearchMetric: 'cos', unitVectorsOnly: metric !== 'cosine' };
    case 'b1':
      // usearch clears only whole bytes before it sets bits, so a partial last byte keeps bits of another vector.
      if (dimensions % 8 !== 0)
        throw new SwitchyardError(
          'UNSUPPORTED_FORMAT',
          `quantization b1 needs dimensions that are a multiple of 8, not ${dimensions}: use i8 or bf16`,
        );
      return { ...plain, usearchMetric: 'hamming', unitVectorsOnly: metric !== 'cosine' };
    default:
      quantization satisfies never;
      throw new SwitchyardError(
        'UNSUPPORTED_FORMAT',
        `there is no format with quantization ${String(quantization)} and metric ${String(metric)}`,
      );
  }
}

function rescoringOf(parameters: FormatParameters): Rescoring | null {
  const { quantization, dimensions, full_dimensions, rescore_factor } = parameters;
  const factors = FACTORS[quantization];
  const usual = dimensions < full_dimensions ? factors.truncated : factors.whole;
  if (usual === null) {
    if (rescore_factor === undefined) return null;
    throw new SwitchyardError(
      'UNSUPPORTED_FORMAT',
      `${quantization} with all dimensions is not rescored, so it takes no rescore factor: leave it out, or truncate the dimensions`,
    );
  }
  const factor = rescore_factor ?? usual;
  return { factor, candidatesMin: factor * WANTED_MIN };
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
