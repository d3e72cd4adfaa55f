import { SwitchyardError } from '../../../errors.js';
import type { RunStep } from '../step.js';

/** drain → archive → verify the archive → delete the serving copy. Errors: STATUS_CONFLICT saying who still needs it. */
export const runRetire: RunStep<'retire'> = async (context) => {
  const { migration, step, ports } = context;
  const { corpus, fromVersion: version, toVersion: successor } = migration;
  const { quiet_days: quietDays, archive } = step.options;
  const outcome = await ports.retire({ corpus, version, successor, quietDays, archive }, context);
  if (outcome.kind === 'retired') return { kind: 'step_done', findings: outcome.findings };
  throw new SwitchyardError(
    'STATUS_CONFLICT',
    `${corpus}/${version} is kept: ${outcome.why}. Resume when that has changed, or abort, which ends the migration and keeps it`,
  );
};
