import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { importMiniLmPackage, MINILM_NAME, miniLmVersion } from '../../src/encoder/import/minilm.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { listModelFolders, loadModelFolder } from '../../src/encoder/model-folder.js';
import { ModelSession } from '../../src/encoder/session.js';
import { buildBundle } from '../../src/index/build-bundle.js';
import type { Bundle } from '../../src/index/manifest.js';
import { digestPrefix, modelRef, type Precision } from '../../src/vocabulary.js';
import { allGlosses, benchFolder } from '../data/gloss-vectors.js';
import { shortModel } from '../data/short-model.js';
import { Checker } from '../judge/checker.js';
import { CORPUS, TOP_K } from './load.js';
import type { ServedBuild } from './verdict.js';

const QUERY_COUNT = 48;

export interface ChaosBuild {
  readonly bundle: Bundle;
  readonly model: ModelFolder;
}

/** What the gateway is given, and everything that is needed to judge its answers without it. */
export interface ChaosCorpus {
  /** v1 has two builds, so that one can take the other's place; v3 is the shadow. */
  readonly builds: Readonly<Record<'v1' | 'v1b' | 'v2' | 'v3', ChaosBuild>>;
  readonly modelsFolder: string;
  readonly queries: readonly string[];
  readonly vectors: ReadonlyMap<string, readonly Float32Array[]>;
  /** By the digest prefix that `served_by` names. */
  readonly served: ReadonlyMap<string, ServedBuild>;
  readonly checker: Checker;
  readonly texts: readonly string[];
}

/** Both precisions of MiniLM: 384 dimensions each, so no length gives a wrong pairing away. */
async function chaosModel(precision: Precision): Promise<ModelFolder> {
  const modelsFolder = path.join(benchFolder(), 'models');
  await mkdir(modelsFolder, { recursive: true });
  for (const { manifest } of await listModelFolders(modelsFolder))
    if (manifest.name === MINILM_NAME && manifest.version === miniLmVersion(precision))
      return loadModelFolder(modelsFolder, manifest.fingerprint);
  return importMiniLmPackage({ modelsFolder, precision });
}

/** `readsShort`: with models that start sooner and read the beginning of a text. */
export async function chaosCorpus(
  bundlesFolder: string,
  { glossStep, readsShort }: { readonly glossStep: number; readonly readsShort: boolean },
): Promise<ChaosCorpus> {
  const modelOf = async (precision: Precision): Promise<ModelFolder> => {
    const model = await chaosModel(precision);
    return readsShort ? shortModel(model) : model;
  };
  const [fast, exact] = [await modelOf('int8'), await modelOf('fp16')];
  const texts = await allGlosses(glossStep);
  const queries = texts.slice(0, QUERY_COUNT).map((text) => text.split(';')[0] as string);
  const ids = texts.map((_, at) => `g${at}`);
  const checker = new Checker(TOP_K);
  const vectors = new Map<string, readonly Float32Array[]>();
  const served = new Map<string, ServedBuild>();
  const embedded = new Map<ModelFolder, Float32Array>();
  for (const model of [fast, exact]) {
    const session = await ModelSession.open(model, { provider: 'cpu', threads: 1 });
    const { dimensions } = model.manifest;
    const rows = new Float32Array(texts.length * dimensions);
    for (let from = 0; from < texts.length; from += 64)
      rows.set((await session.encode(texts.slice(from, from + 64), 'document')).values, from * dimensions);
    embedded.set(model, rows);
    const asked: Float32Array[] = [];
    for (const query of queries) asked.push((await session.encode([query], 'query')).values.slice());
    vectors.set(modelRef(model.manifest), asked);
    await session.release();
  }
  const build = async (version: string, model: ModelFolder, order: 'forwards' | 'backwards') => {
    const { manifest } = model;
    const { dimensions } = manifest;
    const rows = embedded.get(model) as Float32Array;
    const at = texts.map((_, row) => (order === 'forwards' ? row : texts.length - 1 - row));
    const sorted = new Float32Array(rows.length);
    at.forEach((from, to) => {
      sorted.set(rows.subarray(from * dimensions, (from + 1) * dimensions), to * dimensions);
    });
    const bundle = await buildBundle(
      {
        bundlesFolder,
        corpus: CORPUS,
        version,
        model: { name: manifest.name, version: manifest.version, fingerprint: manifest.fingerprint },
        dimensions,
        metric: manifest.metric,
        documentTemplate: '{text}',
        textNormalisation: 'none',
        storeDocuments: false,
        truncatedShareMax: 1,
        source: { name: 'wordnet glosses', sha256: '0'.repeat(64), watermark: null },
      },
      (async function* () {
        yield {
          vectors: sorted,
          rows: at.map((row) => ({ documentId: ids[row] as string, chunk: 0, truncated: false })),
        };
      })(),
    );
    await checker.learn({ bundle, model, ids: at.map((row) => ids[row] as string) }, queries);
    served.set(digestPrefix(bundle.digest), {
      version,
      model: modelRef(manifest),
      fingerprint: manifest.fingerprint,
    });
    return { bundle, model };
  };
  return {
    builds: {
      v1: await build('v1', fast, 'forwards'),
      v1b: await build('v1', fast, 'backwards'),
      v2: await build('v2', exact, 'forwards'),
      v3: await build('v3', exact, 'backwards'),
    },
    modelsFolder: path.dirname(fast.folder),
    queries,
    vectors,
    served,
    checker,
    texts,
  };
}
