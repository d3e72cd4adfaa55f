import t from 'tap';
import { reportHtml } from '../../src/lifecycle/migration/report/html.js';
import { reportMarkdown } from '../../src/lifecycle/migration/report/markdown.js';
import { PRUNED, type ReportModel, reportModel } from '../../src/lifecycle/migration/report/model.js';
import { atOf, BEGAN_MS, GOLDEN, htmlParts, markdownParts, migrated, report, sampleAt } from './reporting.js';

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
