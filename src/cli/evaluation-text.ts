import type { EvaluationComparisonView, EvaluationView } from '../gateway/admin/evaluation-views.js';
import { table } from './output.js';

const figure = (value: number): string => value.toFixed(3);
const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;

/** Versions under each other, judged@10 always among the figures. */
export function formatEvaluations(evaluations: readonly EvaluationView[]): string {
  const [first] = evaluations;
  if (first === undefined)
    return 'no evaluation yet; run one with `switchyard eval <corpus> --golden … --versions …`';
  return table(
    [
      'version',
      'build',
      'model',
      'golden set',
      'queries',
      `recall@${same(evaluations.map(({ k }) => k))}`,
      'MRR@10',
      `nDCG@10 (${same(evaluations.map(({ gain }) => gain))})`,
      `MAP@${same(evaluations.map(({ depth }) => depth))}`,
      'judged@10',
    ],
    evaluations.map((view) => [
      `${view.corpus}/${view.version}`,
      view.build,
      view.model,
      `${view.golden_set}@${view.golden_set_number}`,
      String(view.queries),
      figure(view.means.recall),
      figure(view.means.mrr),
      figure(view.means.ndcg),
      figure(view.means.map),
      figure(view.means.judged),
    ]),
  );
}

const same = (values: readonly (string | number)[]): string =>
  values.every((value) => value === values[0]) ? String(values[0]) : '*';

const NAMES = {
  recall: 'recall@k',
  mrr: 'MRR@10',
  ndcg: 'nDCG@10',
  map: 'MAP',
  judged: 'judged@10',
} as const;

export function formatComparison(
  { baseline, candidate }: { readonly baseline: string; readonly candidate: string },
  view: EvaluationComparisonView,
): string {
  const percent = `${Number((view.confidence * 100).toFixed(2))} %`;
  const lines = [
    `${candidate} against ${baseline}: ${view.verdict.toUpperCase()}`,
    `  ${NAMES[view.metric]} ${figure(view.baseline)} → ${figure(view.candidate)}, difference ${signed(view.difference)}, ${percent} interval ${signed(view.low)} … ${signed(view.high)}, margin ±${view.margin} absolute`,
    `  ${view.queries} queries: ${view.wins} better, ${view.ties} alike, ${view.losses} worse; paired SD ${figure(view.paired_sd)}; judged@10 ${figure(view.judged_at_10_baseline)} → ${figure(view.judged_at_10_candidate)}`,
  ];
  if (view.verdict === 'underpowered') lines.push(`  ${whatIsNeeded(view)}`);
  for (const warning of view.warnings) lines.push(`  warning: ${warning}`);
  return lines.join('\n');
}

function whatIsNeeded(view: EvaluationComparisonView): string {
  const { queries, queries_needed: needed, queries_needed_for_equivalence: neededForEquivalence } = view;
  if (queries < needed)
    return `${needed} queries would show a loss of ${view.margin} with 80 % power, ${neededForEquivalence} that there is none`;
  if (queries < neededForEquivalence)
    return `a loss of ${view.margin} would have shown; ${neededForEquivalence} queries would show that there is none`;
  return 'the difference is close to the margin: more queries, or a margin of your choice, decide';
}
