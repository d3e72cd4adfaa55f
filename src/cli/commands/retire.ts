import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { AdminApi } from '../../gateway/admin/api.js';
import type { RetirementView } from '../../gateway/admin/archive-views.js';
import { addActorOption, withAdmin } from '../admin-session.js';
import { adminVersionRecords } from '../admin-version-records.js';
import { commandConfig, commandOutput, wholeNumber } from '../options.js';
import type { Output } from '../output.js';
import { type ArchiveOptions, withParts } from './archive.js';

interface RetireOptions extends ArchiveOptions {
  readonly check?: boolean;
  readonly status?: boolean;
  readonly cancel?: boolean;
  readonly quietDays?: number;
}

interface Name {
  readonly corpus: string;
  readonly version: string;
}

const FOLLOW_MS = 300;

export function addRetire(corpus: Command): void {
  addActorOption(
    corpus
      .command('retire')
      .description(
        'take a version out of service for good: drain, archive, verify the archive, delete the serving copy. A running gateway does it, and goes on when this ends',
      )
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version')
      .option(
        '--to <place>',
        'a folder or s3://bucket/prefix, written to by this command itself (default: archive.uri of the gateway)',
      )
      .option('--quiet-days <n>', 'days without a request (default: retire.quiet_days)', wholeNumber)
      .option('--check', 'only say what stands against it')
      .option('--status', 'only say how far a gateway is with it')
      .option('--cancel', 'stop a gateway that is at it')
      .option('--reason <text>', 'why; kept in the audit; needed without --check and --status'),
  ).action(async (name: string, version: string, _options: unknown, command: Command) => {
    const given = command.optsWithGlobals<Omit<RetireOptions, 'reason'> & { readonly reason?: string }>();
    const isLook = given.check === true || given.status === true;
    if (given.reason === undefined && !isLook)
      throw new SwitchyardError(
        'INVALID_ARGUMENT',
        'say why with --reason <text>, or only look with --check or --status',
      );
    const options: RetireOptions = { ...given, reason: given.reason ?? 'a look' };
    const of = { corpus: name, version };
    if (options.check === true) await check(of, options);
    else if (options.status === true || options.cancel === true) await statusOrCancel(of, options);
    else await retire(of, options);
  });
}

const quietDaysOf = (options: RetireOptions): number =>
  options.quietDays ?? commandConfig(options).retire.quietDays;

async function check(of: Name, options: RetireOptions): Promise<void> {
  const { retirementBlockers } = await import('../../lifecycle/retire/blockers.js');
  const blockers = await withAdmin(options, (admin) =>
    retirementBlockers(of, quietDaysOf(options), adminVersionRecords(admin, options)),
  );
  commandOutput(options).answer(blockers, (found) =>
    found.length === 0
      ? `nothing stands against retiring ${of.corpus}/${of.version}`
      : found.map(({ message }) => message).join('\n'),
  );
}

async function statusOrCancel(of: Name, options: RetireOptions): Promise<void> {
  const { actor, reason, cancel } = options;
  const view = await withAdmin(options, (admin) =>
    cancel === true ? admin.cancelRetirement({ ...of, actor, reason }) : admin.getRetirement(of),
  );
  commandOutput(options).answer(view, formatRetirement);
}

/** By the gateway that answers; with `--to`, or where none runs, by this command. */
async function retire(of: Name, options: RetireOptions): Promise<void> {
  const output = commandOutput(options);
  const view = await withAdmin(options, async (admin, registry) =>
    registry === null && options.to === undefined ? byGateway(admin, of, options, output) : null,
  );
  if (view !== null) {
    output.answer(view, formatRetirement);
    return;
  }
  const { retireVersion } = await import('../../lifecycle/retire/retire-version.js');
  const archive = await withParts(options, 'archiving', (parts) =>
    retireVersion(
      { ...of, to: options.to ?? null, quietDays: quietDaysOf(options) },
      { ...parts, onStep: (step, detail) => output.say(`${step}: ${detail}`) },
    ),
  );
  output.answer(
    { uri: archive.uri, build: archive.build, deleted_at: archive.deletedAt?.toISOString() ?? null },
    () => `${retired(of)}; its archive is ${archive.uri}. ${comesBack(of)}`,
  );
}

/** Errors: VERSION_IN_USE; STATUS_CONFLICT when it failed or was cancelled. */
async function byGateway(
  admin: AdminApi,
  of: Name,
  { quietDays, actor, reason }: RetireOptions,
  output: Output,
): Promise<RetirementView> {
  const started = await admin.retireCorpusVersion({
    ...of,
    ...{ actor, reason },
    ...(quietDays === undefined ? {} : { quiet_days: quietDays }),
  });
  let said = 0;
  let why: string | null = null;
  for (let view = started; ; view = await admin.getRetirement(of)) {
    for (const { step, detail } of view.steps.slice(said)) output.say(`${step}: ${detail}`);
    said = Math.max(said, view.steps.length);
    if (view.why !== null && view.why !== why) output.say(view.why);
    why = view.why;
    if (view.state === 'completed') return view;
    if (view.state !== 'running')
      throw new SwitchyardError('STATUS_CONFLICT', `the retirement ${view.state}: ${view.why ?? ''}`);
    await sleep(FOLLOW_MS);
  }
}

function formatRetirement(view: RetirementView): string {
  const { state, steps, why, driver, finished_at } = view;
  return [
    state === 'completed'
      ? `${retired(view)}. ${comesBack(view)}`
      : `the retirement of ${view.corpus}/${view.version} is ${state}${why === null ? '' : `: ${why}`}`,
    ...steps.map(({ step, detail, at }) => `  ${at.slice(0, 19)} ${step}: ${detail}`),
    ...(finished_at === null ? [driver === null ? 'no gateway is at it' : `${driver} is at it`] : []),
  ].join('\n');
}

const retired = ({ corpus, version }: Name): string => `${corpus}/${version} is retired`;
const comesBack = ({ corpus, version }: Name): string =>
  `\`switchyard restore ${corpus}/${version}\` brings it back`;
