import type { Command } from 'commander';
import type { ComparisonView, PairView } from '../../gateway/admin/comparison-views.js';
import type { RouteView } from '../../gateway/admin/views.js';
import { withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput } from '../options.js';
import { table } from '../output.js';
import { type Printed, printedCommand } from '../printed-command.js';
import { percent, routeWords } from '../route-plan.js';

const WORST_SHOWN = 5;
const SHOWN = [
  'overlap',
  'jaccard',
  'rbo',
  'shadow_underfill',
  'primary_score_median',
  'shadow_score_median',
  'service_delta_us',
] as const;

export function addComparisonCommands(program: Command): void {
  program
    .command('comparison')
    .description('what mirrors found')
    .command('show')
    .description('how far the answers of shadows are from those that were served, from a running gateway')
    .argument('<corpus>', 'name of the corpus')
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const printed = printedCommand(options);
      const { view, route } = await withAdmin(options, async (admin) => {
        const found = await admin.getComparison({ corpus });
        return { view: found, route: isEmpty(found) ? await admin.getRoute({ corpus }) : null };
      });
      commandOutput(options).answer(view, (comparison) =>
        route === null ? formatComparison(comparison, printed) : formatNothing(comparison, route, printed),
      );
    });
}

const isEmpty = ({ pairs, noise_floor }: ComparisonView): boolean => pairs.length + noise_floor.length === 0;

/** Why there is nothing to see, and what to do about it. */
function formatNothing({ corpus, gateway_id }: ComparisonView, route: RouteView, printed: Printed): string {
  const head = `nothing of ${corpus} was compared yet by ${gateway_id}`;
  const mirrored = route.targets.filter(({ mirror_bps }) => mirror_bps > 0);
  if (mirrored.length === 0)
    return `${head}; mirror reads to a shadow:\n  ${printed(`route set ${corpus} ${routeWords(route).join(' ')} --mirror <version>=1000 --reason "compare"`)}`;
  const shadows = mirrored.map((target) => `${target.version} (${percent(target.mirror_bps)})`).join(', ');
  return [
    `${head}, though reads are mirrored to ${shadows}: it takes reads, each replica counts its own, and`,
    '`switchyard_mirrors_total` in its /metrics says what became of them',
  ].join('\n');
}

function formatComparison({ corpus, pairs, noise_floor }: ComparisonView, printed: Printed): string {
  return [
    ...pairs.map((pair) => formatPair(pair, 'candidate')),
    ...(noise_floor.length === 0
      ? [
          `noise floor: not measured. How far apart two builds of the same embeddings are by chance alone, a second build shows:\n  ${printed(`corpus build ${corpus} --from-version ${pairs[0]?.primary.version ?? '<version>'} --shuffle 1`)}`,
        ]
      : noise_floor.map((pair) => formatPair(pair, 'noise floor'))),
    'overlap measures change, not quality: a better model changes answers too',
  ].join('\n\n');
}

function formatPair(pair: PairView, kind: string): string {
  const { primary, shadow, compared, top1_match_share, worst } = pair;
  const head = `${kind}: ${primary.version} (${primary.build}, ${primary.model}) against ${shadow.version} (${shadow.build}, ${shadow.model}): ${compared} answers compared`;
  if (compared === 0) return `${head} since this gateway began; ${worst.length} worst queries are kept`;
  const rows = SHOWN.flatMap((measure) => {
    const distribution = pair.distributions[measure];
    if (distribution === undefined || distribution.mean === null) return [];
    const { mean, min, max } = distribution;
    return [[measure, number(mean), number(min), number(max)]];
  });
  const worstRows = worst
    .slice(0, WORST_SHOWN)
    .map((query) => [
      query.query_hash.slice(0, 12),
      number(query.rbo),
      number(query.overlap),
      query.text ?? '',
    ]);
  return [
    head,
    `same first document: ${top1_match_share === null ? '-' : `${(top1_match_share * 100).toFixed(1)} %`}`,
    table(['measure', 'mean', 'min', 'max'], rows),
    ...(worstRows.length === 0 ? [] : ['', table(['worst queries', 'rbo', 'overlap', ''], worstRows)]),
  ].join('\n');
}

const number = (value: number | null): string =>
  value === null ? '-' : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3);
