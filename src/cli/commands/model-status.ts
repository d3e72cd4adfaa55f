import { Argument, type Command } from 'commander';
import { SETTABLE_MODEL_STATUSES } from '../../gateway/admin/registry-operations.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { commandOutput } from '../options.js';

type Status = (typeof SETTABLE_MODEL_STATUSES)[number];

export function addModelStatusCommand(model: Command): void {
  addChangeOptions(
    model
      .command('status')
      .description('change it: staging → active ↔ deprecated → archived; archived is final')
      .argument('<model>', 'name@version or fingerprint')
      .addArgument(new Argument('<status>', 'the new status').choices([...SETTABLE_MODEL_STATUSES])),
  ).action(async (reference: string, status: Status, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const changed = await withAdmin(options, (admin) =>
      admin.setModelStatus({ model: reference, status, reason, actor }),
    );
    commandOutput(options).answer(changed, (view) => `${view.model} is ${view.status}`);
  });
}
