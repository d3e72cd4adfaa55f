import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { COMPARE_DEFAULTS } from '../lifecycle/evaluation/compare.js';
import { QUALITY_METRICS, type QualityMetric } from '../registry/schema.js';

export interface ComparisonOptions {
  readonly metric: QualityMetric;
  readonly margin: number;
  readonly confidence: number;
}

export const addComparisonOptions = (command: Command): Command =>
  command
    .addOption(
      new Option('--metric <name>', 'what is compared')
        .choices(QUALITY_METRICS)
        .default(COMPARE_DEFAULTS.metric),
    )
    .option(
      '--margin <share>',
      'what counts as the same, absolute',
      openShare,
      COMPARE_DEFAULTS.marginAbsolute,
    )
    .option('--confidence <share>', 'of the interval, two-sided', openShare, COMPARE_DEFAULTS.confidence);

export const comparisonInput = ({ metric, margin, confidence }: ComparisonOptions): ComparisonOptions => ({
  metric,
  margin,
  confidence,
});

export const unusedNote = (count: number): string =>
  `${count} queries have no relevant document and are left out`;

/** The base name of files as the name of a golden set. */
export function goldenNameOf(place: string): string {
  const name = path
    .basename(path.resolve(place))
    .toLowerCase()
    .replace(/\.(tsv|jsonl|json|ndjson|txt)$/, '')
    .replaceAll(/[^a-z0-9_-]+/g, '-')
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
    .slice(0, 64);
  return name === '' ? 'golden' : name;
}

function openShare(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < 1)) throw new InvalidArgumentError('must be a number above 0 and below 1.');
  return value;
}
