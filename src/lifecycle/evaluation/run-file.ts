import { SwitchyardError } from '../../errors.js';
import type { RankedHits } from './evaluate.js';

/**
 * A TREC run: query, `Q0`, document, rank from 1, score, tag; queries in the order given. Larger scores are better.
 * Errors: INVALID_ARGUMENT for an id with blanks, which the form cannot carry.
 */
export function trecRun(ranked: ReadonlyMap<string, RankedHits>, tag: string): string {
  const lines: string[] = [];
  for (const [queryId, hits] of ranked)
    for (const [at, { id, score }] of hits.entries())
      lines.push(`${column(queryId)} Q0 ${column(id)} ${at + 1} ${score} ${column(tag)}\n`);
  return lines.join('');
}

function column(text: string): string {
  if (!/\s/.test(text)) return text;
  throw new SwitchyardError(
    'INVALID_ARGUMENT',
    `${JSON.stringify(text.slice(0, 64))} has blanks, and a TREC run has its columns by blanks: rename it, or leave --run-out away`,
  );
}
