import type { Command } from 'commander';
import type { ConsumerView } from '../../gateway/admin/views.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput } from '../options.js';
import { table } from '../output.js';

interface AddOptions extends ChangeOptions {
  readonly team: string;
  readonly deadline?: string;
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
      .option('--deadline <date>', 'by when it must have migrated, e.g. 2027-01-31'),
  ).action(async (corpus: string, version: string, service: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<AddOptions>();
    const { reason, actor, team, deadline } = options;
    const added = await withAdmin(options, (admin) =>
      admin.addConsumer({
        corpus,
        version,
        service_name: service,
        team_owner: team,
        reason,
        actor,
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
    .description('registered services')
    .argument('[corpus]', 'of this corpus only')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const consumers = await withAdmin(options, (admin) =>
        admin.listConsumers(corpus === undefined ? {} : { corpus }),
      );
      commandOutput(options).answer(consumers, formatConsumers);
    });
}

function formatConsumers(consumers: readonly ConsumerView[]): string {
  if (consumers.length === 0) return 'no consumer yet; add one with `switchyard consumer add`';
  return table(
    ['corpus', 'version', 'service', 'team', 'deadline', 'migrated', 'consumer id'],
    consumers.map((view) => [
      view.corpus,
      view.version,
      view.service_name,
      view.team_owner,
      view.migration_deadline?.slice(0, 10) ?? '-',
      view.migrated ? 'yes' : 'no',
      view.consumer_id,
    ]),
  );
}
