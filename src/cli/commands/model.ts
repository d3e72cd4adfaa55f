import type { Command } from 'commander';
import type { ModelView } from '../../gateway/admin/views.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput } from '../options.js';
import { table } from '../output.js';
import { addModelImportCommands } from './model-import.js';
import { addModelStatusCommand } from './model-status.js';

export function addModelCommands(program: Command): void {
  const model = program.command('model').description('embedding models');
  addModelImportCommands(model);
  addModelRegisterCommand(model);
  addModelStatusCommand(model);

  model
    .command('list')
    .description('registered models, and the execution provider that a running gateway really uses')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const models = await withAdmin(options, (admin) => admin.listModels());
      commandOutput(options).answer(models, formatModels);
    });
}

function addModelRegisterCommand(model: Command): void {
  addChangeOptions(
    model
      .command('register')
      .description('register a model that lies in the models folder, once every byte of it was hashed again')
      .argument('<fingerprint>', 'name of its folder'),
  ).action(async (fingerprint: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const registered = await withAdmin(options, (admin) =>
      admin.registerModel({ fingerprint, reason, actor }),
    );
    commandOutput(options).answer(registered, (view) => formatModels([view]));
  });
}

function formatModels(models: readonly ModelView[]): string {
  if (models.length === 0) return 'no model yet; import one with `switchyard model import`';
  const rows = models.map((view) => [
    view.model,
    view.fingerprint,
    view.status,
    view.dimensions,
    view.metric,
    view.provider,
  ]);
  const failures = models.flatMap(({ model, encoder_failure }) =>
    encoder_failure === null ? [] : [`${model}: ${encoder_failure}`],
  );
  return [
    table(['model', 'fingerprint', 'status', 'dimensions', 'metric', 'provider'], rows),
    ...failures,
  ].join('\n');
}
