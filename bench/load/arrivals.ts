import { SeededRandom } from '../../src/index/seeded-random.js';

/** Milliseconds from the start at which requests are due: a Poisson process, the same for the same seed. */
export function arrivalsMs(perSecond: number, seconds: number, seed: number): Float64Array {
  const random = new SeededRandom(seed);
  const due: number[] = [];
  let atMs = 0;
  for (;;) {
    atMs += (-Math.log(1 - random.next()) * 1000) / perSecond;
    if (atMs >= seconds * 1000) return Float64Array.from(due);
    due.push(atMs);
  }
}
