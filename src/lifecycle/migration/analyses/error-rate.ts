import type { StepOptions } from '../plan-schema.js';
import type { VersionTotals } from '../sample.js';
import { type Finding, LOOK_Z, percent } from './finding.js';

export type ErrorRateOptions = NonNullable<StepOptions<'analysis'>['error_rate']>;

/** Fewer failures may be chance: Wilson's interval is too sure of one failure among a handful. */
const CAUSES_MIN = 3;

type Outcomes = Pick<VersionTotals, 'answered' | 'failed' | 'causes'>;

/**
 * Failed requests of the new version beside those of the old one, each with its Wilson interval. Requests that failed
 * together are no more sure than one, so that a single failure of a large batch ends no migration.
 */
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
  // Every request of the old version shows as much as it is: were it too less sure for failures that its requests share,
  // one bad batch of it would hide a new version that fails.
  const old = rateOf(before.answered + before.failed >= samples_min ? before : earlier);
  const fresh = rateOf(seen.after, designEffect(seen.after));
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
  const together =
    fresh.causes < fresh.failed ? ` (by ${fresh.causes} failure${fresh.causes === 1 ? '' : 's'})` : '';
  const said = `${percent(fresh.value)} of ${fresh.count} failed${together}, ${old === null ? 'the old version served nothing' : `${percent(old.value)} of ${old.count} of the old version's`}`;
  // Sure of it even with few requests: an outage is not waited for.
  if (fresh.causes >= CAUSES_MIN && fresh.low > Math.max(limit, (old?.high ?? 0) + increase_max))
    return found('failed', `${said}; at most ${percent(increase_max)} more may fail`);
  if (fresh.count < samples_min)
    return found('undecided', `${fresh.count} requests served, ${samples_min} are needed`);
  if (fresh.value <= limit) return found('successful', said);
  return found('undecided', `${said}; more requests have to show whether that is chance`);
}

interface Rate {
  readonly count: number;
  readonly failed: number;
  readonly causes: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Kish's: of requests that fail by the dozen, a dozen show as much as one. */
const designEffect = ({ failed, causes }: Outcomes): number => Math.max(1, failed / Math.max(1, causes));

function rateOf({ answered, failed, causes }: Outcomes, effect = 1): Rate | null {
  const count = answered + failed;
  if (count === 0) return null;
  const value = failed / count;
  const shown = count / effect;
  const z2 = LOOK_Z ** 2;
  const centre = (value + z2 / (2 * shown)) / (1 + z2 / shown);
  const half = (LOOK_Z / (1 + z2 / shown)) * Math.sqrt((value * (1 - value)) / shown + z2 / (4 * shown ** 2));
  return {
    count,
    failed,
    causes,
    value,
    low: Math.max(0, centre - half),
    high: Math.min(1, centre + half),
  };
}
