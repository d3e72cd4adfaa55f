import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Config } from '../../src/config/config.js';
import { loadConfig } from '../../src/config/load.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { sha256Hex } from '../../src/files/hash.js';
import { createTemporaryFolder, publishFolder } from '../../src/files/publish.js';
import type { Bundle } from '../../src/index/manifest.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { registryRecords } from '../../src/lifecycle/build-records.js';
import { buildCorpus } from '../../src/lifecycle/corpus-build.js';
import { registerModel } from '../../src/lifecycle/register-model.js';
import { packageRoot } from '../../src/package-root.js';
import { openRegistry, type Registry } from '../../src/registry/registry.js';
import { modelRef } from '../../src/vocabulary.js';
import { shortMiniLmFolder, shortModelsFolder } from '../fixtures/model.js';
import { silentLog, type Teardown, temporaryFolder } from '../fixtures/postgres.js';
import { layRegistry } from '../fixtures/registry-template.js';

export const CORPUS = 'docs';
export const AUTHOR = { actor: 'tester', reason: 'a test' } as const;

const TEXTS = [
  'a big cat with stripes',
  'a small bird that can hover',
  'bread from France',
  'a drink made from grapes',
  'the largest planet of the solar system',
  'a vehicle with two wheels',
  'a person who repairs shoes',
  'frozen water that falls from clouds',
];

export interface Yard {
  readonly varDir: string;
  readonly registry: Registry;
  readonly fp16: ModelFolder;
  readonly int8: ModelFolder;
  /** Settings of a gateway or command on this yard, on any free ports. */
  config(databaseUrl?: string | null): Config;
}

export function testConfig(varDir: string, databaseUrl: string | null): Config {
  return loadConfig({
    file: null,
    env: databaseUrl === null ? {} : { DATABASE_URL: databaseUrl },
    cwd: varDir,
    overrides: {
      var_dir: varDir,
      'listen.grpc.port': 0,
      'listen.http.port': 0,
      'listen.admin_http.port': 0,
      'listen.admin_grpc.port': 0,
      'encoder.threads': 1,
      'search.workers': 1,
      'router.poll_interval_ms': 500,
      'router.heartbeat_interval_ms': 200,
      'shutdown.drain_ms': 1_000,
    },
  });
}

/** Raised when the builds change on purpose, so that nobody has to delete a folder. */
const BUILDS_REVISION = '1';

/** The corpus `docs`, built once per checkout: a version by each of the models. */
export async function builtBundles(models: Readonly<Record<string, ModelFolder>>): Promise<string> {
  const fingerprints = Object.values(models).map(({ manifest }) => manifest.fingerprint);
  const key = sha256Hex(fingerprints.join(' ')).slice(0, 8);
  const folder = path.join(packageRoot(), 'var', 'test-bundles', `control-${BUILDS_REVISION}-${key}`);
  if (existsSync(folder)) return folder;
  await mkdir(path.dirname(folder), { recursive: true });
  const temporary = await createTemporaryFolder(path.dirname(folder));
  const sourceFile = path.join(temporary, 'docs.jsonl');
  await writeFile(sourceFile, TEXTS.map((text, at) => JSON.stringify({ id: `d${at}`, text })).join('\n'));
  const registry = await openRegistry({
    databaseUrl: null,
    varDir: temporary,
    log: silentLog,
    applicationName: 'switchyard-test',
  });
  try {
    for (const [version, model] of Object.entries(models)) {
      await registerModel(registry, model);
      await buildCorpus(
        {
          corpus: CORPUS,
          version,
          model: modelRef(model.manifest),
          sourceFile,
          quantization: 'f32',
          documentTemplate: '{text}',
          chunking: null,
          expansionSearch: 64,
          truncatedShareMax: 0,
        },
        {
          config: { ...testConfig(temporary, null), modelsDir: path.dirname(model.folder) },
          records: registryRecords(registry, path.join(temporary, 'bundles')),
          log: silentLog,
          events: { onCounted: () => {}, onDocuments: () => {}, onPhase: () => {} },
          signal: new AbortController().signal,
        },
      );
    }
  } finally {
    await registry.close();
  }
  // Another test process may have been quicker; its builds are as good.
  await publishFolder(path.join(temporary, 'bundles'), folder);
  await rm(temporary, { recursive: true, force: true });
  return folder;
}

export async function builtBundle(bundles: string, version: string): Promise<Bundle> {
  const folder = path.join(bundles, CORPUS, version);
  const [name] = (await readdir(folder)).filter((entry) => !entry.startsWith('.'));
  return readBundle(path.join(folder, name ?? ''));
}

/** A folder with two real models of 384 dimensions, and the corpus `docs` in a version by each: v1 fp16, v2 int8; v1 is routed. */
export async function makeYard(t: Teardown, databaseUrl: string | null = null): Promise<Yard> {
  const varDir = await temporaryFolder(t);
  const [fp16, int8] = [await shortMiniLmFolder('fp16'), await shortMiniLmFolder('int8')];
  const models = { v1: fp16, v2: int8 };
  // A copy: tests build beside them and delete them.
  const bundles = path.join(varDir, 'bundles');
  await cp(await builtBundles(models), bundles, { recursive: true });
  await symlink(shortModelsFolder(), path.join(varDir, 'models'));
  if (databaseUrl === null) await layRegistry(varDir);
  const registry = await openRegistry({
    databaseUrl,
    varDir,
    log: silentLog,
    applicationName: 'switchyard-test',
  });
  t.teardown(() => registry.close());
  for (const [version, model] of Object.entries(models)) {
    await registerModel(registry, model);
    const uri = pathToFileURL(path.join(bundles, CORPUS, version)).href;
    await registry.corpusVersions.begin({
      corpus: CORPUS,
      version,
      fingerprint: model.manifest.fingerprint,
      storageUri: uri,
    });
    const bundle = await builtBundle(bundles, version);
    await registry.builds.record({ bundle, uri: pathToFileURL(bundle.folder).href });
  }
  await registry.routes.change({
    corpus: CORPUS,
    targets: [{ version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 }],
    expectedRevision: null,
    ...AUTHOR,
  });
  return { varDir, registry, fp16, int8, config: (url = databaseUrl) => testConfig(varDir, url) };
}

/** v1 serves, and every read is mirrored to v2. */
export const mirrorToV2 = ({ registry }: Yard) =>
  registry.routes.change({
    corpus: CORPUS,
    targets: [
      { version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 },
      { version: 'v2', build: null, role: 'shadow', weightBps: 0, tier: 'ssd', mirrorBps: 10_000 },
    ],
    expectedRevision: 1,
    ...AUTHOR,
  });

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const LOOK_MS = 20;
const LOOK_MS_MAX = 60;

/** Milliseconds until `check` gave something, or an error that says what was waited for. */
export async function until<T>(
  what: string,
  check: () => Promise<T | null | undefined | false>,
  capMs = 60_000,
): Promise<{ readonly value: T; readonly tookMs: number }> {
  const begun = performance.now();
  for (;;) {
    const value = await check();
    const tookMs = performance.now() - begun;
    if (value !== null && value !== undefined && value !== false) return { value, tookMs };
    if (tookMs > capMs) throw new Error(`waited ${capMs} ms in vain: ${what}`);
    // What takes long is looked for less often: a look is work as well.
    await sleep(Math.min(LOOK_MS_MAX, LOOK_MS + tookMs / 50));
  }
}
