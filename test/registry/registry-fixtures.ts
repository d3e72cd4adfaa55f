import { createHash } from 'node:crypto';
import pg from 'pg';
import type { Reason } from '../../src/errors.js';
import type { RecordableManifest, RecordedBuild } from '../../src/registry/builds.js';
import type { RegisteredModel } from '../../src/registry/models.js';
import type { Registry } from '../../src/registry/registry.js';
import type { RouteTargetInput } from '../../src/registry/route.js';
import type { Digest, Fingerprint } from '../../src/vocabulary.js';

export const AUTHOR = { actor: 'tester', reason: 'a test' } as const;

/** What a test expects of an error: tap compares these properties. */
export const refused = (reason: Reason) => ({ name: 'SwitchyardError', reason });
/** A statement of psql that a rule of the database stopped. */
export const violates = (constraint: string) => ({ name: 'error', constraint });

const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
export const fingerprintOf = (name: string): Fingerprint => `mf1_${hash(name).slice(0, 32)}` as Fingerprint;
export const digestOf = (name: string): Digest => hash(name) as Digest;

export const modelManifest = (name: string, version = '1') => ({
  name,
  version,
  fingerprint: fingerprintOf(`${name}@${version}`),
  provider: 'test',
  dimensions: 384,
  max_tokens: 256,
  metric: 'cosine' as const,
});

export const registerModel = (registry: Registry, name: string, version = '1'): Promise<RegisteredModel> =>
  registry.models.register({
    manifest: modelManifest(name, version),
    artifactUri: `file:///models/${name}/${version}`,
  });

export const bundleManifest = (
  corpus: string,
  version: string,
  fingerprint: Fingerprint,
): RecordableManifest => ({
  corpus,
  version,
  model: { fingerprint },
  dimensions: 384,
  full_dimensions: 384,
  metric: 'cosine',
  quantization: 'bf16',
  row_count: 1_000,
  document_template: '{title}\n{text}',
  text_normalisation: 'nfc',
  recall_at_10: { value: 0.99 },
});

/** A ready corpus version with one build of `model`. */
export async function readyVersion(
  registry: Registry,
  corpus: string,
  version: string,
  model: RegisteredModel,
): Promise<RecordedBuild> {
  await registry.corpusVersions.begin({
    corpus,
    version,
    fingerprint: model.fingerprint,
    storageUri: `file:///bundles/${corpus}/${version}`,
  });
  return recordBuild(registry, corpus, version, model.fingerprint, 'first');
}

export const recordBuild = (
  registry: Registry,
  corpus: string,
  version: string,
  fingerprint: Fingerprint,
  label: string,
): Promise<RecordedBuild> =>
  registry.builds.record({
    bundle: {
      digest: digestOf(`${corpus}/${version}/${label}`),
      manifest: bundleManifest(corpus, version, fingerprint),
    },
    uri: `file:///bundles/${corpus}/${version}/${label}`,
  });

export const active = (version: string, weightBps: number): RouteTargetInput => ({
  version,
  build: null,
  role: 'active',
  weightBps,
  tier: 'ssd',
  mirrorBps: 0,
});
export const shadow = (version: string, mirrorBps: number): RouteTargetInput => ({
  ...active(version, 0),
  role: 'shadow',
  mirrorBps,
});
export const draining = (version: string): RouteTargetInput => ({ ...active(version, 0), role: 'draining' });

/** A session beside the registry's code, as an operator with psql would have. */
export async function rawSession(
  t: { teardown(work: () => Promise<void>): void },
  registry: Registry,
): Promise<pg.Client> {
  const client = new pg.Client(registry.connection);
  client.on('error', () => undefined); // tests end servers and sessions on purpose
  await client.connect();
  t.teardown(() => client.end());
  return client;
}

/** Waits for a condition; fails with `what` only after a bound far above what is usual. */
export async function eventually(
  what: string,
  condition: () => Promise<boolean> | boolean,
  msMax = 20_000,
): Promise<void> {
  const deadline = performance.now() + msMax;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`did not happen within ${msMax} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
