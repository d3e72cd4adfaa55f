import type { MigrationEventView, MigrationView } from '../gateway/admin/migration-views.js';
import { age, table } from './output.js';

const MARKS = { done: '✓', current: '▶', waiting: ' ' } as const;

/** One screen: where it is, what it does, how long it and a way back take. */
export function formatMigration(view: MigrationView): string {
  const { corpus, from_version, to_version, state, weight } = view;
  const lines = [
    `${corpus}: ${from_version} → ${to_version}, ${state}${view.cause === null ? '' : ` (${view.cause})`}, ${to_version} has ${percentOf(weight)} of the traffic`,
    ...(view.why === null ? [] : [`  ${view.why}`]),
    '',
    ...view.steps.map((step, at) => {
      const isCurrent = step.status === 'current' && view.state !== 'completed';
      const again = isCurrent && (view.attempt ?? 1) > 1 ? `, attempt ${view.attempt}` : '';
      return `${MARKS[isCurrent ? 'current' : step.status]} ${String(at + 1).padStart(2)} ${step.name}${again}${isCurrent ? progressOf(view) : ''}`;
    }),
    '',
    ...timesOf(view),
    ...view.warnings.map((warning) => `warning: ${warning}`),
  ];
  return lines.join('\n').trimEnd();
}

function progressOf({ progress }: MigrationView): string {
  if (progress === null) return '';
  const { what, done, total, eta_s } = progress;
  const share = total === null || total === 0 ? '' : ` of ${Math.round(total)}`;
  return `: ${what} ${Math.round(done)}${share}${eta_s === null ? '' : `, ${duration(eta_s)} to go`}`;
}

function timesOf(view: MigrationView): readonly string[] {
  const lines: string[] = [];
  if (view.shortest_finish_s !== null)
    lines.push(
      `shortest time to finish ${duration(view.shortest_finish_s)} and builds, loading, confirmations`,
    );
  if (view.rollback_within_ms !== null)
    lines.push(
      `shortest time to roll back: at once, at most ${view.rollback_within_ms} ms where a notification is lost`,
    );
  else if (view.state === 'running' || view.state === 'paused')
    lines.push(
      isReleased(view)
        ? 'rolling back loads the old version first'
        : 'rolling back takes no loading; at most how long is not known here, where no gateway was asked',
    );
  if (view.updates_stopped)
    lines.push(
      `updates of ${view.to_version} have stopped${view.watermark === null ? '' : ` at ${view.watermark}`}; ${view.source_lag_documents === null ? 'how far the source is ahead is not known: it comes from no feed, or that cannot be read now' : `the source is ${view.source_lag_documents} documents ahead`}`,
    );
  if (view.rollback_ms !== null)
    lines.push(`the old version served everything again after ${Math.round(view.rollback_ms)} ms`);
  if (view.lagging.length > 0) lines.push(`replicas that did not follow: ${view.lagging.join(', ')}`);
  if (view.finished_at === null)
    lines.push(
      view.driver === null
        ? `nobody drives it: \`switchyard serve\` does, or \`switchyard migrate run ${view.corpus}\``
        : `driven by ${view.driver}`,
    );
  else lines.push(`ended ${age(Date.now() - new Date(view.finished_at).getTime())}`);
  return lines;
}

/** The old version has left the route. */
const isReleased = ({ steps }: MigrationView): boolean =>
  steps.some(({ kind, status }) => kind === 'complete' && status === 'done');

export function formatMigrations(views: readonly MigrationView[]): string {
  if (views.length === 0) return 'no migration yet; start one with `switchyard migrate start`';
  return table(
    ['corpus', 'from', 'to', 'state', 'step', 'weight', 'started', 'migration id'],
    views.map((view) => [
      view.corpus,
      view.from_version,
      view.to_version,
      view.state,
      view.step === null ? '-' : `${view.step}/${view.steps.length}`,
      percentOf(view.weight),
      view.started_at.slice(0, 19),
      view.migration_id,
    ]),
  );
}

export const formatEvents = (events: readonly MigrationEventView[]): string =>
  table(
    ['#', 'at', 'event', 'state', 'step', 'revision', 'who', 'why'],
    events.map((event) => [
      event.sequence,
      event.at.slice(0, 23),
      event.event,
      event.state,
      event.step ?? '-',
      event.route_revision ?? '-',
      event.actor,
      event.reason.length > 100 ? `${event.reason.slice(0, 99)}…` : event.reason,
    ]),
  );

const percentOf = (bps: number): string => `${bps / 100} %`;

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${(seconds / 3_600).toFixed(1)} h` : `${(seconds / 86_400).toFixed(1)} d`;
}
