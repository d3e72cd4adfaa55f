import { Type } from '@sinclair/typebox';
import { MigrationEventView, MigrationReportView, MigrationView } from './migration-views.js';
import { operation } from './operation.js';
import { author, corpus, limit } from './router-operations.js';
import { closed, text } from './schema-words.js';

const UNKNOWN = ['UNKNOWN_CORPUS', 'UNKNOWN_MIGRATION'] as const;
const command = (verb: string, summary: string) =>
  operation({
    method: 'POST',
    address: `/v1/migrations/{corpus}:${verb}`,
    summary,
    input: Type.Object({ corpus, ...author }, closed),
    output: MigrationView,
    reasons: [...UNKNOWN, 'STATUS_CONFLICT', 'REVISION_CONFLICT'],
  });

/** A corpus has one unfinished migration at most, so the corpus names it; what is ended is read by its id. */
export const MIGRATION_OPERATIONS = {
  listMigrations: operation({
    method: 'GET',
    address: '/v1/migrations',
    summary: 'Migrations, latest first.',
    input: Type.Object({ corpus: Type.Optional(text('Of this corpus only.')), limit }, closed),
    output: Type.Array(MigrationView),
    envelope: 'migrations',
    reasons: [],
  }),
  startMigration: operation({
    method: 'POST',
    address: '/v1/migrations/{corpus}',
    summary:
      'Begin to migrate a corpus from the version that serves it to another, by a plan; a gateway drives it from here on.',
    input: Type.Object(
      {
        corpus,
        to_version: text('The new version.'),
        plan: Type.Optional(text('The plan as YAML or JSON; absent: the default one.')),
        ...author,
      },
      closed,
    ),
    output: MigrationView,
    reasons: ['INVALID_PLAN', 'UNKNOWN_CORPUS', 'UNKNOWN_CORPUS_VERSION', 'UNKNOWN_MODEL', 'STATUS_CONFLICT'],
  }),
  getMigration: operation({
    method: 'GET',
    address: '/v1/migrations/{corpus}',
    summary: 'The latest migration of a corpus, or an earlier one.',
    input: Type.Object({ corpus, migration_id: Type.Optional(text('An earlier one.')) }, closed),
    output: MigrationView,
    reasons: UNKNOWN,
  }),
  listMigrationEvents: operation({
    method: 'GET',
    address: '/v1/migrations/{corpus}/events',
    summary: 'Everything that happened in a migration, with its findings, oldest first.',
    input: Type.Object({ corpus, migration_id: Type.Optional(text('An earlier one.')) }, closed),
    output: Type.Array(MigrationEventView),
    envelope: 'events',
    reasons: UNKNOWN,
  }),
  getMigrationReport: operation({
    method: 'GET',
    address: '/v1/migrations/{corpus}/report',
    summary: 'What a migration did and found, as one page: Markdown and HTML with plots.',
    input: Type.Object({ corpus, migration_id: Type.Optional(text('An earlier one.')) }, closed),
    output: MigrationReportView,
    reasons: UNKNOWN,
  }),
  promoteMigration: command('promote', 'Go on past a confirmation, a pause, or an Inconclusive analysis.'),
  pauseMigration: command('pause', 'Stop where it is; traffic stays as it is.'),
  resumeMigration: command('resume', 'Do the step again that was paused, broke, or lost its route.'),
  abortMigration: command(
    'abort',
    'End it: the old version has all traffic again in the same transaction. After complete: end the retirement.',
  ),
  rollbackMigration: command(
    'rollback',
    'As abort, and also after it completed, for as long as the old version is not retired.',
  ),
};
