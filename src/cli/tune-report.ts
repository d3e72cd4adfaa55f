import type { TuneRow } from '../index/tune/tune-protocol.js';
import type { CorpusTuneResult } from '../lifecycle/corpus-tune.js';
import { table } from './output.js';
import type { Printed } from './printed-command.js';

const DEFAULT_EXPANSION = 128;

export const formatOfRow = ({
  quantization,
  dimensions,
}: Pick<TuneRow, 'quantization' | 'dimensions'>): string => `${quantization}@${dimensions}`;

export interface Recommendation {
  /** Least time per query. */
  readonly fastest: TuneRow;
  /** Least memory in tier dram. */
  readonly smallest_dram: TuneRow;
  /** Least index bytes, which is what tier ssd maps. */
  readonly smallest_index: TuneRow;
}

/** Among what reaches the recall; null when nothing does. */
export function recommend(rows: readonly TuneRow[], recall: number): Recommendation | null {
  const enough = rows.filter(({ recallAt10 }) => recallAt10 >= recall);
  const least = (of: (row: TuneRow) => number): TuneRow | undefined =>
    [...enough].sort((a, b) => of(a) - of(b) || a.p50Us - b.p50Us)[0];
  const [fastest, smallest_dram, smallest_index] = [
    least(({ p50Us }) => p50Us),
    least(({ dramBytesPerRow }) => dramBytesPerRow),
    least(({ indexBytesPerRow }) => indexBytesPerRow),
  ];
  if (fastest === undefined || smallest_dram === undefined || smallest_index === undefined) return null;
  return { fastest, smallest_dram, smallest_index };
}

/** What a person reads: the table, what was left out, and what to do. */
export function formatTune(result: CorpusTuneResult, recall: number, printed: Printed): string {
  const { rows, rowCount, queryCount, leftOut, isInterrupted, bundle } = result;
  const { manifest } = bundle;
  const lines = [
    table(
      [
        'format',
        'rescored',
        'expansion',
        'recall@10',
        'p50_us',
        'p99_us',
        'index_B/row',
        'dram_B/row',
        'build_s',
      ],
      rows.map((row) => [
        formatOfRow(row),
        row.rescored ? 'yes' : 'no',
        row.expansionSearch,
        row.recallAt10.toFixed(4),
        Math.round(row.p50Us),
        Math.round(row.p99Us),
        Math.round(row.indexBytesPerRow),
        Math.round(row.dramBytesPerRow),
        (row.buildMs / 1e3).toFixed(1),
      ]),
    ),
    ...leftOut.map(({ format, why }) => `${formatOfRow(format)} left out: ${why}`),
    `${rowCount} of ${manifest.row_count} rows, ${queryCount} queries, one thread, everything in memory`,
  ];
  if (rowCount < manifest.row_count)
    lines.push('with all rows searches are slower and recall is lower: --rows-max measures more of them');
  if (isInterrupted)
    return [...lines, 'interrupted: what is above was measured, the rest was not'].join('\n');
  const found = recommend(rows, recall);
  if (found === null) {
    const best = [...rows].sort((a, b) => b.recallAt10 - a.recallAt10)[0];
    lines.push(
      `nothing reaches recall@10 ${recall}${best === undefined ? '' : `; the best is ${formatOfRow(best)} with expansion ${best.expansionSearch}: ${best.recallAt10.toFixed(4)}`}. Try a larger --expansions`,
    );
    return lines.join('\n');
  }
  const build = (row: TuneRow): string =>
    printed(
      [
        `corpus build ${manifest.corpus} --from-version ${manifest.version} --quantization ${row.quantization}`,
        ...(row.dimensions === manifest.full_dimensions ? [] : [`--dimensions ${row.dimensions}`]),
        ...(row.expansionSearch === DEFAULT_EXPANSION ? [] : [`--expansion-search ${row.expansionSearch}`]),
      ].join(' '),
    );
  const line = (what: string, row: TuneRow): string =>
    `${what}: ${formatOfRow(row)}, expansion ${row.expansionSearch}\n  ${build(row)}`;
  return [
    ...lines,
    `for recall@10 of ${recall} or more`,
    line('fastest', found.fastest),
    line('least memory in tier dram', found.smallest_dram),
    line('smallest index, for tier ssd', found.smallest_index),
  ].join('\n');
}
