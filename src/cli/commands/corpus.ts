import type { Command } from 'commander';
import type { BuildView, CorpusVersionView } from '../../gateway/admin/views.js';
import { addChangeOptions, type ChangeOptions, withAdmin } from '../admin-session.js';
import { type CommonOptions, commandOutput } from '../options.js';
import { table } from '../output.js';
import { addCorpusBuild } from './corpus-build.js';
import { addCorpusTune } from './corpus-tune.js';
import { addRetire } from './retire.js';

export function addCorpusCommands(program: Command): void {
  const corpus = program.command('corpus').description('corpora and their versions');
  addCorpusBuild(corpus);
  addCorpusTune(corpus);
  addCorpusRecordCommand(corpus);
  addRetire(corpus);

  corpus
    .command('list')
    .description('corpus versions with their default builds')
    .argument('[corpus]', 'of this corpus only')
    .action(async (name: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const versions = await withAdmin(options, (admin) =>
        admin.listCorpusVersions(name === undefined ? {} : { corpus: name }),
      );
      commandOutput(options).answer(versions, formatVersions);
    });

  corpus
    .command('builds')
    .description('every build of a corpus; routes take the default one where they name none')
    .argument('<corpus>', 'name of the corpus')
    .argument('[version]', 'of this version only')
    .action(async (name: string, version: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const builds = await withAdmin(options, (admin) =>
        admin.listBuilds({ corpus: name, ...(version === undefined ? {} : { version }) }),
      );
      commandOutput(options).answer(builds, formatBuilds);
    });

  addChangeOptions(
    corpus
      .command('default')
      .description('make a build the one that routes take where they name none')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version')
      .argument('<build>', 'digest, or at least 8 characters of it'),
  ).action(async (name: string, version: string, build: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const made = await withAdmin(options, (admin) =>
      admin.setDefaultBuild({ corpus: name, version, build, reason, actor }),
    );
    commandOutput(options).answer(made, (view) => formatBuilds([view]));
  });

  addChangeOptions(
    corpus
      .command('archive')
      .description('take a corpus version out of service for good; it must be in no route')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version'),
  ).action(async (name: string, version: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions>();
    const { reason, actor } = options;
    const archived = await withAdmin(options, (admin) =>
      admin.archiveCorpusVersion({ corpus: name, version, reason, actor }),
    );
    commandOutput(options).answer(archived, (view) => formatVersions([view]));
  });
}

function formatVersions(versions: readonly CorpusVersionView[]): string {
  if (versions.length === 0) return 'no corpus yet; build one with `switchyard corpus build`';
  return table(
    ['corpus', 'version', 'status', 'model', 'embeddings', 'build'],
    versions.map((view) => [
      view.corpus,
      view.version,
      view.status,
      view.model,
      view.total_embeddings,
      view.default_build ?? '-',
    ]),
  );
}

function formatBuilds(builds: readonly BuildView[]): string {
  if (builds.length === 0) return 'no build yet; make one with `switchyard corpus build`';
  return table(
    ['version', 'build', 'default', 'format', 'dimensions', 'rows', 'recall@10', 'made'],
    builds.map((view) => [
      view.version,
      view.build,
      view.is_default ? 'yes' : 'no',
      view.quantization,
      view.dimensions,
      view.row_count,
      view.recall_at_10.toFixed(3),
      view.created_at,
    ]),
  );
}

function addCorpusRecordCommand(corpus: Command): void {
  addChangeOptions(
    corpus
      .command('record')
      .description('record a bundle that was published and not recorded, once all of it was verified')
      .argument('<corpus>', 'name of the corpus')
      .argument('<version>', 'the corpus version, which a build has begun')
      .argument('<digest>', 'SHA-256 of its manifest.json, 64 hex')
      .option('--default', 'make it the default build of its version'),
  ).action(async (name: string, version: string, digest: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ChangeOptions & { readonly default?: boolean }>();
    const { reason, actor } = options;
    const recorded = await withAdmin(options, (admin) =>
      admin.recordBuild({
        corpus: name,
        version,
        digest,
        make_default: options.default === true,
        reason,
        actor,
      }),
    );
    commandOutput(options).answer(recorded, (view) => formatBuilds([view]));
  });
}
