import { Command } from 'commander';
import { packageVersion } from '../package-root.js';
import { addArchiveCommands } from './commands/archive.js';
import { addChangesCommands } from './commands/changes.js';
import { addComparisonCommands } from './commands/comparison.js';
import { addConsumerCommands } from './commands/consumer.js';
import { addCorpusCommands } from './commands/corpus.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addEmbedCommand } from './commands/embed.js';
import { addEvalCommands } from './commands/eval.js';
import { addGatewayCommands } from './commands/gateway.js';
import { addKeyCommands } from './commands/key.js';
import { addMigrateCommands } from './commands/migrate.js';
import { addModelCommands } from './commands/model.js';
import { addRouteCommands } from './commands/route.js';
import { addSearchCommand } from './commands/search.js';
import { addServeCommand } from './commands/serve.js';
import { addCommonOptions } from './options.js';

export function createProgram(): Command {
  const program = addCommonOptions(
    new Command('switchyard')
      .description('vector serving gateway with a traffic router: encoder and index travel together')
      .version(packageVersion())
      .showHelpAfterError('(switchyard help <command> shows what it takes)')
      .exitOverride(),
  );
  addServeCommand(program);
  addSearchCommand(program);
  addEmbedCommand(program);
  addModelCommands(program);
  addCorpusCommands(program);
  addRouteCommands(program);
  addMigrateCommands(program);
  addArchiveCommands(program);
  addConsumerCommands(program);
  addComparisonCommands(program);
  addEvalCommands(program);
  addGatewayCommands(program);
  addChangesCommands(program);
  addKeyCommands(program);
  addDoctorCommand(program);
  return program;
}
