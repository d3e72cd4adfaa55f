import { type IntervalHistogram, monitorEventLoopDelay, type RecordableHistogram } from 'node:perf_hooks';

const LOOK_EVERY_MS = 10;

/** Node's histogram of the time between two looks at the event loop, taken where nothing is late every 10 ms. */
export const looksAtEventLoop = (): IntervalHistogram => monitorEventLoopDelay({ resolution: LOOK_EVERY_MS });

/**
 * How late the event loop was, in seconds: Node's histogram counts the pause between two looks as well, and would say
 * 10 ms of a loop that is never late. 0 where there was no look yet.
 */
export function delaySeconds(
  looks: Pick<RecordableHistogram, 'count' | 'max' | 'percentile'>,
  quantile: number,
): number {
  if (looks.count === 0) return 0;
  const betweenNs = quantile === 1 ? looks.max : looks.percentile(quantile * 100);
  return Math.max(0, betweenNs / 1e9 - LOOK_EVERY_MS / 1e3);
}
