import { Command } from 'commander';
import { packageVersion } from '../package-root.js';
import { addCommonOptions } from './options.js';

type AddTo = (program: Command) => void;

const archives = async (): Promise<AddTo> => (await import('./commands/archive.js')).addArchiveCommands;

/** In the order of the help. Each is loaded only when it is asked for: nobody waits for code of other commands. */
const COMMANDS: Readonly<Record<string, () => Promise<AddTo>>> = {
  serve: async () => (await import('./commands/serve.js')).addServeCommand,
  search: async () => (await import('./commands/search.js')).addSearchCommand,
  embed: async () => (await import('./commands/embed.js')).addEmbedCommand,
  model: async () => (await import('./commands/model.js')).addModelCommands,
  corpus: async () => (await import('./commands/corpus.js')).addCorpusCommands,
  route: async () => (await import('./commands/route.js')).addRouteCommands,
  migrate: async () => (await import('./commands/migrate.js')).addMigrateCommands,
  archive: archives,
  restore: archives,
  archives,
  consumer: async () => (await import('./commands/consumer.js')).addConsumerCommands,
  comparison: async () => (await import('./commands/comparison.js')).addComparisonCommands,
  eval: async () => (await import('./commands/eval.js')).addEvalCommands,
  gateway: async () => (await import('./commands/gateway.js')).addGatewayCommands,
  changes: async () => (await import('./commands/changes.js')).addChangesCommands,
  key: async () => (await import('./commands/key.js')).addKeyCommands,
  doctor: async () => (await import('./commands/doctor.js')).addDoctorCommand,
};

const VERSION_ASKED: readonly string[] = ['-V', '--version'];

/** The commands that these words may mean; all of them where the words ask for help or name none. */
export function commandsMeant(args: readonly string[]): readonly string[] {
  if (args.length === 1 && VERSION_ASKED.includes(args[0] ?? '')) return [];
  const all = Object.keys(COMMANDS);
  const named = all.filter((name) => args.includes(name));
  return named.length === 0 || args[0] === 'help' ? all : named;
}

export async function createProgram(args: readonly string[]): Promise<Command> {
  const program = addCommonOptions(
    new Command('switchyard')
      .description('vector serving gateway with a traffic router: encoder and index travel together')
      .version(packageVersion())
      .showHelpAfterError('(switchyard help <command> shows what it takes)')
      .exitOverride(),
  );
  const files = new Set(commandsMeant(args).map((name) => COMMANDS[name]));
  for (const load of files) (await load?.())?.(program);
  return program;
}
