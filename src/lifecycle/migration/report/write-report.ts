import { randomBytes } from 'node:crypto';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Registry } from '../../../registry/registry.js';
import type { Migration } from '../record.js';
import { buildReport } from './report.js';

/** `<corpus>-<begun>-<from>-<to>.html` and `.md` in a folder; each whole or not there. */
export async function writeReport(registry: Registry, migration: Migration, folder: string): Promise<void> {
  const { corpus, fromVersion, toVersion, createdAt } = migration;
  const begun = createdAt.toISOString().slice(0, 19).replaceAll(':', '');
  const name = path.join(folder, `${corpus}-${begun}-${fromVersion}-${toVersion}`);
  const { markdown, html } = await buildReport(registry, migration);
  await mkdir(folder, { recursive: true });
  for (const [file, text] of [
    [`${name}.md`, markdown],
    [`${name}.html`, html],
  ] as const) {
    const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
    await writeFile(temporary, text);
    await rename(temporary, file);
  }
}
