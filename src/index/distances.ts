import type { Metric } from '../vocabulary.js';

/**
 * Distance of `query` to the row that starts at `offset` of `rows`, in double precision and the metric's own terms:
 * 1 − cosine, 1 − inner product, squared distance. `queryNorm` is used by cosine alone.
 */
export function exactDistance(
  metric: Metric,
  query: Float32Array,
  queryNorm: number,
  rows: Float32Array,
  offset: number,
): number {
  const dimensions = query.length;
  if (metric === 'l2') {
    let sum = 0;
    for (let i = 0; i < dimensions; i++) {
      const difference = (query[i] as number) - (rows[offset + i] as number);
      sum += difference * difference;
    }
    return sum;
  }
  let product = 0;
  if (metric === 'dot') {
    for (let i = 0; i < dimensions; i++) product += (query[i] as number) * (rows[offset + i] as number);
    return 1 - product;
  }
  let squares = 0;
  for (let i = 0; i < dimensions; i++) {
    const value = rows[offset + i] as number;
    product += (query[i] as number) * value;
    squares += value * value;
  }
  return 1 - product / (queryNorm * Math.sqrt(squares));
}

export function normOf(vector: Float32Array): number {
  let squares = 0;
  for (let i = 0; i < vector.length; i++) squares += (vector[i] as number) * (vector[i] as number);
  return Math.sqrt(squares);
}
