import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { AdminApi } from '../../gateway/admin/api.js';
import type { MigrationView } from '../../gateway/admin/migration-views.js';
import { DEFAULT_PLAN } from '../../lifecycle/migration/plan.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import type { DriveOptions } from '../migration-drive.js';
import { formatEvents, formatMigration, formatMigrations } from '../migration-text.js';
import { type CommonOptions, commandConfig, commandLog, commandOutput } from '../options.js';
import type { Output } from '../output.js';
import { untilStopped } from '../until-stopped.js';

const FOLLOW_MS = 500;

interface StartOptions extends ChangeOptions {
  readonly to: string;
  readonly plan?: string;
  readonly follow?: boolean;
}

interface EarlierOptions extends CommonOptions {
  readonly id?: string;
}

interface ReportOptions extends EarlierOptions {
  readonly html?: string;
  readonly markdown?: string;
}

export function addMigrateCommands(program: Command): void {
  const migrate = program
    .command('migrate')
    .description('move a corpus from one version to another: measured, gated, resumable, reversible');
  addStart(migrate);
  addStatus(migrate);
  addRun(migrate);
  addCommand(
    migrate,
    'promote',
    'go on past a confirmation, a pause, or an Inconclusive analysis',
    (admin, given) => admin.promoteMigration(given),
  );
  addCommand(migrate, 'pause', 'stop where it is; traffic stays as it is', (admin, given) =>
    admin.pauseMigration(given),
  );
  addCommand(
    migrate,
    'resume',
    'do the step again that was paused, broke, or lost its route',
    (admin, given) => admin.resumeMigration(given),
  );
  addCommand(
    migrate,
    'abort',
    'end it: the old version has all traffic again, at once; behind complete it only stops the retirement of the old version, and the new one goes on serving: then rollback goes back',
    (admin, given) => admin.abortMigration(given),
  );
  addCommand(migrate, 'rollback', 'as abort, and also after it completed', (admin, given) =>
    admin.rollbackMigration(given),
  );
  addReading(migrate);
}

function addStart(migrate: Command): void {
  addChangeOptions(
    migrate
      .command('start')
      .description('begin to migrate a corpus; a gateway drives it from here on')
      .argument('<corpus>', 'name of the corpus')
      .requiredOption('--to <version>', 'the new version'),
  )
    .option('--plan <file>', 'the plan, YAML or JSON (default: as `migrate plan` prints it)')
    .option('--follow', 'stay until it ends or waits for a person; Ctrl-C leaves it running')
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<StartOptions>();
      const { to, reason, actor } = options;
      const output = commandOutput(options);
      const plan = options.plan === undefined ? undefined : await readPlanFile(options.plan);
      const view = await withAdmin(options, async (admin) => {
        const started = await admin.startMigration({
          corpus,
          to_version: to,
          reason,
          actor,
          ...(plan === undefined ? {} : { plan }),
        });
        return options.follow === true ? follow(admin, started, output) : started;
      });
      output.answer(view, formatMigration);
    });
}

/** Errors: INVALID_INPUT_FILE. */
async function readPlanFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new SwitchyardError('INVALID_INPUT_FILE', `the plan ${file} cannot be read (${code})`);
  }
}

async function follow(admin: AdminApi, started: MigrationView, output: Output): Promise<MigrationView> {
  const { corpus, migration_id } = started;
  for (let view = started, said = ''; ; ) {
    said = sayWhere(view, said, output);
    if (view.finished_at !== null || view.state === 'paused') return view;
    await sleep(FOLLOW_MS);
    view = await admin.getMigration({ corpus, migration_id });
  }
}

/** A line when it is somewhere else than `said`, which it returns. */
function sayWhere(view: MigrationView, said: string, output: Output): string {
  const line = `${view.state}: ${view.step === null ? 'done' : `step ${view.step} of ${view.steps.length}, ${view.steps[view.step - 1]?.name}`}, ${view.to_version} ${view.weight / 100} %`;
  if (line !== said) output.say(line);
  return line;
}

function addRun(migrate: Command): void {
  migrate
    .command('run')
    .description(
      'drive the migration of a corpus from here, where no gateway does; ends when it ends or waits for a person. Ctrl-C leaves it to whoever drives next',
    )
    .argument('<corpus>', 'name of the corpus')
    .option('--url <url>', 'a gateway for golden queries (default: listen.http of the configuration)')
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<DriveOptions>();
      const output = commandOutput(options);
      const config = commandConfig(options);
      const stopped = untilStopped();
      const [{ MigrationHandlers }, { documentsBehind }, { withRegistry }, { driveFromHere }] =
        await Promise.all([
          import('../../gateway/admin/migration-handlers.js'),
          import('../../lifecycle/migration/standard-ports.js'),
          import('../registry-session.js'),
          import('../migration-drive.js'),
        ]);
      const view = await withRegistry(config, commandLog(config), async (registry) => {
        // Who drives knows what a gateway would.
        const facts = {
          progressOf: () => null,
          sourceLag: documentsBehind(config.varDir),
          hasArchive: config.archive.uri !== null,
          routePollMs: config.router.pollIntervalMs,
        };
        const migrations = new MigrationHandlers({ registry: () => registry, facts });
        const { migration_id } = await migrations.get({ corpus });
        let said = '';
        const read = async (): Promise<MigrationView> => {
          const seen = await migrations.get({ corpus, migration_id });
          said = sayWhere(seen, said, output);
          return seen;
        };
        return driveFromHere(registry, corpus, options, { read, isStopped: () => stopped.isAsked });
      });
      stopped.release();
      output.answer(view, formatMigration);
    });
}

function addStatus(migrate: Command): void {
  migrate
    .command('status')
    .description('where a migration is, what it waits for, how long it and a way back take')
    .argument('[corpus]', 'name of the corpus (default: every migration that is not finished)')
    .option('--id <migration>', 'an earlier one, as `migrate list` shows it')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<EarlierOptions>();
      const output = commandOutput(options);
      if (corpus !== undefined)
        output.answer(
          await withAdmin(options, (admin) => admin.getMigration({ corpus, ...earlier(options) })),
          formatMigration,
        );
      else
        output.answer(
          (await withAdmin(options, (admin) => admin.listMigrations())).filter(
            ({ finished_at }) => finished_at === null,
          ),
          (views) => (views.length === 0 ? 'nothing migrates' : views.map(formatMigration).join('\n\n')),
        );
    });
}

function addCommand(
  migrate: Command,
  name: string,
  description: string,
  operation: (admin: AdminApi, given: Parameters<AdminApi['promoteMigration']>[0]) => Promise<MigrationView>,
): void {
  addChangeOptions(
    migrate.command(name).description(description).argument('<corpus>', 'name of the corpus'),
  ).action(async (corpus: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const view = await withAdmin(options, async (admin, registry) => {
      const commanded = await operation(admin, { corpus, reason, actor });
      const isReturn = commanded.state === 'aborted' || commanded.state === 'rolled_back';
      if (registry === null || !isReturn || commanded.finished_at !== null) return commanded;
      // No gateway was asked: who gave the command sees it to its end.
      const { migration_id } = commanded;
      const { driveFromHere } = await import('../migration-drive.js');
      return driveFromHere(registry, corpus, options, {
        read: () => admin.getMigration({ corpus, migration_id }),
        isStopped: () => false,
      });
    });
    commandOutput(options).answer(view, formatMigration);
  });
}

function addReading(migrate: Command): void {
  migrate
    .command('list')
    .description('migrations, latest first')
    .argument('[corpus]', 'of this corpus only')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const views = await withAdmin(options, (admin) =>
        admin.listMigrations(corpus === undefined ? {} : { corpus }),
      );
      commandOutput(options).answer(views, formatMigrations);
    });

  migrate
    .command('history')
    .description('everything that happened in a migration; with --json also what was found')
    .argument('<corpus>', 'name of the corpus')
    .option('--id <migration>', 'an earlier one')
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<EarlierOptions>();
      const events = await withAdmin(options, (admin) =>
        admin.listMigrationEvents({ corpus, ...earlier(options) }),
      );
      commandOutput(options).answer(events, formatEvents);
    });

  migrate
    .command('report')
    .description('what a migration did and found: Markdown, or HTML with plots')
    .argument('<corpus>', 'name of the corpus')
    .option('--id <migration>', 'an earlier one')
    .option('--html <file>', 'write the page there')
    .option('--markdown <file>', 'write the text there')
    .action(async (corpus: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<ReportOptions>();
      const output = commandOutput(options);
      const report = await withAdmin(options, (admin) =>
        admin.getMigrationReport({ corpus, ...earlier(options) }),
      );
      if (options.html !== undefined) await writeFile(options.html, report.html);
      if (options.markdown !== undefined) await writeFile(options.markdown, report.markdown);
      output.answer(report, ({ markdown }) => markdown);
    });

  migrate
    .command('plan')
    .description('the default plan, to be changed and given to `migrate start --plan`')
    .action((_options: unknown, command: Command) => {
      commandOutput(command.optsWithGlobals<CommonOptions>()).answer(DEFAULT_PLAN, planText);
    });
}

const earlier = ({ id }: EarlierOptions) => (id === undefined ? {} : { migration_id: id });

/** JSON is YAML too; one step a line reads best. */
const planText = ({ steps }: typeof DEFAULT_PLAN): string =>
  [
    'steps:',
    ...steps.map((step) => `  - ${JSON.stringify(step).replaceAll('":', '": ').replaceAll(',"', ', "')}`),
  ].join('\n');
