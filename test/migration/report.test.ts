import t from 'tap';
import { checkGolden } from '../../src/lifecycle/migration/analyses/golden.js';
import { checkServiceTime } from '../../src/lifecycle/migration/analyses/service-time.js';
import { compilePlan } from '../../src/lifecycle/migration/plan.js';
import type { GoldenFinding } from '../../src/lifecycle/migration/ports.js';
import type { Migration } from '../../src/lifecycle/migration/record.js';
import { reportHtml } from '../../src/lifecycle/migration/report/html.js';
import { reportMarkdown } from '../../src/lifecycle/migration/report/markdown.js';
import { PRUNED, type ReportModel, reportModel } from '../../src/lifecycle/migration/report/model.js';
import type { Sample } from '../../src/lifecycle/migration/sample.js';
import type { MigrationEventBody, MigrationState } from '../../src/lifecycle/migration/state.js';
import { begun, transition } from '../../src/lifecycle/migration/transition.js';
import type { MigrationEvent, MigrationSample } from '../../src/registry/corpus-migrations.js';
import { compareAnswers } from '../../src/router/comparison.js';
import {
  ComparisonRecorder,
  DEFAULT_RECORDER,
  type WorstQuery,
} from '../../src/router/comparison-recorder.js';
import { LogHistogram } from '../../src/telemetry/log-histogram.js';
import type { Digest, Revision } from '../../src/vocabulary.js';
import { buildOf, fingerprintOf } from '../router/small-engines.js';

const BEGAN_MS = Date.UTC(2026, 10, 26, 7);
const atOf = (seconds: number): Date => new Date(BEGAN_MS + seconds * 1000);
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

const GOLDEN: GoldenFinding = {
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
function worstReads(keepTexts: boolean): readonly WorstQuery[] {
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

const sampleAt = (
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
function migrated({ keepTexts = false, until = Number.POSITIVE_INFINITY } = {}) {
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

function report({ keepTexts = false } = {}) {
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
const markdownParts = (page: string) => partsOf(page, /^## (.*)$/m);
const htmlParts = (page: string) => partsOf(page, /<section><h2>(.*?)<\/h2>/);

t.test('the model holds what was written down, each thing in its place', async (t) => {
  const { model } = report();
  t.match(model, { outcome: /^aborted: service_time: .*limit/, rollbackMs: 81.6, isPruned: false });
  t.same(
    model.weights.map(({ atMs, bps }) => [(atMs - BEGAN_MS) / 1000, bps]),
    [
      [0, 0],
      [41, 1_000],
      [51, 5_000],
      [90, 0],
      [91, 0],
    ],
  );
  t.same(
    model.versions.map(({ version, answered, failed }) => ({ version, answered, failed })),
    [
      { version: 'v1', answered: 480, failed: 3 },
      { version: 'v2', answered: 117, failed: 5 },
    ],
  );
  const near = (found: number | null | undefined, us: number, what: string) =>
    t.ok(Math.abs((found ?? 0) / us - 1) < 0.1, `${what}: ${found} is about ${us}`);
  const [v1, v2] = model.versions;
  for (const share of ['p50Us', 'p95Us', 'p99Us'] as const) near(v1?.[share], 4_000, `v1 ${share}`);
  near(v2?.p50Us, 90_000, 'v2 p50');
  t.same(
    model.latency.v1?.map(({ atMs }) => (atMs - BEGAN_MS) / 1000),
    [10, 45, 59.375],
    'a point where a sample lies, the last in the last bin',
  );
  t.equal(model.latency.v2?.length, 2, 'none before it served');
  near(model.latency.v2?.[0]?.p95Us, 6_000, 'v2 at first');
  near(model.latency.v2?.[1]?.p50Us, 90_000, 'v2 at last');
  t.same(
    model.analyses.map(({ step, verdict, findings }) => [step, verdict, findings.map(({ check }) => check)]),
    [
      ['analysis (golden, shadow)', 'successful', ['golden']],
      ['analysis (error_rate)', 'successful', []],
      ['analysis (service_time)', 'failed', ['service_time']],
    ],
    'each under the step that it was taken in',
  );
  t.same(model.golden, [GOLDEN]);
  t.equal(model.worstReads.length, 1);
  t.match(model.timeline.at(-2), { event: 'analysis_failed', state: 'aborted', routeRevision: 15 });
  t.equal(model.timeline.length, 12);
});

t.test('a latency plot has 80 points at most, whatever was measured', async (t) => {
  const { migration, events } = migrated();
  const samples = Array.from({ length: 1_000 }, (_, at) =>
    sampleAt(at / 11, { v1: { us: 4_000, answered: 2 } }),
  );
  const { latency, versions } = reportModel(migration, events, samples);
  t.equal(latency.v1?.length, 80);
  t.equal(versions[0]?.answered, 2_000, 'none is lost');
});

t.test('the Markdown page says all of it, part by part', async (t) => {
  const { markdown } = report();
  const parts = markdownParts(markdown);
  t.same(
    [...parts.keys()],
    [
      '',
      'Consumers with score thresholds',
      'Weights',
      'Quality',
      'Served',
      'Analyses',
      'Worst queries, before and after',
      'Everything that happened',
    ],
  );
  const part = (name: string): string => parts.get(name) ?? '';
  t.match(part(''), /^# Migration of docs: v1 → v2\n\n\*\*aborted: service_time: p95 /);
  t.match(part(''), /begun 2026-11-26 07:00:00 UTC by ada: a better model\. It took 91\.0 s\./);
  t.match(part(''), /Every live replica served v1 again 82 ms after the return\./);
  t.match(part('Consumers with score thresholds'), /- set them anew &lt;img/);
  t.equal(
    part('Weights').trim(),
    [
      '| from (UTC) | weight of v2 |',
      '|---|---|',
      '| 2026-11-26 07:00:00 | 0 % |',
      '| 2026-11-26 07:00:41 | 10 % |',
      '| 2026-11-26 07:00:51 | 50 % |',
      '| 2026-11-26 07:01:30 | 0 % |',
    ].join('\n'),
  );
  t.match(
    part('Quality'),
    '| faq@3 | ndcg@10 | 0.401 | 0.443 | 0.013 … 0.071 (98 %) | 412 | 0.912 / 0.876 | better |',
  );
  t.match(part('Quality'), '\n> judged@10 is &lt;low>');
  t.match(part('Served'), '| version | answered | failed | p50 ms | p95 ms | p99 ms |');
  t.match(part('Served'), /^\| v1 \| 480 \| 3 \| [34]\.\d\d \| [34]\.\d\d \| [34]\.\d\d \|$/m);
  t.match(part('Served'), /^\| v2 \| 117 \| 5 \| [89]\d\.\d \| [89]\d\.\d \| [89]\d\.\d \|$/m);
  t.match(
    part('Analyses'),
    /^\| analysis \(golden, shadow\) \| successful \| golden: successful \| ndcg@10 0\.443 against 0\.401/m,
  );
  t.match(part('Analyses'), /^\| analysis \(service_time\) \| failed \| service_time: failed \| p95 /m);
  const worst = part('Worst queries, before and after');
  t.match(worst, '| query | metric | v1 | v2 |');
  t.match(worst, /^\| which cat is golden .* \| ndcg@10 \| 0\.987 \| 0\.123 \|$/m);
  t.match(worst, '| another lost one | ndcg@10 | 0.654 | 0.321 |');
  t.match(worst, '| query | RBO | first of v1 | first of v2 |');
  t.match(worst, '| 0.000 | old-1 old-&lt;b>2 | new-1 new-2 |');
  const happened = part('Everything that happened').trim().split('\n');
  t.equal(happened.length, 2 + 12, 'a row an event');
  t.match(happened[2], '| 2026-11-26 07:00:00 | started | running | verify |  | ada | a better model |');
  t.match(happened[7], /^\| .* \| route_placed \| running \| set_weight 10 % \| 13 \| &lt;script>eve/);
  t.match(happened.at(-1), /\| settled \| aborted \| analysis \(service_time\) \|/);
});

t.test('the HTML page says all of it, with plots of what it says', async (t) => {
  const { html } = report();
  const parts = htmlParts(html);
  t.same(
    [...parts.keys()],
    [
      '',
      'Consumers with score thresholds',
      'Weights over time',
      'Quality',
      'Latency of served requests',
      'Analyses',
      'Worst queries, before and after',
      'Everything that happened',
    ],
  );
  const part = (name: string): string => parts.get(name) ?? '';
  t.match(part(''), '<dt>outcome</dt><dd>aborted: service_time: p95 ');
  t.match(part(''), '<dt>took</dt><dd>91.0 s</dd>');
  t.match(part(''), 'every live replica served v1 again after 82 ms');

  // From 64 to 704 over 91 s, 100 % at 16 and 0 % at 186: 0 until 41 s, 10 % until 51 s, 50 % until 90 s, 0.
  t.match(part('Weights over time'), 'aria-label="Weight of v2 over time"');
  t.match(
    part('Weights over time'),
    'd="M64.0 186.0H352.4V169.0H422.7V101.0H697.0V186.0H704.0V186.0"',
    'the steps of the weight',
  );
  const quality = part('Quality');
  t.match(quality, 'Difference of v2 to v1; the band is the margin');
  t.match(quality, '0.401 → 0.443 on 412 queries');
  // 0 lies at 447, and 1.1 · 0.071 at 704: the interval is 0.013 … 0.071 around 0.042.
  t.match(quality, 'd="M489.8 33H680.6"');
  t.match(quality, '<circle class="new" cx="585.2" cy="33"');
  for (const cell of ['faq@3', '0.013 … 0.071 (98 %)', '412', '0.912 / 0.876', 'better'])
    t.match(quality, `<td>${cell}</td>`);
  const latency = part('Latency of served requests');
  for (const name of ['v1 p50', 'v1 p95', 'v2 p50', 'v2 p95']) t.match(latency, `>${name}</text>`);
  const lines = [...latency.matchAll(/<path class="line (?:old|new)[^"]*" d="(M[^"]*)"\/>/g)]
    .map(([, d = '']) => d)
    .filter((d) => d !== 'M0 0H22');
  t.same(
    lines.map((d) => d.split(/[ML]/).length - 1),
    [3, 3, 2, 2],
    'a point where a version was measured',
  );
  t.match(latency, /<td>v1<\/td><td>480<\/td><td>3<\/td><td>[34]\.\d\d<\/td>/);
  t.match(latency, /<td>v2<\/td><td>117<\/td><td>5<\/td><td>[89]\d\.\d<\/td>/);
  t.match(part('Analyses'), '<td>failed</td><td>service_time: failed</td><td>p95 ');
  const worst = part('Worst queries, before and after');
  t.match(worst, '<td>another lost one</td><td>ndcg@10</td><td>0.654</td><td>0.321</td>');
  t.match(worst, '<td>0.000</td><td>old-1, old-&lt;b&gt;2</td><td>new-1, new-2</td>');
  t.equal(part('Everything that happened').split('<tr>').length - 1, 1 + 12, 'a row an event');
});

t.test('texts of others are texts, never markup', async (t) => {
  const { html, markdown } = report({ keepTexts: true });
  const escaped =
    '&lt;img src=x onerror=&quot;alert(1)&quot;&gt; | ![a](http://evil/p.png) &#39;&amp;amp; \\|';
  for (const text of [`which cat is golden ${escaped}`, `what did the mirror see ${escaped}`])
    t.match(html, `<td>${text}</td>`);
  t.match(html, '<td>&lt;script&gt;eve&lt;/script&gt;</td>');
  t.match(html, `<li>set them anew ${escaped}</li>`);
  t.notMatch(
    html,
    /<script|<img|<b>|<link|<iframe|\son\w+="|\ssrc=[^x]|\shref=/,
    'nor does it need another file',
  );
  t.match(
    markdown,
    '| what did the mirror see &lt;img src=x onerror="alert(1)"> \\| !\\[a\\](http://evil/p.png) \'&amp; \\\\\\| |',
  );
  t.notMatch(markdown, /<[a-z]/i, 'no HTML');
  t.notMatch(markdown, /(?<!\\)\[/, 'no link and no image');
  t.equal(markdown.split('\n').filter((line) => line.startsWith('# ')).length, 1, 'no heading of others');
  for (const line of markdown.split('\n').filter((line) => line.startsWith('| 2026')))
    t.ok([2, 7].includes(line.split(/(?<!\\)\|/).length - 2), `no column of others: ${line}`);
});

t.test("queries are shown where they belong, and clients' own texts only where they are kept", async (t) => {
  const isIn = (parts: ReadonlyMap<string, string>, text: string): readonly string[] =>
    [...parts].filter(([, part]) => part.includes(text)).map(([name]) => name);
  const pagesOf = (keepTexts: boolean): readonly ReadonlyMap<string, string>[] => {
    const { html, markdown } = report({ keepTexts });
    return [htmlParts(html), markdownParts(markdown)];
  };
  const WORST = ['Worst queries, before and after'];
  const [kept] = worstReads(false);
  t.match(kept?.queryHash, /^[0-9a-f]{32}$/);
  for (const parts of pagesOf(false)) {
    t.same(isIn(parts, 'which cat is golden'), WORST, "the golden set's own");
    t.same(isIn(parts, 'what did the mirror see'), [], 'a client asked it');
    t.same(isIn(parts, kept?.queryHash ?? '–'), WORST, 'its keyed hash in its place');
  }
  for (const parts of pagesOf(true)) {
    t.same(isIn(parts, 'what did the mirror see'), WORST, 'comparison.keep_texts');
    t.same(isIn(parts, kept?.queryHash ?? '–'), []);
  }
});

t.test('while a step lasts, what is measured meanwhile lies within the plots', async (t) => {
  const { migration, events } = migrated({ until: 52 });
  const model = reportModel({ ...migration, finishedAt: null }, events, [
    sampleAt(45, { v1: { us: 4_000, answered: 100 } }),
    sampleAt(600, { v1: { us: 4_000, answered: 100 }, v2: { us: 5_000, answered: 100 } }),
  ]);
  t.equal(model.outcome, 'running');
  t.same(model.weights.at(-1), { atMs: atOf(600).getTime(), bps: 5_000 }, 'its weight holds until now');
  const xs = [...reportHtml(model).matchAll(/d="(M\d[^"]*)"/g)].flatMap(([, d = '']) =>
    [...d.matchAll(/[MLH](-?[\d.]+)/g)].map(([, x]) => Number(x)),
  );
  t.ok(xs.length > 10 && Math.max(...xs) <= 704, `to ${Math.max(...xs)} of 704`);
});

t.test('what is not there is said to be not there', async (t) => {
  const { migration, events } = migrated({ until: 2 });
  const unserved: ReportModel = reportModel(
    { ...migration, state: { ...migration.state, facts: { ...migration.state.facts, warned: [] } } },
    events,
    [],
  );
  t.equal(unserved.isPruned, false, 'nothing was ever measured');
  const [markdown, html] = [reportMarkdown(unserved), reportHtml(unserved)];
  for (const page of [markdown, html]) {
    t.match(page, 'No golden set was asked.');
    t.notMatch(page, 'score thresholds');
    t.notMatch(page, 'again');
  }
  t.match(markdown, '| v1 | 0 | 0 | – | – | – |');
  t.match(markdownParts(markdown).get('Worst queries, before and after'), 'None were seen.');
  t.match(htmlParts(html).get('Worst queries, before and after'), 'Nothing was seen.');

  const whole = migrated();
  const pruned = reportModel(whole.migration, whole.events, []);
  t.equal(pruned.isPruned, true, 'it served, and the samples are gone');
  t.match(markdownParts(reportMarkdown(pruned)).get('Served'), new RegExp(`^\\s*${PRUNED}\\s*$`));
  t.match(htmlParts(reportHtml(pruned)).get('Latency of served requests'), PRUNED);
  t.notMatch(htmlParts(reportHtml(pruned)).get('Latency of served requests'), '<svg');
});
