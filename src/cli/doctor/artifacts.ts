import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import type { Config } from '../../config/config.js';
import { readModelFolder } from '../../encoder/model-folder.js';
import { SwitchyardError } from '../../errors.js';
import { findBundleFolder } from '../../index/bundle-folder.js';
import type { Bundle } from '../../index/manifest.js';
import { readBundle } from '../../index/read-bundle.js';
import { verifyBundle } from '../../index/verify-bundle.js';
import type { Registry } from '../../registry/registry.js';
import type { Logger } from '../../telemetry/log.js';
import { digestPrefix, isFingerprint, modelRef } from '../../vocabulary.js';
import { formatBytes, isSystemError } from '../output.js';
import { withRegistry } from '../registry-session.js';
import { type Finding, fail, ok, warn } from './finding.js';

/** Hashes every model folder and recomputes its fingerprint. */
export async function checkModels(config: Config): Promise<Finding[]> {
  const findings: Finding[] = [];
  const names = (await foldersOf(config.modelsDir, findings)).filter(isFingerprint);
  if (findings.length > 0) return findings;
  if (names.length === 0)
    return [warn('models', 'none imported', 'import one: switchyard model import minilm')];
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
  for (const corpus of await foldersOf(config.bundlesDir, findings)) {
    for (const version of await foldersOf(path.join(config.bundlesDir, corpus), findings)) {
      const versionFolder = path.join(config.bundlesDir, corpus, version);
      for (const build of await foldersOf(versionFolder, findings)) {
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

/** Starts or joins the registry, and looks for every build that a route names. */
export async function checkRegistry(config: Config, log: Logger): Promise<Finding[]> {
  const kind = config.databaseUrl === null ? 'embedded PostgreSQL' : 'PostgreSQL of DATABASE_URL';
  const missing: Finding[] = [];
  const registryFinding = await examine(
    'registry',
    'see docs/operations.md, "The registry does not answer"',
    () =>
      withRegistry(config, log, async (registry) => {
        const versions = await registry.corpusVersions.list();
        missing.push(...(await missingBuilds(config, registry)));
        return `${kind} answers; ${versions.length} corpus versions`;
      }),
  );
  return [registryFinding, ...missing];
}

/** What is routed and not here cannot be served from here: files that were deleted, or another var_dir. */
async function missingBuilds(config: Config, registry: Registry): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { corpus, targets } of await registry.routes.list())
    for (const { version, build, bundleUri, modelRef: model, fingerprint } of targets) {
      const folder = await findBundleFolder(config.bundlesDir, { corpus, version, build, bundleUri });
      if (!existsSync(folder))
        findings.push(
          fail(
            `route ${corpus}`,
            `build ${digestPrefix(build)} of ${version} is routed, and ${folder} is not there`,
            'copy it from the machine that built it, or build the version again and route that',
          ),
        );
      if (!existsSync(path.join(config.modelsDir, fingerprint)))
        findings.push(
          fail(
            `route ${corpus}`,
            `${version} needs the model ${model}, and ${fingerprint} is not in ${config.modelsDir}`,
            'import the model again (the same files give the same fingerprint), or copy its folder',
          ),
        );
    }
  return findings;
}

async function examine(check: string, advice: string, look: () => Promise<string>): Promise<Finding> {
  try {
    return ok(check, await look());
  } catch (error) {
    if (error instanceof SwitchyardError) return fail(check, `${error.message} (${error.reason})`, advice);
    if (isSystemError(error)) return unreadable(check, error);
    throw error;
  }
}

const unreadable = (check: string, error: Error): Finding =>
  fail(check, error.message, 'run the doctor as the user who runs the gateway, or give that user the folder');

async function foldersOf(folder: string, findings: Finding[]): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code !== 'ENOENT') findings.push(unreadable(path.basename(folder), error));
    return [];
  }
}
