import type { Command } from 'commander';
import { SwitchyardError } from '../../errors.js';
import type { ArchiveView } from '../../gateway/admin/archive-views.js';
import type { ArchiveParts } from '../../lifecycle/archive/archive-version.js';
import { addChangeOptions, assertSharedStorage, type ChangeOptions, withAdmin } from '../admin-session.js';
import { adminVersionRecords } from '../admin-version-records.js';
import { type CommonOptions, commandConfig, commandLog, commandOutput } from '../options.js';
import { table } from '../output.js';
import { startProgress } from '../progress.js';

export interface ArchiveOptions extends ChangeOptions {
  readonly to?: string;
  readonly from?: string;
}

export function addArchiveCommands(program: Command): void {
  addChangeOptions(
    program
      .command('archive')
      .description('write a corpus version as Parquet into an archive; it goes on serving')
      .argument('<corpus/version>', 'e.g. docs_kb/v1')
      .option('--to <place>', 'a folder or s3://bucket/prefix (default: archive.uri of the configuration)'),
  ).action(async (name: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ArchiveOptions>();
    const { archiveVerified } = await import('../../lifecycle/archive/archive-version.js');
    const written = await withParts(options, 'archiving', (parts) =>
      archiveVerified(versionOf(name), options.to ?? null, parts),
    );
    commandOutput(options).answer(
      { uri: written.uri, sha256: written.sha256, rows: written.manifest.row_count, bytes: written.bytes },
      () =>
        `${name} is archived at ${written.uri}: ${written.manifest.row_count} rows, ${written.bytes} bytes, every one of them read back`,
    );
  });

  addChangeOptions(
    program
      .command('restore')
      .description('rebuild the bundle of an archived corpus version: the same build, the same answers')
      .argument('<corpus/version>', 'e.g. docs_kb/v1')
      .option(
        '--from <archive>',
        '<place>/<corpus>/<version>/<build> (default: the latest that is recorded)',
      ),
  ).action(async (name: string, _options: unknown, command: Command) => {
    const options = command.optsWithGlobals<ArchiveOptions>();
    const { restoreVersion } = await import('../../lifecycle/archive/archive-version.js');
    const bundle = await withParts(options, 'restoring', (parts) =>
      restoreVersion(versionOf(name), options.from ?? null, parts),
    );
    commandOutput(options).answer(
      { build: bundle.digest, rows: bundle.manifest.row_count, folder: bundle.folder },
      () => `${name} is back: build ${bundle.digest.slice(0, 16)}, ${bundle.manifest.row_count} rows`,
    );
  });

  program
    .command('archives')
    .description('archives of corpus versions')
    .argument('[corpus]', 'of this corpus only')
    .action(async (corpus: string | undefined, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const archives = await withAdmin(options, (admin) =>
        admin.listArchives(corpus === undefined ? {} : { corpus }),
      );
      commandOutput(options).answer(archives, formatArchives);
    });
}

function versionOf(name: string): { readonly corpus: string; readonly version: string } {
  const [corpus, version, ...more] = name.split('/');
  if (corpus && version && more.length === 0) return { corpus, version };
  throw new SwitchyardError('INVALID_ARGUMENT', `${name} must be <corpus>/<version>, e.g. docs_kb/v1`);
}

/** With a bar, and a signal that Ctrl-C and SIGTERM abort. Files are written here; what is recorded goes to the gateway. */
export async function withParts<T>(
  options: ChangeOptions,
  label: string,
  work: (parts: ArchiveParts) => Promise<T>,
): Promise<T> {
  const config = commandConfig(options);
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(
      new SwitchyardError('STATUS_CONFLICT', 'interrupted; the same command goes on where it was'),
    );
  let bar: ReturnType<typeof startProgress> | null = null;
  process.once('SIGINT', abort).once('SIGTERM', abort);
  try {
    return await withAdmin(options, async (admin) => {
      await assertSharedStorage(admin, config);
      return work({
        config,
        records: adminVersionRecords(admin, options),
        log: commandLog(config),
        signal: controller.signal,
        events: {
          onRows: (done, total) => {
            bar ??= startProgress(label, total, 'rows', options.json === true);
            bar.update(done);
          },
        },
      });
    });
  } finally {
    process.off('SIGINT', abort).off('SIGTERM', abort);
    (bar as ReturnType<typeof startProgress> | null)?.stop();
  }
}

function formatArchives(archives: readonly ArchiveView[]): string {
  if (archives.length === 0) return 'no archive yet; write one with `switchyard archive`';
  return table(
    ['corpus', 'version', 'build', 'archived', 'verified', 'serving copy', 'place'],
    archives.map((view) => [
      view.corpus,
      view.version,
      view.build.slice(0, 16),
      view.archived_at.slice(0, 19),
      view.verified_at?.slice(0, 19) ?? '-',
      view.deleted_at === null ? 'kept' : view.restored_at === null ? 'deleted' : 'restored',
      view.uri,
    ]),
  );
}
