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
  if (metric === 'l2') return squaredDistance(query, rows, offset);
  const product = innerProduct(query, rows, offset);
  if (metric === 'dot') return 1 - product;
  return 1 - product / (queryNorm * Math.sqrt(sumOfSquares(rows, offset, query.length)));
}

export const normOf = (vector: Float32Array): number => Math.sqrt(sumOfSquares(vector, 0, vector.length));

// Four sums side by side, and nothing that branches on a number: one sum alone waits for each addition (× 1.6), and a
// branch on a sign is guessed wrong every other time (× 10).

/** Of `count` numbers from `offset`. A square of a float32 cannot overflow a double; NaN and infinities stay visible. */
export function sumOfSquares(values: Float32Array, offset: number, count: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const end = offset + count;
  let i = offset;
  for (; i < end - 3; i += 4) {
    a += (values[i] as number) * (values[i] as number);
    b += (values[i + 1] as number) * (values[i + 1] as number);
    c += (values[i + 2] as number) * (values[i + 2] as number);
    d += (values[i + 3] as number) * (values[i + 3] as number);
  }
  for (; i < end; i++) a += (values[i] as number) * (values[i] as number);
  return a + b + (c + d);
}

function innerProduct(query: Float32Array, rows: Float32Array, offset: number): number {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  const { length } = query;
  let i = 0;
  for (; i < length - 3; i += 4) {
    a += (query[i] as number) * (rows[offset + i] as number);
    b += (query[i + 1] as number) * (rows[offset + i + 1] as number);
    c += (query[i + 2] as number) * (rows[offset + i + 2] as number);
    d += (query[i + 3] as number) * (rows[offset + i + 3] as number);
  }
  for (; i < length; i++) a += (query[i] as number) * (rows[offset + i] as number);
  return a + b + (c + d);
}

function squaredDistance(query: Float32Array, rows: Float32Array, offset: number): number {
  let even = 0;
  let odd = 0;
  const { length } = query;
  let i = 0;
  for (; i < length - 1; i += 2) {
    const first = (query[i] as number) - (rows[offset + i] as number);
    const second = (query[i + 1] as number) - (rows[offset + i + 1] as number);
    even += first * first;
    odd += second * second;
  }
  for (; i < length; i++) {
    const last = (query[i] as number) - (rows[offset + i] as number);
    even += last * last;
  }
  return even + odd;
}
