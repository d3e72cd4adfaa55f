import type { LogHistogram } from '../../../telemetry/log-histogram.js';
import type { MirrorTotals } from '../mirror-counts.js';
import type { StepOptions } from '../plan-schema.js';
import type { VersionTotals } from '../sample.js';
import { type Finding, LOOK_Z, ms } from './finding.js';

export type ServiceTimeOptions = NonNullable<StepOptions<'analysis'>['service_time']>;

/** Of either version, for a failure before there are `samples_min` of both. */
const FEW_MIN = 20;

/**
 * Before the new version has weight: encoding and searching without queues, of mirrored reads, both versions answering
 * the same ones; the shadow lane's queues say nothing. After that it is confirmed on served reads, from beginning to
 * end: an encoder that is stopped or starved shows in its queue alone, and clients wait for it all the same.
 */
export function checkServiceTime(
  seen:
    | {
        readonly lane: 'shadow';
        readonly mirrored: Pick<MirrorTotals, 'primary' | 'shadow' | 'remembered' | 'late'>;
      }
    | {
        readonly lane: 'served';
        readonly before: Pick<VersionTotals, 'total'>;
        readonly after: Pick<VersionTotals, 'total'>;
        /** What the old version took when it still served, for when it no longer does. */
        readonly earlier: Pick<VersionTotals, 'total'>;
      },
  options: ServiceTimeOptions,
): Finding {
  const { old, fresh, late, what } = lanesOf(seen, options.samples_min);
  const { quantile, ratio_max, allowance_ms, samples_min } = options;
  const before = old.quantileInterval(quantile, LOOK_Z);
  const after = fresh.quantileInterval(quantile, LOOK_Z);
  const figures = {
    lane: seen.lane,
    what,
    quantile,
    before_us: before,
    after_us: after,
    before_count: old.count,
    after_count: fresh.count,
    after_late: late,
    before_histogram: old.counts(),
    after_histogram: fresh.counts(),
    ratio: before === null || after === null || before.value === 0 ? null : after.value / before.value,
    ratio_max,
    allowance_ms,
  };
  const found = (verdict: Finding['verdict'], why: string): Finding => ({
    check: 'service_time',
    verdict,
    why,
    figures,
  });
  if (before === null || after === null || fresh.count < samples_min || old.count < samples_min) {
    const why = `${fresh.count} ${what} requests of the new version and ${old.count} of the old one were timed, ${samples_min} of each are needed${rememberedOf(seen)}`;
    // A version that hangs gives few times: those it gives may be enough to know, beside what the old one took.
    const isSlow =
      before !== null &&
      after !== null &&
      Math.min(old.count, fresh.count) >= FEW_MIN &&
      after.low > limitOf(before, options);
    return isSlow
      ? found('failed', `${why}, but they are beyond the limit already`)
      : found('undecided', why);
  }
  const limit = limitOf(before, options);
  const isLate = late === 0 ? '' : `, ${late} came too late`;
  const said = `p${quantile * 100} ${ms(after.value)} against ${ms(before.value)} (${what} ${seen.lane} reads${isLate}); limit ${ms(limit)}`;
  if (after.low > limit) return found('failed', said);
  // What came too late was slower than all that came, though it may have waited for what serves: it fails nothing, and
  // what passes is the quantile of all of them.
  const share = (quantile * (fresh.count + late)) / fresh.count;
  const ofAll = share > 1 ? Number.POSITIVE_INFINITY : (fresh.quantile(share) ?? 0);
  if (ofAll <= limit) return found('successful', said);
  if (after.value <= limit)
    return found('undecided', `${said}; with those that came too late it is not within it`);
  return found('undecided', `${said}; the interval ${ms(after.low)}–${ms(after.high)} does not decide yet`);
}

/** Fast enough is what is within the ratio, or within the allowance. Microseconds. */
const limitOf = (
  before: { readonly high: number },
  { ratio_max, allowance_ms }: ServiceTimeOptions,
): number => Math.max(before.high * ratio_max, allowance_ms * 1000);

/** With caches that know every text nothing is timed, and waiting alone mends nothing. */
const rememberedOf = (seen: Parameters<typeof checkServiceTime>[0]): string =>
  seen.lane === 'shadow' && seen.mirrored.remembered > 0
    ? `; ${seen.mirrored.remembered} more were remembered by a cache, which says nothing of a version's speed`
    : '';

function lanesOf(
  seen: Parameters<typeof checkServiceTime>[0],
  samplesMin: number,
): {
  readonly old: LogHistogram;
  readonly fresh: LogHistogram;
  /** Of the new version, that were not timed because they were not answered in time. */
  readonly late: number;
  readonly what: string;
} {
  if (seen.lane === 'shadow')
    return {
      old: seen.mirrored.primary,
      fresh: seen.mirrored.shadow,
      late: seen.mirrored.late,
      what: 'mirrored',
    };
  const { before, after, earlier } = seen;
  // At all weight the old version serves stragglers at most.
  const old = before.total.count >= samplesMin ? before.total : earlier.total;
  return { old, fresh: after.total, late: 0, what: 'served' };
}
