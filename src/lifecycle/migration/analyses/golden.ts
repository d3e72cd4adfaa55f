import type { GoldenFinding } from '../ports.js';
import type { Finding } from './finding.js';

/** A judgement of quality by people; what cannot tell a loss from none is left to one. */
export function checkGolden(finding: GoldenFinding | null, corpus: string): Finding {
  const found = (verdict: Finding['verdict'], why: string): Finding => ({
    check: 'golden',
    verdict,
    why,
    figures: finding === null ? {} : { ...finding },
  });
  if (finding === null)
    return found(
      'inconclusive',
      `corpus ${corpus} has no golden set to judge by: import one with \`switchyard eval golden import\``,
    );
  const { verdict, metric, baseline, candidate, low, high, query_count, margin } = finding;
  const said = `${metric} ${candidate.toFixed(3)} against ${baseline.toFixed(3)}, difference ${low.toFixed(3)}…${high.toFixed(3)} on ${query_count} queries: ${verdict}`;
  switch (verdict) {
    case 'better':
    case 'equivalent':
      return found('successful', said);
    case 'worse':
      return found('failed', said);
    case 'underpowered':
      return finding.is_non_inferior
        ? found('successful', `${said}, but a loss of ${margin} or more is ruled out`)
        : found(
            'inconclusive',
            `${said}: ${finding.queries_needed} queries are needed to see a loss of ${margin}`,
          );
    default:
      return verdict satisfies never;
  }
}
