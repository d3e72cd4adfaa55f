import type { Command } from 'commander';
import type { ChangeView } from '../../gateway/admin/views.js';
import { withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput, positiveInteger } from '../options.js';

const LIMIT = 20;

interface ListOptions extends CommonOptions {
  readonly subject?: string;
  readonly limit: number;
}

export function addChangesCommands(program: Command): void {
  program
    .command('changes')
    .description('the audit of models, corpus versions, builds and consumers; of routes: route history')
    .command('list')
    .description('who changed what, when, why, before and after; latest first')
    .option('--subject <subject>', 'of this only, as the list shows it: "model minilm@1"')
    .option('--limit <n>', 'how many', positiveInteger, LIMIT)
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<ListOptions>();
      const { subject, limit } = options;
      const changes = await withAdmin(options, (admin) =>
        admin.listChanges({ limit, ...(subject === undefined ? {} : { subject }) }),
      );
      commandOutput(options).answer(changes, formatChanges);
    });
}

function formatChanges(changes: readonly ChangeView[]): string {
  if (changes.length === 0)
    return 'nothing was changed yet; changes of routes: `switchyard route history <corpus>`';
  return changes
    .map(({ changed_at, actor, reason, subject, before, after }) =>
      [
        `${changed_at}  ${actor}  ${subject}: ${reason}`,
        ...(before === null ? [] : [`  - ${JSON.stringify(before)}`]),
        ...(after === null ? [] : [`  + ${JSON.stringify(after)}`]),
      ].join('\n'),
    )
    .join('\n');
}
