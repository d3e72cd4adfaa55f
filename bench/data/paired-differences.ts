import type { SeededRandom } from '../../src/index/seeded-random.js';

/** Shapes that the difference of two rankings' scores of one query takes; each of mean 0 and variance 1. */
export const SHAPES = ['normal', 'skewed', 'sparse', 'rare'] as const;
export type Shape = (typeof SHAPES)[number];

const DRAWS: Readonly<Record<Shape, (random: SeededRandom) => number>> = {
  normal: (random) => random.normal(),
  /** A long tail of queries that lost much, as after a change of model. */
  skewed: (random) => 1 + Math.log(1 - random.next()),
  /** Three queries of four are answered alike, as after a change of format. */
  sparse: (random) => (random.next() < 0.75 ? 0 : 2 * random.normal()),
  /** One query of ten gains much and the others lose a little: a mean that a small sample seldom sees whole. */
  rare: (random) => (random.next() < 0.1 ? 3 : -1 / 3),
};

/** Differences of `count` queries with this true mean and standard deviation. */
export const pairedDifferences = (
  random: SeededRandom,
  shape: Shape,
  count: number,
  mean: number,
  sd: number,
): readonly number[] => Array.from({ length: count }, () => mean + sd * DRAWS[shape](random));
