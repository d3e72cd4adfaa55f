/** Distribution function of the standard normal: Marsaglia's series near 0, a continued fraction in the tails. */
export function normalCdf(x: number): number {
  if (x === Number.POSITIVE_INFINITY) return 1;
  if (x === Number.NEGATIVE_INFINITY) return 0;
  if (Math.abs(x) > 6) {
    const tail = density(x) / continued(Math.abs(x));
    return x > 0 ? 1 - tail : tail;
  }
  let sum = x;
  let term = x;
  for (let i = 3; Math.abs(term) > 1e-17 * Math.abs(sum); i += 2) {
    term *= (x * x) / i;
    sum += term;
  }
  return 0.5 + density(x) * sum;
}

/** Inverse of `normalCdf` for 0 < p < 1: Newton's steps, held by bisection. */
export function normalQuantile(p: number): number {
  if (!(p > 0 && p < 1))
    throw new RangeError(`a share of ${p} has no quantile: it must be above 0 and below 1`);
  let low = -40;
  let high = 40;
  let x = 0;
  for (let step = 0; step < 200 && high - low > 1e-13; step++) {
    const error = normalCdf(x) - p;
    if (error > 0) high = x;
    else low = x;
    const next = x - error / density(x);
    x = next > low && next < high ? next : (low + high) / 2;
  }
  return x;
}

const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);

function continued(x: number): number {
  let value = x;
  for (let i = 40; i >= 1; i--) value = x + i / value;
  return value;
}
