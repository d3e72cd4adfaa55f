import { checkGolden } from '../../src/lifecycle/migration/analyses/golden.js';
import { checkServiceTime } from '../../src/lifecycle/migration/analyses/service-time.js';
import { compilePlan } from '../../src/lifecycle/migration/plan.js';
import type { GoldenFinding } from '../../src/lifecycle/migration/ports.js';
import type { Migration } from '../../src/lifecycle/migration/record.js';
import { reportHtml } from '../../src/lifecycle/migration/report/html.js';
import { reportMarkdown } from '../../src/lifecycle/migration/report/markdown.js';
import { reportModel } from '../../src/lifecycle/migration/report/model.js';
import type { Sample } from '../../src/lifecycle/migration/sample.js';
import type { MigrationEventBody, MigrationState } from '../../src/lifecycle/migration/state.js';
import { begun, transition } from '../../src/lifecycle/migration/transition.js';
import type { MigrationEvent } from '../../src/registry/corpus-migrations.js';
import type { MigrationSample } from '../../src/registry/migration-samples.js';
import { compareAnswers } from '../../src/router/comparison.js';
import {
  ComparisonRecorder,
  DEFAULT_RECORDER,
  type WorstQuery,
} from '../../src/router/comparison-recorder.js';
import { LogHistogram } from '../../src/telemetry/log-histogram.js';
import type { Digest, Revision } from '../../src/vocabulary.js';
import { buildOf, fingerprintOf } from '../router/small-engines.js';

export const BEGAN_MS = Date.UTC(2026, 10, 26, 7);
export const atOf = (seconds: number): Date => new Date(BEGAN_MS + seconds * 1000);
const NEW = 'b'.repeat(64) as Digest;

const HOSTILE = '<img src=x onerror="alert(1)"> | ![a](http://evil/p.png) \'&amp; \\|';
const GOLDEN_TEXT = `which cat is golden ${HOSTILE}`;
const MIRRORED_TEXT = `what did the mirror see ${HOSTILE}`;
const REASON = `why not\n\n# now ${HOSTILE}`;

const PLAN = compilePlan({
  steps: [
    { verify: {} },
    { shadow: {} },
    { analysis: { golden: {}, shadow: {} } },
    { set_weight: { weight: 1_000 } },
    { analysis: { error_rate: {} } },
    { set_weight: { weight: 5_000 } },
    { analysis: { service_time: {} } },
    { set_weight: { weight: 10_000 } },
    { analysis: { error_rate: {} } },
    { complete: {} },
  ],
});

export const GOLDEN: GoldenFinding = {
  golden_set: 'faq@3',
  metric: 'ndcg@10',
  verdict: 'better',
  is_non_inferior: true,
  baseline: 0.401,
  candidate: 0.443,
  difference: 0.042,
  low: 0.013,
  high: 0.071,
  confidence: 0.975,
  margin: 0.02,
  query_count: 412,
  queries_needed: 348,
  judged_at_10: { baseline: 0.912, candidate: 0.876 },
  warnings: ['judged@10 is <low>'],
  worst: [
    { query_id: 'q7', text: GOLDEN_TEXT, baseline: 0.987, candidate: 0.123 },
    { query_id: 'q8', text: 'another lost one', baseline: 0.654, candidate: 0.321 },
  ],
};

/** The worst mirrored reads as a gateway keeps them, with or without their texts. */
export function worstReads(keepTexts: boolean): readonly WorstQuery[] {
  const recorder = new ComparisonRecorder({
    ...{ ...DEFAULT_RECORDER, keepTexts, hashKey: Buffer.alloc(32, 7), wallMs: () => BEGAN_MS },
  });
  const target = (version: string) => ({
    ...{ version, build: buildOf(version), model: 'm@1', fingerprint: fingerprintOf(version) },
  });
  const pair = { corpus: 'docs', kind: 'candidate', primary: target('v1'), shadow: target('v2') } as const;
  const [primaryIds, shadowIds] = [
    ['old-1', `old-<b>2`],
    ['new-1', 'new-2'],
  ];
  const answer = (ids: readonly string[]) => ({ ids, scores: [0.9, 0.8], serviceUs: 1_000 });
  const comparison = compareAnswers(2, answer(primaryIds), answer(shadowIds));
  recorder.record(pair, comparison, { text: MIRRORED_TEXT, vector: null, primaryIds, shadowIds });
  return recorder.report('docs').flatMap(({ worst }) => worst);
}

const times = (us: number, count: number): LogHistogram => {
  const histogram = new LogHistogram();
  for (let at = 0; at < count; at++) histogram.observe(us);
  return histogram;
};

export const sampleAt = (
  seconds: number,
  versions: Readonly<Record<string, { us: number; answered: number; failed?: number }>>,
): MigrationSample => ({
  gatewayId: 'one',
  at: atOf(seconds),
  sample: {
    versions: Object.fromEntries(
      Object.entries(versions).map(([version, { us, answered, failed = 0 }]) => [
        version,
        { answered, failed, encoded: [], searched: [], total: times(us, answered).counts() },
      ]),
    ),
    mirrored: {},
  } satisfies Sample,
});

/** One that is aborted by an analysis at 50 %; `until`: only its first events. */
export function migrated({ keepTexts = false, until = Number.POSITIVE_INFINITY } = {}) {
  const slow = checkServiceTime(
    {
      lane: 'served',
      before: { total: times(4_000, 400) },
      after: { total: times(90_000, 400) },
      earlier: { total: times(4_000, 400) },
    },
    { quantile: 0.95, ratio_max: 1.5, allowance_ms: 20, samples_min: 100 },
  );
  const told: readonly (readonly [seconds: number, event: MigrationEventBody, who?: string, why?: string])[] =
    [
      [1, { kind: 'verified', verified: { build: NEW, watermark: null }, findings: null }],
      [
        2,
        {
          kind: 'route_placed',
          placement: { kind: 'shadow', mirrorBps: 10_000, build: NEW },
          routeRevision: 12,
        },
      ],
      [30, { kind: 'step_done', findings: { compared: 900, worst: worstReads(keepTexts) } }],
      [40, { kind: 'analysis_successful', findings: [checkGolden(GOLDEN, 'docs')] }],
      [
        41,
        { kind: 'route_placed', placement: { kind: 'weighted', weightBps: 1_000 }, routeRevision: 13 },
        '<script>eve</script>',
        REASON,
      ],
      [42, { kind: 'step_done', findings: null }],
      [50, { kind: 'analysis_successful', findings: [] }],
      [51, { kind: 'route_placed', placement: { kind: 'weighted', weightBps: 5_000 }, routeRevision: 14 }],
      [52, { kind: 'step_done', findings: null }],
      [
        90,
        {
          kind: 'analysis_failed',
          findings: [slow],
          why: `service_time: ${slow.why}`,
          routeRevision: 15,
        },
      ],
      [91, { kind: 'settled', settled: { rollbackMs: 81.6, lagging: [] } }],
    ];
  let state: MigrationState = begun(
    PLAN,
    { from: { build: 'a'.repeat(64) as Digest, tier: 'ssd' }, routeRevision: 11 },
    atOf(0).toISOString(),
  );
  const start = { sequence: 1, at: atOf(0), actor: 'ada', reason: 'a better model', routeRevision: null };
  const events: MigrationEvent[] = [{ ...start, event: { kind: 'started' }, before: null, after: state }];
  for (const [seconds, event, actor = 'migration', reason = event.kind] of told) {
    if (seconds > until) break;
    const before = state;
    state = transition(PLAN, before, event, atOf(seconds).toISOString());
    const revision = 'routeRevision' in event ? event.routeRevision : null;
    events.push({
      ...{ sequence: events.length + 1, at: atOf(seconds), actor, reason, event, before, after: state },
      routeRevision: revision as Revision | null,
    });
  }
  const migration: Migration = {
    migrationId: '3f0c6f0e-0000-4000-8000-000000000001',
    corpus: 'docs',
    fromVersion: 'v1',
    toVersion: 'v2',
    plan: PLAN,
    state: {
      ...state,
      facts: {
        ...state.facts,
        warned: [{ service: 'ranker', team: 's', message: `set them anew ${HOSTILE}` }],
      },
    } as MigrationState,
    sequence: events.length,
    createdAt: atOf(0),
    updatedAt: atOf(91),
    finishedAt: atOf(91),
    reportedAt: null,
    progress: null,
    lease: null,
  };
  return { migration, events };
}

const SAMPLES: readonly MigrationSample[] = [
  sampleAt(10, { v1: { us: 4_000, answered: 200 } }),
  sampleAt(45, { v1: { us: 4_000, answered: 180 }, v2: { us: 6_000, answered: 20 } }),
  sampleAt(60, { v1: { us: 4_000, answered: 100, failed: 3 }, v2: { us: 90_000, answered: 97, failed: 5 } }),
];

export function report({ keepTexts = false } = {}) {
  const { migration, events } = migrated({ keepTexts });
  const model = reportModel(migration, events, SAMPLES);
  return { model, markdown: reportMarkdown(model), html: reportHtml(model) };
}

/** What stands between one heading of the page and the next. */
const partsOf = (page: string, heading: RegExp): ReadonlyMap<string, string> => {
  const [head = '', ...rest] = page.split(heading);
  const parts = new Map([['', head]]);
  for (let at = 0; at + 1 < rest.length; at += 2) parts.set(rest[at] ?? '', rest[at + 1] ?? '');
  return parts;
};
export const markdownParts = (page: string) => partsOf(page, /^## (.*)$/m);
export const htmlParts = (page: string) => partsOf(page, /<section><h2>(.*?)<\/h2>/);
