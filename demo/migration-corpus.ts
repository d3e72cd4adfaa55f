import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  type LexicographerFile,
  WORDNET_BUILD,
  writeWordnetGoldenSet,
  writeWordnetJsonl,
} from '../bench/data/wordnet.js';
import type { Config } from '../src/config/config.js';
import { importMiniLmPackage, MINILM_NAME, miniLmVersion } from '../src/encoder/import/minilm.js';
import { importUseLitePackage, USE_LITE_NAME, USE_LITE_VERSION } from '../src/encoder/import/use-lite.js';
import { registryRecords } from '../src/lifecycle/build-records.js';
import { buildCorpus } from '../src/lifecycle/corpus-build.js';
import { readGoldenSet } from '../src/lifecycle/evaluation/open-golden-set.js';
import { registerModel } from '../src/lifecycle/register-model.js';
import type { Registry } from '../src/registry/registry.js';
import type { Logger } from '../src/telemetry/log.js';
import { say } from './say.js';

/** What the demonstration migrates: WordNet in versions by three models, with questions whose answers are known. */
export const CORPUS = 'wordnet';
export const SOURCE = 'wordnet.jsonl';
const QUERIES_MAX = 200;
const AUTHOR = { actor: 'demo', reason: 'four migrations under load' };

export const VERSIONS = {
  use: {
    model: `${USE_LITE_NAME}@${USE_LITE_VERSION}`,
    importModel: (modelsFolder: string) => importUseLitePackage({ modelsFolder }),
  },
  minilm: {
    model: `${MINILM_NAME}@${miniLmVersion('fp16')}`,
    importModel: (modelsFolder: string) => importMiniLmPackage({ modelsFolder, precision: 'fp16' }),
  },
  int8: {
    model: `${MINILM_NAME}@${miniLmVersion('int8')}`,
    importModel: (modelsFolder: string) => importMiniLmPackage({ modelsFolder, precision: 'int8' }),
  },
} as const;
export type VersionName = keyof typeof VERSIONS;

/** Every synset that answers a question, and others evenly from the whole dictionary. Gives their ids in order. */
function keepSome(file: string, relevant: ReadonlySet<string>, documentsMax: number): readonly string[] {
  const all = readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => ({ line, id: (JSON.parse(line) as { readonly id: string }).id }));
  const every = Math.max(1, Math.ceil(all.length / documentsMax));
  const kept = all.filter(({ id }, at) => relevant.has(id) || at % every === 0);
  writeFileSync(file, `${kept.map(({ line }) => line).join('\n')}\n`);
  return kept.map(({ id }) => id);
}

export interface Texts {
  readonly files: readonly LexicographerFile[];
  /** Synsets that answer no question are left out beyond so many. */
  readonly documentsMax: number;
}

/** The corpus as a file that plans can name, and its golden set in the registry. */
export async function prepareTexts(
  sources: string,
  folder: string,
  registry: Registry,
  { files, documentsMax }: Texts,
) {
  // Where gateways look for the sources that plans name.
  const sourceFile = path.join(sources, SOURCE);
  const goldenFolder = path.join(folder, 'golden');
  const count = await writeWordnetJsonl(sourceFile, files);
  const asked = await writeWordnetGoldenSet(goldenFolder, files);
  say(`${count} WordNet synsets, ${asked} example sentences as questions with known answers`);
  const { queries, source } = await readGoldenSet({ place: goldenFolder, qrels: null, split: null });
  await registry.goldenSets.add(CORPUS, queries, source, AUTHOR);
  const relevant = new Set(queries.flatMap(({ judgements }) => [...judgements.keys()]));
  const ids = keepSome(sourceFile, relevant, documentsMax);
  say(`${ids.length} of the synsets are the corpus`);
  const texts = queries.slice(0, QUERIES_MAX).map(({ text }) => text);
  return { sourceFile, ids, queries: texts, questions: queries.length };
}

export async function prepareModel(name: VersionName, config: Config, registry: Registry): Promise<void> {
  const { model, importModel } = VERSIONS[name];
  if ((await registry.models.list()).some(({ modelRef }) => modelRef === model)) return;
  say(`importing ${model}`);
  await registerModel(registry, await importModel(config.modelsDir), AUTHOR);
}

export async function prepareVersion(
  version: VersionName,
  sourceFile: string,
  config: Config,
  registry: Registry,
  log: Logger,
): Promise<void> {
  const known = await registry.corpusVersions.list({ corpus: CORPUS });
  if (known.some((other) => other.version === version && other.defaultBuild !== null)) return;
  say(`embedding the corpus with ${VERSIONS[version].model}`);
  await buildCorpus(
    {
      corpus: CORPUS,
      version,
      model: VERSIONS[version].model,
      sourceFile,
      ...WORDNET_BUILD,
    },
    {
      config,
      records: registryRecords(registry, config.bundlesDir),
      log,
      events: { onCounted: () => undefined, onDocuments: () => undefined, onPhase: () => undefined },
      signal: new AbortController().signal,
    },
  );
}
