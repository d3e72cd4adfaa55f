import type { RevisionView, RouteView } from '../gateway/admin/views.js';
import { table } from './output.js';
import type { Printed } from './printed-command.js';
import { diffLines, percent } from './route-plan.js';

export function formatRoute(route: RouteView): string {
  const targets = table(
    ['version', 'role', 'weight', 'mirrored', 'tier', 'build', 'model'],
    route.targets.map((target) => [
      target.version,
      target.role,
      target.role === 'active' ? percent(target.weight) : '-',
      target.role === 'shadow' ? percent(target.mirror_bps) : '-',
      target.tier,
      target.build,
      target.model,
    ]),
  );
  return [`${route.corpus}, revision ${route.revision}`, targets, '', ...replicaLines(route)].join('\n');
}

function replicaLines({ replicas, revision }: RouteView): readonly string[] {
  if (replicas.length === 0) return ['no gateway runs'];
  return replicas.map((replica) => {
    const at = replica.lagging
      ? `LAGS at revision ${replica.applied_revision ?? 'none'} of ${revision}`
      : `serves revision ${revision}`;
    const missing =
      replica.missing_builds.length === 0 ? '' : `; not loaded: ${replica.missing_builds.join(', ')}`;
    const error = replica.last_error === null ? '' : `; ${replica.last_error}`;
    return `${replica.gateway_id} at ${replica.address} ${at}${missing}${error}`;
  });
}

/** What changed and how to take it back. */
export function formatChange(before: RouteView | null, after: RouteView, printed: Printed): string {
  const lines = diffLines(before?.targets ?? [], after.targets);
  const head =
    before === null
      ? `${after.corpus} has its route, revision ${after.revision}`
      : `${after.corpus} is at revision ${after.revision}, was at ${before.revision}`;
  const undo =
    before === null
      ? []
      : [
          '',
          'to undo it:',
          `  ${printed(`route rollback ${after.corpus} --to ${before.revision} --if-revision ${after.revision}${isHeld(before, after) ? '' : ' --preload'} --reason "undo"`)}`,
        ];
  return [head, ...(lines.length === 0 ? ['the targets are the same'] : lines), ...undo].join('\n');
}

/** Whether replicas still hold, where weight is served from, all that had weight before. */
const isHeld = (before: RouteView, after: RouteView): boolean =>
  before.targets.every(
    ({ build, weight }) =>
      weight === 0 || after.targets.some((target) => target.build === build && target.role !== 'shadow'),
  );

/** `earlier`: the command that shows what came before a revision. */
export function formatHistory(
  revisions: readonly RevisionView[],
  earlier: (before: number) => string,
): string {
  const oldest = revisions.at(-1)?.revision ?? 1;
  const more = oldest > 1 ? ['', 'what came before:', `  ${earlier(oldest)}`] : [];
  const shown = revisions.map((row) => {
    const marks = [
      ...(row.rolled_back_to === null ? [] : [`rollback to ${row.rolled_back_to}`]),
      ...(row.forced ? ['forced'] : []),
    ];
    const head = `revision ${row.revision}  ${row.changed_at}  ${row.actor}${marks.length === 0 ? '' : ` (${marks.join(', ')})`}: ${row.reason}`;
    return [head, ...diffLines(row.before ?? [], row.after).map((line) => `  ${line}`)].join('\n');
  });
  return [...shown, ...more].join('\n');
}
