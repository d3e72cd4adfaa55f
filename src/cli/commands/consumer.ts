import type { Command } from 'commander';
import type { TrafficView } from '../../gateway/admin/archive-views.js';
import type { ConsumerView } from '../../gateway/admin/views.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput, positiveInteger } from '../options.js';
import { table } from '../output.js';

interface AddOptions extends ChangeOptions {
  readonly team: string;
  readonly deadline?: string;
  readonly scoreThresholds?: boolean;
}

export function addConsumerCommands(program: Command): void {
  const consumer = program.command('consumer').description('services that depend on a corpus version');
  addChangeOptions(
    consumer
      .command('add')
      .description('register a service as depending on a corpus version')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version')
      .argument('<service>', 'name of the service')
      .requiredOption('--team <team>', 'who owns the service')
      .option('--deadline <date>', 'by when it must have migrated, e.g. 2027-01-31')
      .option(
        '--score-thresholds',
        'it compares scores with numbers of its own: warn before another model serves it',
      ),
  ).action(async (corpus: string, version: string, service: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<AddOptions>();
    const { reason, actor, team, deadline, scoreThresholds = false } = options;
    const added = await withAdmin(options, (admin) =>
      admin.addConsumer({
        corpus,
        version,
        service_name: service,
        team_owner: team,
        reason,
        actor,
        uses_score_thresholds: scoreThresholds,
        ...(deadline === undefined ? {} : { migration_deadline: deadline }),
      }),
    );
    commandOutput(options).answer(added, (view) => formatConsumers([view]));
  });

  addChangeOptions(
    consumer
      .command('migrated')
      .description('note that a service has left its corpus version')
      .argument('<consumer-id>', 'as `consumer list` shows it')
      .option('--not', 'it has not after all'),
  ).action(async (consumerId: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions & { readonly not?: boolean }>();
    const { reason, actor } = options;
    const changed = await withAdmin(options, (admin) =>
      admin.setConsumerMigrated({ consumer_id: consumerId, migrated: options.not !== true, reason, actor }),
    );
    commandOutput(options).answer(changed, (view) => formatConsumers([view]));
  });

  consumer
    .command('list')
    .description('registered services, their deadlines, and keys that search and are not registered')
    .argument('[corpus]', 'of this corpus only')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const of = corpus === undefined ? {} : { corpus };
      const listed = await withAdmin(options, async (admin) => ({
        consumers: await admin.listConsumers(of),
        noticed: (await admin.listTraffic(of)).filter(({ registered }) => !registered),
      }));
      commandOutput(options).answer(listed, ({ consumers, noticed }) =>
        [formatConsumers(consumers), ...(noticed.length === 0 ? [] : ['', formatNoticed(noticed)])].join(
          '\n',
        ),
      );
    });

  consumer
    .command('traffic')
    .description('who searched which version, by API key')
    .argument('[corpus]', 'of this corpus only')
    .option('--days <n>', 'whose last request is no older', positiveInteger, 30)
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions & { readonly days: number }>();
      const { days } = options;
      const traffic = await withAdmin(options, (admin) =>
        admin.listTraffic(corpus === undefined ? { days } : { corpus, days }),
      );
      commandOutput(options).answer(traffic, (views) =>
        views.length === 0 ? `nobody searched in the last ${days} days` : formatTraffic(views),
      );
    });
}

const formatNoticed = (noticed: readonly TrafficView[]): string =>
  `noticed by their requests of the last 30 days, and not registered:\n${formatTraffic(noticed)}`;

const formatTraffic = (traffic: readonly TrafficView[]): string =>
  table(
    ['corpus', 'version', 'key', 'kind', 'requests', 'last', 'registered'],
    traffic.map((view) => [
      view.corpus,
      view.version,
      view.key_name === '' ? '(no key)' : view.key_name,
      view.kind,
      view.requests,
      view.last_at.slice(0, 19),
      view.registered ? 'yes' : 'no',
    ]),
  );

const DAY_MS = 86_400_000;

/** The date, and how near it is. */
function formatDeadline({ migration_deadline: at, migrated }: ConsumerView): string {
  if (at === null) return '-';
  const date = at.slice(0, 10);
  if (migrated) return date;
  const days = Math.ceil((new Date(at).getTime() - Date.now()) / DAY_MS);
  return days <= 0 ? `${date} (overdue)` : `${date} (${days} d)`;
}

function formatConsumers(consumers: readonly ConsumerView[]): string {
  if (consumers.length === 0) return 'no consumer yet; add one with `switchyard consumer add`';
  return table(
    ['corpus', 'version', 'service', 'team', 'deadline', 'migrated', 'score thresholds', 'consumer id'],
    consumers.map((view) => [
      view.corpus,
      view.version,
      view.service_name,
      view.team_owner,
      formatDeadline(view),
      view.migrated ? 'yes' : 'no',
      view.uses_score_thresholds ? 'yes' : 'no',
      view.consumer_id,
    ]),
  );
}
