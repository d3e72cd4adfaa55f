import { FALLBACK_SPAN_MS, STYLE } from './html-style.js';
import { PRUNED, type ReportModel } from './model.js';
import { escapeXml, intervalPlot, linePlot } from './svg.js';
import { TIMELINE_HEADER, timelineRows } from './timeline.js';
import { lasted, milliseconds, score, time } from './words.js';

/** The same page as HTML, one file that needs no other, with plots. Whatever came from outside is escaped. */
export function reportHtml(model: ReportModel): string {
  const { migration, timeline } = model;
  const { corpus, fromVersion, toVersion } = migration;
  const first = timeline[0];
  const title = `Migration of ${corpus}: ${fromVersion} → ${toVersion}`;
  const spanMs = (timeline.at(-1)?.atMs ?? 0) - (first?.atMs ?? 0);
  const facts = [
    ['outcome', model.outcome],
    ['migration', migration.migrationId],
    ['begun', `${time(migration.createdAt.getTime())} UTC by ${first?.who ?? '–'}: ${first?.why ?? '–'}`],
    ['took', lasted(spanMs)],
    ...(model.rollbackMs === null
      ? []
      : [
          [
            'return',
            `every live replica served ${fromVersion} again after ${Math.round(model.rollbackMs)} ms`,
          ],
        ]),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeXml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeXml(title)}</h1>
<dl>${facts.map(([name = '', value = '']) => `<dt>${escapeXml(name)}</dt><dd>${escapeXml(value)}</dd>`).join('')}</dl>
${model.warnings.length === 0 ? '' : section('Consumers with score thresholds', `<ul>${model.warnings.map((warning) => `<li>${escapeXml(warning)}</li>`).join('')}</ul>`)}
${section('Weights over time', weightsPlot(model))}
${section('Quality', qualityPart(model))}
${section('Latency of served requests', model.isPruned ? `<p>${PRUNED}</p>` : latencyPlot(model) + servedTable(model))}
${section('Analyses', analysesTable(model))}
${section('Worst queries, before and after', worstPart(model))}
${section('Everything that happened', timelineTable(model))}
</body></html>
`;
}

const section = (title: string, body: string): string =>
  `<section><h2>${title}</h2>${body === '' ? '<p>Nothing was seen.</p>' : body}</section>`;

function spanOf({ timeline, untilMs }: ReportModel) {
  const xMin = timeline[0]?.atMs ?? 0;
  return {
    xMin,
    xMax: Math.max(xMin + FALLBACK_SPAN_MS, untilMs),
    xTick: (x: number) => new Date(x).toISOString().slice(11, 19),
  };
}

const weightsPlot = (model: ReportModel): string =>
  linePlot(
    {
      ...spanOf(model),
      title: `Weight of ${model.migration.toVersion} over time`,
      yMin: 0,
      yMax: 100,
      yLabel: 'traffic',
      yTick: (y) => `${y} %`,
    },
    [
      {
        name: model.migration.toVersion,
        className: 'new',
        isStep: true,
        points: model.weights.map(({ atMs, bps }) => ({ x: atMs, y: bps / 100 })),
      },
    ],
  );

function latencyPlot(model: ReportModel): string {
  const { fromVersion, toVersion } = model.migration;
  const lines = [
    [fromVersion, 'old'],
    [toVersion, 'new'],
  ] as const;
  const all = Object.values(model.latency).flatMap((points) => points.map(({ p95Us }) => p95Us));
  if (all.length === 0) return '';
  return linePlot(
    {
      ...spanOf(model),
      title: 'Latency over time',
      yMin: 0,
      yMax: Math.max(...all) / 1000,
      yLabel: 'ms',
      yTick: (y) => y.toFixed(y < 10 ? 1 : 0),
    },
    lines.flatMap(([version, className]) => [
      {
        name: `${version} p50`,
        className: `${className} thin`,
        isStep: false,
        points: (model.latency[version] ?? []).map(({ atMs, p50Us }) => ({ x: atMs, y: p50Us / 1000 })),
      },
      {
        name: `${version} p95`,
        className,
        isStep: false,
        points: (model.latency[version] ?? []).map(({ atMs, p95Us }) => ({ x: atMs, y: p95Us / 1000 })),
      },
    ]),
  );
}

function qualityPart({ golden, migration }: ReportModel): string {
  if (golden.length === 0) return '<p>No golden set was asked.</p>';
  const margin = Math.max(...golden.map((found) => found.margin));
  const plot = intervalPlot(
    `Difference of ${migration.toVersion} to ${migration.fromVersion}; the band is the margin`,
    golden.map((found) => ({
      name: `${found.metric}, ${found.verdict}`,
      low: found.low,
      value: found.difference,
      high: found.high,
      note: `${score(found.baseline)} → ${score(found.candidate)} on ${found.query_count} queries`,
    })),
    margin,
  );
  const rows = golden.map((found) => [
    found.golden_set,
    found.metric,
    score(found.baseline),
    score(found.candidate),
    `${score(found.low)} … ${score(found.high)} (${Math.round(found.confidence * 100)} %)`,
    String(found.query_count),
    `${score(found.judged_at_10.baseline)} / ${score(found.judged_at_10.candidate)}`,
    found.verdict,
  ]);
  const warnings = golden.flatMap((found) => found.warnings);
  return (
    plot +
    table(
      [
        'golden set',
        'metric',
        migration.fromVersion,
        migration.toVersion,
        'difference',
        'queries',
        'judged@10',
        'verdict',
      ],
      rows,
    ) +
    (warnings.length === 0
      ? ''
      : `<ul>${warnings.map((text) => `<li>${escapeXml(text)}</li>`).join('')}</ul>`)
  );
}

const servedTable = ({ versions }: ReportModel): string =>
  table(
    ['version', 'answered', 'failed', 'p50 ms', 'p95 ms', 'p99 ms'],
    versions.map(({ version, answered, failed, p50Us, p95Us, p99Us }) => [
      version,
      String(answered),
      String(failed),
      ...[p50Us, p95Us, p99Us].map(milliseconds),
    ]),
  );

const analysesTable = ({ analyses }: ReportModel): string =>
  table(
    ['step', 'verdict', 'check', 'found'],
    analyses.flatMap(({ step, verdict, findings }) =>
      findings.map((finding) => [step, verdict, `${finding.check}: ${finding.verdict}`, finding.why]),
    ),
  );

function worstPart({ golden, worstReads, migration }: ReportModel): string {
  const { fromVersion, toVersion } = migration;
  const lost = golden.flatMap(({ worst, metric }) =>
    worst.map(({ text, baseline, candidate }) => [text, metric, score(baseline), score(candidate)]),
  );
  const reads = worstReads.map((read) => [
    read.text ?? read.queryHash,
    score(read.rbo),
    read.primaryIds.slice(0, 5).join(', '),
    read.shadowIds.slice(0, 5).join(', '),
  ]);
  return (
    (lost.length === 0
      ? ''
      : `<h3>Of the golden set</h3>${table(['query', 'metric', fromVersion, toVersion], lost)}`) +
    (reads.length === 0
      ? ''
      : `<h3>Of mirrored reads</h3>${table(['query', 'RBO', `first of ${fromVersion}`, `first of ${toVersion}`], reads)}`)
  );
}

const timelineTable = (model: ReportModel): string => table(TIMELINE_HEADER, timelineRows(model));

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join('')}</tr>`;
  return `<div class="wide"><table><thead>${line(header, 'th')}</thead><tbody>${rows.map((row) => line(row, 'td')).join('')}</tbody></table></div>`;
}
