import path from 'node:path';
import type { Test } from 'tap';
import { loadConfig } from '../../src/config/load.js';
import { registryRecords } from '../../src/lifecycle/build-records.js';
import { registerModelIn } from '../../src/lifecycle/register-model.js';
import { registryVersionRecords, type VersionRecords } from '../../src/lifecycle/retire/records.js';
import type { RetireParts } from '../../src/lifecycle/retire/retire-version.js';
import type { Registry } from '../../src/registry/registry.js';
import { silentLog, startTestRegistry } from '../fixtures/postgres.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';
import { temporaryFolder } from '../index/corpus.js';
import { buildWith, documentsOf, requestOf, writeFeed } from './reembed-rig.js';

export const AUTHOR = { actor: 'test', reason: 'a test' };
export const V1 = { corpus: 'docs_kb', version: 'v1' };

export interface Yard {
  readonly varDir: string;
  readonly registry: Registry;
  readonly records: VersionRecords;
  readonly archives: string;
  readonly bundles: string;
  readonly parts: RetireParts;
}

/** Two versions of one corpus; the second serves, the first drains. */
export async function yardOf(t: Test): Promise<Yard> {
  const { folder, manifest } = await tinyModelFolder(t);
  const varDir = path.dirname(path.dirname(folder));
  const registry = await startTestRegistry(t, { varDir });
  const config = loadConfig({ file: null, env: {}, cwd: varDir, overrides: { var_dir: varDir } });
  await registerModelIn(registry, config.modelsDir, manifest.fingerprint, AUTHOR);
  const feed = path.join(varDir, 'feed.jsonl');
  writeFeed(feed, documentsOf(60));
  const builds = registryRecords(registry, config.bundlesDir);
  const first = await buildWith(varDir, builds, requestOf(feed));
  t.ok(first.routed);
  const second = await buildWith(varDir, builds, requestOf(feed, { version: 'v2' }));
  t.match(second.embedding, { encoded: 0, reused: 60 }, 'the same texts by the same model');
  const records = registryVersionRecords(registry, config.bundlesDir, AUTHOR);
  return {
    varDir,
    registry,
    records,
    archives: temporaryFolder(t),
    bundles: path.join(config.bundlesDir, 'docs_kb'),
    parts: { config, records, log: silentLog, signal: new AbortController().signal, drainMsMax: 2_000 },
  };
}

export async function cutOver({ registry }: Yard): Promise<void> {
  const { revision } = await registry.routes.get('docs_kb');
  const target = { build: null, tier: 'ssd', mirrorBps: 0 } as const;
  await registry.routes.change({
    corpus: 'docs_kb',
    targets: [
      { ...target, version: 'v2', role: 'active', weightBps: 10_000 },
      { ...target, version: 'v1', role: 'draining', weightBps: 0 },
    ],
    expectedRevision: revision,
    force: true,
    ...AUTHOR,
  });
}
