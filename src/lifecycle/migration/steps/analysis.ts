import { checkManifest } from '../../../index/manifest-schema.js';
import { residentBytes } from '../../../index/placement.js';
import type { Digest } from '../../../vocabulary.js';
import { checkCost, type VersionCost } from '../analyses/cost.js';
import { checkErrorRate } from '../analyses/error-rate.js';
import { type Finding, overall, reasons } from '../analyses/finding.js';
import { checkGolden } from '../analyses/golden.js';
import { looksThatShare } from '../analyses/looks.js';
import { checkServiceTime } from '../analyses/service-time.js';
import { checkShadow } from '../analyses/shadow.js';
import { Measured } from '../measured.js';
import type { SampleTotals } from '../sample.js';
import { weightOf } from '../state.js';
import type { RunStep, StepContext } from '../step.js';

type Context = StepContext<'analysis'>;

/**
 * Successful → the next step; Failed → back to the old version in the same transaction; Inconclusive → a person. The
 * golden set is judged once; what is measured on traffic is looked at again and again, so that a failure is not waited
 * for.
 */
export const runAnalysis: RunStep<'analysis'> = async (context) => {
  const { step, migration, registry, state } = context;
  const { duration_s, timeout_s, interval_s } = step.options;
  const once = await judgedOnce(context);
  const seen = {
    now: new Measured(context, state.at.beganAt),
    before: new Measured(context, beforeOf(context)),
  };
  for (;;) {
    const findings = [...once, ...(await measuredNow(context, seen))];
    const elapsedMs = await context.elapsedMs();
    const verdict = overall(findings);
    if (verdict === 'failed') {
      const { revision } = await registry.routes.get(migration.corpus);
      return {
        kind: 'analysis_failed',
        findings,
        why: reasons(findings, 'failed'),
        routeRevision: revision + 1,
      };
    }
    if (verdict === 'inconclusive')
      return { kind: 'analysis_inconclusive', findings, why: reasons(findings, 'inconclusive') };
    if (verdict === 'successful' && elapsedMs >= duration_s * 1000)
      return { kind: 'analysis_successful', findings };
    if (verdict === 'undecided' && elapsedMs >= timeout_s * 1000)
      return {
        kind: 'analysis_inconclusive',
        findings,
        why: `after ${timeout_s} s: ${reasons(findings, 'undecided')}`,
      };
    context.onProgress({
      what: verdict === 'undecided' ? reasons(findings, 'undecided') : 'successful so far',
      done: Math.min(elapsedMs, duration_s * 1000),
      total: duration_s * 1000,
      etaMs: verdict === 'undecided' ? null : duration_s * 1000 - elapsedMs,
    });
    await context.wait(interval_s * 1000);
  }
};

async function judgedOnce(context: Context): Promise<readonly Finding[]> {
  const { step, migration, ports, state } = context;
  const { corpus, fromVersion, toVersion } = migration;
  const { golden } = step.options;
  if (golden === undefined) return [];
  const { verified } = state.facts;
  if (verified === null) throw new TypeError('nothing is analysed before it is verified');
  const { golden_set: goldenSet, metric, margin } = golden;
  const looks = await looksOf(context);
  const builds = { fromBuild: state.facts.from.build, toBuild: verified.build };
  const request = { corpus, fromVersion, toVersion, ...builds, goldenSet, metric, margin, looks };
  return [checkGolden(await ports.compareGolden(request, context), corpus)];
}

/** Looks at golden sets that the plan has, and those that were taken. */
async function looksOf({ migration, registry }: Context): Promise<number> {
  const { plan, migrationId } = migration;
  const planned = plan.steps.filter(
    (step) => step.kind === 'analysis' && step.options.golden !== undefined,
  ).length;
  const taken = (await registry.migrations.events(migrationId)).filter(({ event }) => {
    const { findings } = event as { readonly findings?: readonly Finding[] };
    return Array.isArray(findings) && findings.some(({ check }) => check === 'golden');
  }).length;
  return looksThatShare(planned, taken);
}

/** How far back it is looked for what the old version took when it still served. */
const BEFORE_MS = 3_600_000;

/** Mirrored reads count since the version was verified; served ones of before, within the last hour. */
function beforeOf({ state }: Context): string {
  const { measuredFrom } = state.facts;
  if (weightOf(state.facts) === 0) return measuredFrom;
  const earliest = new Date(state.at.beganAt).getTime() - BEFORE_MS;
  return new Date(Math.max(earliest, new Date(measuredFrom).getTime())).toISOString();
}

async function measuredNow(
  context: Context,
  seen: { readonly now: Measured; readonly before: Measured },
): Promise<readonly Finding[]> {
  const { step, migration, state } = context;
  const { fromVersion, toVersion } = migration;
  const { shadow, service_time, error_rate, cost } = step.options;
  const [now, whole] = [await seen.now.now(), await seen.before.now()];
  const findings: Finding[] = [];
  if (shadow !== undefined)
    findings.push(checkShadow(whole.mirrored(toVersion), whole.mirrored(fromVersion), shadow));
  const served = {
    before: now.version(fromVersion),
    after: now.version(toVersion),
    earlier: whole.version(fromVersion),
  };
  if (service_time !== undefined) {
    const lane =
      weightOf(state.facts) === 0
        ? ({ lane: 'shadow', mirrored: whole.mirrored(toVersion) } as const)
        : ({ lane: 'served', ...served } as const);
    findings.push(checkServiceTime(lane, service_time));
  }
  if (error_rate !== undefined) findings.push(checkErrorRate(served, error_rate));
  if (cost !== undefined)
    findings.push(
      checkCost(
        await costOf(context, fromVersion, state.facts.from.build, whole, 'primary'),
        await costOf(context, toVersion, state.facts.verified?.build ?? null, whole, 'shadow'),
        cost,
      ),
    );
  return findings;
}

async function costOf(
  { registry, migration }: Context,
  version: string,
  build: Digest | null,
  totals: SampleTotals,
  side: 'primary' | 'shadow',
): Promise<VersionCost> {
  const recorded = await registry.builds.get({ corpus: migration.corpus, version }, build);
  const manifest = checkManifest(recorded.manifest);
  const served = totals.version(version).encoded.quantile(0.5);
  return {
    indexBytes: typeof manifest === 'string' ? null : residentBytes(manifest),
    vectors: recorded.rowCount,
    serviceUs: served ?? totals.mirrored(migration.toVersion)[side].quantile(0.5),
  };
}
