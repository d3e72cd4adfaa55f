import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import type { MigrationPlan } from './plan-schema.js';
import type { MigrationPorts } from './ports.js';
import type { Migration } from './record.js';
import type { Verified } from './state.js';

/** What the new version's documents come from: what the plan says, or else the feed that its build names; null: neither. */
export function feedOf({ steps }: MigrationPlan, { feed }: Pick<Verified, 'feed'>): string | null {
  const build = steps.find(({ kind }) => kind === 'build');
  return (build?.kind === 'build' ? build.options.source : null) ?? feed ?? null;
}

/**
 * How many documents the source is ahead of a verified version; null: it comes from no feed. Errors: STATUS_CONFLICT when
 * it is more than the plan allows; where the plan has a limit, also those of a feed that cannot be found or read, since
 * what is not known is not within it.
 */
export async function allowedLag(
  ports: Pick<MigrationPorts, 'sourceLag'>,
  { corpus, toVersion, plan }: Pick<Migration, 'corpus' | 'toVersion' | 'plan'>,
  verified: Pick<Verified, 'watermark' | 'feed'>,
): Promise<number | null> {
  const verify = plan.steps.find(({ kind }) => kind === 'verify');
  const max = verify?.kind === 'verify' ? verify.options.source_lag_documents_max : null;
  const lag = await ports.sourceLag(feedOf(plan, verified), verified.watermark).catch((thrown: unknown) => {
    if (max === null) return null;
    const { reason, message, details } = toSwitchyardError(thrown);
    throw new SwitchyardError(
      reason,
      `how far the source is ahead of ${corpus}/${toVersion} cannot be told, and source_lag_documents_max is ${max}: ${message}`,
      { details, cause: thrown },
    );
  });
  if (lag === null || max === null || lag <= max) return lag;
  throw new SwitchyardError(
    'STATUS_CONFLICT',
    `the source is ${lag} documents ahead of ${corpus}/${toVersion}, at most ${max} may be missing (source_lag_documents_max): bring the version up to date, or raise the limit in another plan`,
  );
}
