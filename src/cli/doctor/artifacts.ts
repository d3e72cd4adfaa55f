import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../../config/config.js';
import { readModelFolder } from '../../encoder/model-folder.js';
import { SwitchyardError } from '../../errors.js';
import type { Bundle } from '../../index/manifest.js';
import { readBundle } from '../../index/read-bundle.js';
import { verifyBundle } from '../../index/verify-bundle.js';
import type { Logger } from '../../telemetry/log.js';
import { isFingerprint, modelRef } from '../../vocabulary.js';
import { formatBytes } from '../output.js';
import { withRegistry } from '../registry-session.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** Hashes every model folder and recomputes its fingerprint. */
export async function checkModels(config: Config): Promise<Finding[]> {
  const names = (await foldersOf(config.modelsDir)).filter(isFingerprint);
  if (names.length === 0)
    return [warn('models', 'none imported', 'import one: switchyard model import minilm')];
  const findings: Finding[] = [];
  for (const name of names) {
    findings.push(
      await examine(`model ${name.slice(0, 12)}`, 'import it again: remove the folder first', async () => {
        const { manifest } = await readModelFolder(path.join(config.modelsDir, name));
        return `${modelRef(manifest)}: every file is what was imported`;
      }),
    );
  }
  return findings;
}

/** Hashes every bundle. `bytes`: of all their files; `verified`: those that are what was published. */
export async function checkBundles(
  config: Config,
): Promise<{ readonly findings: Finding[]; readonly bytes: number; readonly verified: readonly Bundle[] }> {
  const findings: Finding[] = [];
  const verified: Bundle[] = [];
  let bytes = 0;
  for (const corpus of await foldersOf(config.bundlesDir)) {
    for (const version of await foldersOf(path.join(config.bundlesDir, corpus))) {
      const versionFolder = path.join(config.bundlesDir, corpus, version);
      for (const build of await foldersOf(versionFolder)) {
        const finding = await examine(
          `bundle ${corpus}/${version}`,
          'it will not be opened; build the version again',
          async () => {
            const bundle = await readBundle(path.join(versionFolder, build));
            await verifyBundle(bundle);
            verified.push(bundle);
            const size = Object.values(bundle.manifest.files).reduce((sum, file) => sum + file.bytes, 0);
            bytes += size;
            return `build ${build}: ${bundle.manifest.document_count} documents, ${formatBytes(size)}, every file is what was published`;
          },
        );
        findings.push(finding);
      }
    }
  }
  if (findings.length === 0)
    findings.push(warn('bundles', 'none built', 'build one: switchyard corpus build'));
  return { findings, bytes, verified };
}

/** Starts or joins the registry and reads it once. */
export function checkRegistry(config: Config, log: Logger): Promise<Finding[]> {
  const kind = config.databaseUrl === null ? 'embedded PostgreSQL' : 'PostgreSQL of DATABASE_URL';
  return examine('registry', 'see docs/operations.md, "The registry does not answer"', () =>
    withRegistry(config, log, async (registry) => {
      const versions = await registry.corpusVersions.list();
      return `${kind} answers; ${versions.length} corpus versions`;
    }),
  ).then((finding) => [finding]);
}

async function examine(check: string, advice: string, look: () => Promise<string>): Promise<Finding> {
  try {
    return ok(check, await look());
  } catch (error) {
    if (error instanceof SwitchyardError) return fail(check, `${error.message} (${error.reason})`, advice);
    throw error;
  }
}

async function foldersOf(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const entries = await readdir(folder, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name)
    .sort();
}
