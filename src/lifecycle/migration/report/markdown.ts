import { PRUNED, type ReportModel } from './model.js';
import { TIMELINE_HEADER, timelineRows } from './timeline.js';
import { lasted, milliseconds, percent, score, time } from './words.js';

/**
 * One page of Markdown. Texts of others (queries, reasons, ids) are one line each, and neither HTML, nor links, nor images
 * that whoever opens the page would fetch.
 */
export function reportMarkdown(model: ReportModel): string {
  const { migration, timeline } = model;
  const { corpus, fromVersion, toVersion, migrationId } = migration;
  const [first, last] = [timeline[0], timeline.at(-1)];
  const span = first === undefined || last === undefined ? 0 : last.atMs - first.atMs;
  return [
    `# Migration of ${corpus}: ${fromVersion} → ${toVersion}`,
    '',
    `**${cell(model.outcome)}**`,
    '',
    `Migration ${migrationId}, begun ${time(migration.createdAt.getTime())} UTC by ${cell(first?.who ?? '–')}: ${cell(first?.why ?? '–')}. It took ${lasted(span)}.`,
    ...(model.rollbackMs === null
      ? []
      : [
          '',
          `Every live replica served ${fromVersion} again ${Math.round(model.rollbackMs)} ms after the return.`,
        ]),
    ...(model.warnings.length === 0
      ? []
      : [
          '',
          '## Consumers with score thresholds',
          '',
          ...model.warnings.map((warning) => `- ${cell(warning)}`),
        ]),
    '',
    '## Weights',
    '',
    table(
      ['from (UTC)', `weight of ${toVersion}`],
      model.weights.slice(0, -1).map(({ atMs, bps }) => [time(atMs), percent(bps)]),
    ),
    '',
    '## Quality',
    '',
    model.golden.length === 0
      ? 'No golden set was asked.'
      : table(
          ['golden set', 'metric', fromVersion, toVersion, 'difference', 'queries', 'judged@10', 'verdict'],
          model.golden.map((golden) => [
            golden.golden_set,
            golden.metric,
            score(golden.baseline),
            score(golden.candidate),
            `${score(golden.low)} … ${score(golden.high)} (${Math.round(golden.confidence * 100)} %)`,
            String(golden.query_count),
            `${score(golden.judged_at_10.baseline)} / ${score(golden.judged_at_10.candidate)}`,
            golden.verdict,
          ]),
        ),
    ...model.golden.flatMap(({ warnings }) => warnings.map((warning) => `\n> ${cell(warning)}`)),
    '',
    '## Served',
    '',
    model.isPruned
      ? PRUNED
      : table(
          ['version', 'answered', 'failed', 'p50 ms', 'p95 ms', 'p99 ms'],
          model.versions.map((figures) => [
            figures.version,
            String(figures.answered),
            String(figures.failed),
            milliseconds(figures.p50Us),
            milliseconds(figures.p95Us),
            milliseconds(figures.p99Us),
          ]),
        ),
    '',
    '## Analyses',
    '',
    table(
      ['step', 'verdict', 'check', 'found'],
      model.analyses.flatMap(({ step, verdict, findings }) =>
        findings.map((finding) => [step, verdict, `${finding.check}: ${finding.verdict}`, finding.why]),
      ),
    ),
    '',
    '## Worst queries, before and after',
    '',
    ...worst(model),
    '## Everything that happened',
    '',
    table(TIMELINE_HEADER, timelineRows(model)),
    '',
  ].join('\n');
}

function worst({ golden, worstReads, migration }: ReportModel): readonly string[] {
  const { fromVersion, toVersion } = migration;
  const lost = golden.flatMap(({ worst: queries, metric }) =>
    queries.map(({ text, baseline, candidate }) => [text, metric, score(baseline), score(candidate)]),
  );
  const reads = worstReads.map((read) => [
    read.text ?? read.queryHash,
    score(read.rbo),
    read.primaryIds.slice(0, 5).join(' '),
    read.shadowIds.slice(0, 5).join(' '),
  ]);
  if (lost.length + reads.length === 0) return ['None were seen.', ''];
  return [
    ...(lost.length === 0
      ? []
      : [
          'Of the golden set, those that lost most:',
          '',
          table(['query', 'metric', fromVersion, toVersion], lost),
          '',
        ]),
    ...(reads.length === 0
      ? []
      : [
          'Of mirrored reads, those whose answers changed most:',
          '',
          table(['query', 'RBO', `first of ${fromVersion}`, `first of ${toVersion}`], reads),
          '',
        ]),
  ];
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return 'Nothing yet.';
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(header), `|${header.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

const cell = (text: string): string =>
  text
    .replaceAll(/[\\|[\]]/g, '\\$&')
    .replaceAll('<', '&lt;')
    .replaceAll(/\s+/g, ' ')
    .trim();
