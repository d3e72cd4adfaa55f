import type { MigrationSample } from '../../../registry/migration-samples.js';
import type { Registry } from '../../../registry/registry.js';
import type { Migration } from '../record.js';
import { reportHtml } from './html.js';
import { reportMarkdown } from './markdown.js';
import { reportModel } from './model.js';

export interface Report {
  readonly markdown: string;
  readonly html: string;
}

/** One page on a migration, at any moment of it, from what is written down of it. */
export async function buildReport(registry: Registry, migration: Migration): Promise<Report> {
  const { migrationId } = migration;
  const events = await registry.migrations.events(migrationId);
  const samples: MigrationSample[] = [];
  for await (const sample of registry.migrations.samplesSince(migrationId, new Date(0))) samples.push(sample);
  const model = reportModel(migration, events, samples);
  return { markdown: reportMarkdown(model), html: reportHtml(model) };
}
