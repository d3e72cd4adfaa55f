import type { MigrationEvent } from '../../../registry/corpus-migrations.js';
import type { MigrationSample } from '../../../registry/migration-samples.js';
import { LogHistogram } from '../../../telemetry/log-histogram.js';
import type { Finding } from '../analyses/finding.js';
import { stepName } from '../plan.js';
import type { GoldenFinding } from '../ports.js';
import type { Migration } from '../record.js';
import { type Sample, SampleTotals } from '../sample.js';
import { type MigrationState, weightOf } from '../state.js';

/** Points of a latency plot at most; more samples share a point. */
const LATENCY_POINTS_MAX = 80;

export interface TimelineRow {
  readonly atMs: number;
  readonly event: string;
  readonly state: string;
  readonly step: string;
  readonly who: string;
  readonly why: string;
  readonly routeRevision: number | null;
}

export interface LatencyPoint {
  readonly atMs: number;
  readonly p50Us: number;
  readonly p95Us: number;
}

export interface VersionFigures {
  readonly version: string;
  readonly answered: number;
  readonly failed: number;
  readonly p50Us: number | null;
  readonly p95Us: number | null;
  readonly p99Us: number | null;
}

export interface AnalysisRow {
  readonly step: string;
  readonly verdict: string;
  readonly findings: readonly Finding[];
}

/** A mirrored read whose answers differ most; `text` only where the operator keeps texts. */
export interface WorstRead {
  readonly queryHash: string;
  readonly text: string | null;
  readonly rbo: number;
  readonly primaryIds: readonly string[];
  readonly shadowIds: readonly string[];
}

/** Everything the report shows, without a word of markup. */
export interface ReportModel {
  readonly migration: Migration;
  readonly outcome: string;
  readonly rollbackMs: number | null;
  readonly timeline: readonly TimelineRow[];
  /** Of the last that is known of it: an event or, while a step lasts, what was measured. */
  readonly untilMs: number;
  /** Of the new version, basis points; each holds until the next, which the last one only says the end of. */
  readonly weights: readonly { readonly atMs: number; readonly bps: number }[];
  readonly latency: Readonly<Record<string, readonly LatencyPoint[]>>;
  readonly versions: readonly VersionFigures[];
  readonly analyses: readonly AnalysisRow[];
  readonly golden: readonly GoldenFinding[];
  readonly worstReads: readonly WorstRead[];
  /** Of consumers with score thresholds of their own. */
  readonly warnings: readonly string[];
  /** It served, and what was measured is kept no longer. */
  readonly isPruned: boolean;
}

export function reportModel(
  migration: Migration,
  events: readonly MigrationEvent[],
  samples: readonly MigrationSample[],
): ReportModel {
  const { state, fromVersion, toVersion } = migration;
  const analyses = events.flatMap((event) => analysisOf(event, migration));
  const untilMs = Math.max(0, ...[events.at(-1), samples.at(-1)].map((last) => last?.at.getTime() ?? 0));
  return {
    migration,
    outcome: outcomeOf(state),
    rollbackMs: 'settled' in state ? (state.settled?.rollbackMs ?? null) : null,
    timeline: events.map((event) => rowOf(event, migration)),
    untilMs,
    weights: weightsOf(events, untilMs),
    latency: {
      [fromVersion]: latencyOf(samples, fromVersion),
      [toVersion]: latencyOf(samples, toVersion),
    },
    versions: [fromVersion, toVersion].map((version) => figuresOf(samples, version)),
    analyses,
    golden: analyses.flatMap(({ findings }) =>
      findings.flatMap(({ check, figures }) =>
        check === 'golden' && 'verdict' in figures ? [figures as unknown as GoldenFinding] : [],
      ),
    ),
    worstReads: events.flatMap(worstOf).slice(0, 20),
    isPruned: migration.finishedAt !== null && state.facts.hadWeight && samples.length === 0,
    warnings: (state.facts.warned ?? []).map(({ message }) => message),
  };
}

/** In place of figures that are kept no longer. */
export const PRUNED =
  'What was measured is kept for migration.samples_keep_days after the end; the page that was written then, in var/reports of the gateway that drove, has it.';

function outcomeOf(state: MigrationState): string {
  switch (state.kind) {
    case 'completed':
      return 'completed';
    case 'aborted':
    case 'rolled_back':
      return `${state.kind === 'aborted' ? 'aborted' : 'rolled back'}: ${state.why}`;
    case 'paused':
      return `paused (${state.cause}): ${state.why}`;
    case 'running':
      return 'running';
    default:
      return state satisfies never;
  }
}

function rowOf(event: MigrationEvent, { plan }: Migration): TimelineRow {
  const state = event.after as MigrationState;
  const planned = 'at' in state ? plan.steps[state.at.step] : undefined;
  return {
    atMs: event.at.getTime(),
    event: (event.event as { readonly kind: string }).kind,
    state: state.kind,
    step: planned === undefined || state.kind === 'completed' ? '–' : stepName(planned),
    who: event.actor,
    why: event.reason,
    routeRevision: event.routeRevision,
  };
}

/** An analysis event belongs to the step that the state before it was in. */
function analysisOf({ event, before }: MigrationEvent, { plan }: Migration): AnalysisRow[] {
  const { kind, findings } = event as { readonly kind: string; readonly findings?: readonly Finding[] };
  const verdict = /^analysis_(\w+)$/.exec(kind)?.[1];
  if (verdict === undefined || findings === undefined) return [];
  const state = before as MigrationState;
  const planned = 'at' in state ? plan.steps[state.at.step] : undefined;
  return [{ step: planned === undefined ? '–' : stepName(planned), verdict, findings }];
}

function weightsOf(events: readonly MigrationEvent[], untilMs: number) {
  const points: { atMs: number; bps: number }[] = [];
  for (const { at, after } of events) {
    const bps = weightOf((after as MigrationState).facts);
    if (points.at(-1)?.bps !== bps) points.push({ atMs: at.getTime(), bps });
  }
  const end = points.at(-1);
  if (end !== undefined) points.push({ atMs: untilMs, bps: end.bps });
  return points;
}

function latencyOf(samples: readonly MigrationSample[], version: string): readonly LatencyPoint[] {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined) return [];
  const beganMs = first.at.getTime();
  const widthMs = Math.max(1, (last.at.getTime() - beganMs) / LATENCY_POINTS_MAX);
  const bins = new Map<number, LogHistogram>();
  for (const { at, sample } of samples) {
    const counts = (sample as Sample).versions[version]?.total;
    if (counts === undefined) continue;
    const bin = Math.min(LATENCY_POINTS_MAX - 1, Math.floor((at.getTime() - beganMs) / widthMs));
    const histogram = bins.get(bin) ?? new LogHistogram();
    histogram.add(counts);
    bins.set(bin, histogram);
  }
  return [...bins].flatMap(([bin, histogram]) => {
    const [p50Us, p95Us] = [histogram.quantile(0.5), histogram.quantile(0.95)];
    return p50Us === null || p95Us === null ? [] : [{ atMs: beganMs + bin * widthMs, p50Us, p95Us }];
  });
}

function figuresOf(samples: readonly MigrationSample[], version: string): VersionFigures {
  const totals = new SampleTotals();
  for (const { sample } of samples) totals.add(sample as Sample);
  const { answered, failed, total } = totals.version(version);
  return {
    version,
    answered,
    failed,
    p50Us: total.quantile(0.5),
    p95Us: total.quantile(0.95),
    p99Us: total.quantile(0.99),
  };
}

function worstOf({ event }: MigrationEvent): readonly WorstRead[] {
  const { findings } = event as { readonly findings?: { readonly worst?: readonly WorstRead[] } | null };
  return Array.isArray(findings?.worst) ? findings.worst : [];
}
