import { type Command, Option } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { AdminApi } from '../../gateway/admin/api.js';
import { LIST_LIMIT_MAX } from '../../gateway/admin/callers.js';
import type { TargetChange } from '../../gateway/admin/router-operations.js';
import type { DesiredTargetView, RevisionView, RouteView } from '../../gateway/admin/views.js';
import { TIERS, type Tier } from '../../vocabulary.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput, positiveInteger, wholeNumber } from '../options.js';
import { preload, untilReady } from '../preload.js';
import { printedCommand } from '../printed-command.js';
import { planTargets } from '../route-plan.js';
import { formatChange, formatHistory, formatRoute } from '../route-text.js';
import { routeThresholdWarnings } from '../threshold-warnings.js';

const HISTORY_LIMIT = 20;
const WAIT_S = 120;

interface SetOptions extends ChangeOptions {
  readonly mirror: readonly string[];
  readonly shadow: readonly string[];
  readonly draining: readonly string[];
  readonly tier: readonly string[];
  readonly ifRevision?: number;
  readonly force?: boolean;
  readonly preload?: boolean;
  readonly wait: number;
}

interface RollbackOptions extends ChangeOptions {
  readonly to?: number;
  readonly ifRevision?: number;
  readonly force?: boolean;
  readonly preload?: boolean;
  readonly wait: number;
}

interface HistoryOptions extends CommonOptions {
  readonly limit: number;
  readonly before?: number;
}

interface PreloadOptions extends ChangeOptions {
  readonly build?: string;
  readonly tier: Tier;
  readonly wait?: number;
  readonly release?: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

export function addRouteCommands(program: Command): void {
  const route = program.command('route').description('which corpus versions serve a corpus, and how much');
  addShow(route);
  addSet(route);
  addRollback(route);
  addHistory(route);
  addPreload(route);
}

function addShow(route: Command): void {
  route
    .command('show')
    .description('targets, revision, and which replicas lag')
    .argument('[corpus]', 'name of the corpus (default: all)')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const output = commandOutput(options);
      if (corpus !== undefined)
        output.answer(await withAdmin(options, (admin) => admin.getRoute({ corpus })), formatRoute);
      else
        output.answer(await withAdmin(options, (admin) => admin.listRoutes()), (routes) =>
          routes.length === 0
            ? 'no route yet; build a corpus with `switchyard corpus build`'
            : routes.map(formatRoute).join('\n\n'),
        );
    });
}

function addSet(route: Command): void {
  addChangeOptions(
    route
      .command('set')
      .description('replace the targets of a route: what is not named leaves it')
      .argument('<corpus>', 'name of the corpus')
      .argument('[targets...]', 'active targets: <version>[:<build>]=<basis points>, sum 10000'),
  )
    .option('--mirror <version=bps>', 'shadow that gets this share of reads', collect, [])
    .option('--shadow <version>', 'shadow; its mirrored share stays as it is', collect, [])
    .option('--draining <version>', 'serves only pins and raw vectors', collect, [])
    .option('--tier <version=tier>', `${TIERS.join(' or ')} (default: as it is, else ssd)`, collect, [])
    .option(
      '--if-revision <n>',
      'only if the route is at this revision; 0: only if there is none',
      wholeNumber,
    )
    .option('--preload', 'have every replica load what gets weight first, and wait for it')
    .option('--wait <s>', 'how long --preload waits', positiveInteger, WAIT_S)
    .option(
      '--force',
      'wait for no replica that has not loaded a target, and do not ask for room in tier dram',
    )
    .action(async (corpus: string, words: string[], _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<SetOptions>();
      const output = commandOutput(options);
      const result = await withAdmin(options, (admin) => setRoute(admin, corpus, words, options, output.say));
      output.answer(result, ({ before, route: after }) =>
        formatChange(before, after, printedCommand(options)),
      );
    });
}

async function setRoute(
  admin: AdminApi,
  corpus: string,
  active: readonly string[],
  options: SetOptions,
  say: (line: string) => void,
): Promise<{ readonly before: RouteView | null; readonly route: RouteView }> {
  const { reason, actor, force = false } = options;
  const before = await findRoute(admin, corpus);
  const targets = planTargets({ ...options, active }, before);
  const expected_revision = options.ifRevision ?? before?.revision ?? 0;
  const change = () => admin.updateRoute({ corpus, expected_revision, targets, reason, actor, force });
  const route = await loadedFirst({ admin, corpus, before, targets, options, say }, change);
  for (const warning of await routeThresholdWarnings(admin, corpus, before, route))
    say(`warning: ${warning}`);
  return { before, route };
}

interface Loading {
  readonly admin: AdminApi;
  readonly corpus: string;
  readonly before: RouteView | null;
  readonly targets: readonly TargetChange[];
  readonly options: ChangeOptions & { readonly preload?: boolean; readonly wait: number };
  readonly say: (line: string) => void;
}

/** The change, once every replica holds what it gives weight to; where that was not asked for, at once. */
async function loadedFirst(
  { admin, corpus, before, targets, options, say }: Loading,
  change: () => Promise<RouteView>,
): Promise<RouteView> {
  const { reason, actor } = options;
  const held: DesiredTargetView[] = [];
  if (options.preload === true)
    for (const { version, build, tier, weight } of targets) {
      if (
        weight === 0 ||
        before?.targets.some((known) => known.build === build && known.tier === tier && known.weight > 0)
      )
        continue;
      const name = { corpus, version, ...(build === undefined ? {} : { build }) };
      const desired = await preload(admin, { ...name, tier, reason, actor });
      say(`loading ${version} on every replica`);
      held.push(await untilReady(admin, desired, options.wait * 1000));
    }
  const route = await change();
  // The route holds them now.
  for (const { version, build } of held)
    await admin.removeDesiredTarget({ corpus, version, build, reason: 'routed', actor });
  return route;
}

function addRollback(route: Command): void {
  addChangeOptions(
    route
      .command('rollback')
      .description('bring the targets of an earlier revision back, as a new revision')
      .argument('<corpus>', 'name of the corpus'),
  )
    .option('--to <revision>', 'which one (default: the one before what serves now)', positiveInteger)
    .option('--if-revision <n>', 'only if the route is at this revision', positiveInteger)
    .option('--preload', 'have every replica load what gets weight first, and wait for it')
    .option('--wait <s>', 'how long --preload waits', positiveInteger, WAIT_S)
    .option(
      '--force',
      'wait for no replica that has not loaded a target, and do not ask for room in tier dram',
    )
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<RollbackOptions>();
      const { reason, actor, force = false } = options;
      const output = commandOutput(options);
      const result = await withAdmin(options, async (admin) => {
        const before = await admin.getRoute({ corpus });
        const to_revision = options.to ?? (await revisionBefore(admin, before));
        const expected_revision = options.ifRevision ?? before.revision;
        const change = { corpus, expected_revision, to_revision, reason, actor, force };
        const targets = options.preload === true ? await targetsAt(admin, before, to_revision) : [];
        const route = await loadedFirst({ admin, corpus, before, targets, options, say: output.say }, () =>
          admin.rollbackRoute(change),
        );
        return { before, route };
      });
      output.answer(result, ({ before, route: after }) =>
        formatChange(before, after, printedCommand(options)),
      );
    });
}

/**
 * The revision before the one whose targets serve now. After a rollback that is the one before what it brought back:
 * a second rollback in a hurry goes further back, and never forth to what was just left.
 */
async function revisionBefore(admin: AdminApi, route: RouteView): Promise<number> {
  const { corpus } = route;
  let serving = route.revision;
  for (;;) {
    const source = (await revisionOf(admin, route, serving))?.rolled_back_to ?? null;
    if (source === null) break;
    serving = source;
  }
  if (serving > 1) return serving - 1;
  throw new SwitchyardError(
    'UNKNOWN_REVISION',
    `the targets of ${corpus} are those of its first revision: there is none before it; --to names another`,
  );
}

/** What a rollback brings back; empty for a revision that there is not, which the rollback itself refuses. */
const targetsAt = async (
  admin: AdminApi,
  route: RouteView,
  wanted: number,
): Promise<readonly TargetChange[]> => (await revisionOf(admin, route, wanted))?.after ?? [];

/** One revision, however long ago it was. */
async function revisionOf(
  admin: AdminApi,
  { corpus, revision }: RouteView,
  wanted: number,
): Promise<RevisionView | null> {
  const back = revision - wanted + 1;
  if (back < 1) return null;
  // A rollback must work at a gateway that is older than this program too, which knows no `before`.
  const page = back <= LIST_LIMIT_MAX ? { limit: back } : { limit: 1, before: wanted + 1 };
  const found = (await admin.listRouteRevisions({ corpus, ...page })).at(-1);
  return found?.revision === wanted ? found : null;
}

function addHistory(route: Command): void {
  route
    .command('history')
    .description('who changed a route, when, why, and what')
    .argument('<corpus>', 'name of the corpus')
    .option('--limit <n>', 'how many, latest first', positiveInteger, HISTORY_LIMIT)
    .option('--before <revision>', 'only what came before this revision', positiveInteger)
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<HistoryOptions>();
      const { limit, before } = options;
      const revisions = await withAdmin(options, (admin) =>
        admin.listRouteRevisions({ corpus, limit, ...(before === undefined ? {} : { before }) }),
      );
      const printed = printedCommand(options);
      commandOutput(options).answer(revisions, (rows) =>
        formatHistory(rows, (from) => printed(`route history ${corpus} --limit ${limit} --before ${from}`)),
      );
    });
}

function addPreload(route: Command): void {
  addChangeOptions(
    route
      .command('preload')
      .description('have every replica load a corpus version before it gets weight')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version'),
  )
    .option('--build <digest>', 'which build (default: the default one)')
    .addOption(new Option('--tier <tier>', 'where it is served from').choices([...TIERS]).default('ssd'))
    .option('--wait <s>', 'wait until every live replica holds it', positiveInteger)
    .option('--release', 'hold it no longer, unless a route needs it')
    .action(async (corpus: string, version: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<PreloadOptions>();
      const { reason, actor, tier, build, wait } = options;
      const name = { corpus, version, reason, actor, ...(build === undefined ? {} : { build }) };
      const desired = await withAdmin(options, async (admin) => {
        if (options.release === true) {
          await admin.removeDesiredTarget(name);
          return admin.listDesiredTargets({ corpus });
        }
        const added = await preload(admin, { ...name, tier });
        return [wait === undefined ? added : await untilReady(admin, added, wait * 1000)];
      });
      commandOutput(options).answer(desired, formatDesired);
    });
}

function formatDesired(desired: readonly DesiredTargetView[]): string {
  if (desired.length === 0) return 'nothing is held beside the route';
  return desired
    .map(({ version, build, ready, waiting }) =>
      ready.length + waiting.length === 0
        ? `${version} (build ${build}): no gateway runs; each loads it when it starts`
        : `${version} (build ${build}): ready on ${ready.join(', ') || 'none'}${waiting.length > 0 ? `, still loading on ${waiting.join(', ')}` : ''}`,
    )
    .join('\n');
}

/** Null for a corpus that has versions and no route yet. */
async function findRoute(admin: AdminApi, corpus: string): Promise<RouteView | null> {
  const route = (await admin.listRoutes()).find((known) => known.corpus === corpus);
  return route ?? null;
}
