import type { StepOptions } from '../plan-schema.js';
import type { VersionTotals } from '../sample.js';
import { type Finding, LOOK_Z, percent } from './finding.js';

export type ErrorRateOptions = NonNullable<StepOptions<'analysis'>['error_rate']>;

type Outcomes = Pick<VersionTotals, 'answered' | 'failed'>;

/** Failed requests of the new version beside those of the old one, each with its Wilson interval. */
export function checkErrorRate(
  seen: {
    readonly before: Outcomes;
    readonly after: Outcomes;
    /** Of the old version when it still served: at all weight it serves stragglers at most. */
    readonly earlier: Outcomes;
  },
  { increase_max, samples_min }: ErrorRateOptions,
): Finding {
  const { before, earlier } = seen;
  const old = rateOf(before.answered + before.failed >= samples_min ? before : earlier);
  const fresh = rateOf(seen.after);
  const limit = (old?.value ?? 0) + increase_max;
  const figures = { before: old, after: fresh, increase_max };
  const found = (verdict: Finding['verdict'], why: string): Finding => ({
    check: 'error_rate',
    verdict,
    why,
    figures,
  });
  if (fresh === null)
    return found('undecided', `the new version served nothing yet, ${samples_min} are needed`);
  const said = `${percent(fresh.value)} of ${fresh.count} failed, ${old === null ? 'the old version served nothing' : `${percent(old.value)} of ${old.count} of the old version's`}`;
  // Sure of it even with few: an outage is not waited for.
  if (fresh.low > Math.max(limit, (old?.high ?? 0) + increase_max))
    return found('failed', `${said}; at most ${percent(increase_max)} more may fail`);
  if (fresh.count < samples_min)
    return found('undecided', `${fresh.count} requests served, ${samples_min} are needed`);
  if (fresh.value <= limit) return found('successful', said);
  return found('undecided', `${said}; more requests have to show whether that is chance`);
}

interface Rate {
  readonly count: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

function rateOf({ answered, failed }: Outcomes): Rate | null {
  const count = answered + failed;
  if (count === 0) return null;
  const value = failed / count;
  const z2 = LOOK_Z ** 2;
  const centre = (value + z2 / (2 * count)) / (1 + z2 / count);
  const half = (LOOK_Z / (1 + z2 / count)) * Math.sqrt((value * (1 - value)) / count + z2 / (4 * count ** 2));
  return { count, value, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
