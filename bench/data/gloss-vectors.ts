import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { importMiniLmPackage, MINILM_NAME, miniLmVersion } from '../../src/encoder/import/minilm.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { listModelFolders, loadModelFolder } from '../../src/encoder/model-folder.js';
import { ModelSession } from '../../src/encoder/session.js';
import { packageRoot } from '../../src/package-root.js';
import { shortModel } from './short-model.js';
import { wordnetFolder } from './wordnet.js';

const DATA_FILES = ['data.noun', 'data.verb', 'data.adj', 'data.adv'] as const;
const TEXTS_PER_WRITE = 512;

export interface GlossVectors {
  /** Each gloss once, in the order of WordNet's files. */
  readonly texts: readonly string[];
  /** texts × dimensions, row-major. */
  readonly values: Float32Array<ArrayBuffer>;
  readonly dimensions: number;
  readonly model: ModelFolder;
}

/** Where benches keep what takes long to make: `var/bench` of the checkout. */
export const benchFolder = (): string => path.join(packageRoot(), 'var', 'bench');

/** The glosses of all synsets without repetitions; `step` 1 takes every one, n every n-th. */
export async function allGlosses(step = 1): Promise<readonly string[]> {
  const glosses = new Set<string>();
  for (const name of DATA_FILES) {
    const lines = (await readFile(path.join(wordnetFolder(), name), 'utf8')).split('\n');
    for (const line of lines) {
      const bar = line.indexOf(' | ');
      if (!line.startsWith(' ') && bar > 0) glosses.add(line.slice(bar + 3).trim());
    }
  }
  return [...glosses].filter((_, at) => at % step === 0);
}

/** MiniLM with int8 weights, imported once per checkout. */
export async function benchModel(): Promise<ModelFolder> {
  const modelsFolder = path.join(benchFolder(), 'models');
  await mkdir(modelsFolder, { recursive: true });
  for (const { manifest } of await listModelFolders(modelsFolder))
    if (manifest.name === MINILM_NAME && manifest.version === miniLmVersion('int8'))
      return loadModelFolder(modelsFolder, manifest.fingerprint);
  return importMiniLmPackage({ modelsFolder, precision: 'int8' });
}

/**
 * Vectors of every `step`-th gloss by MiniLM int8. Kept under `var/bench`, keyed by model and texts, and begun where an
 * interrupted run stopped: all of them take about four minutes of one core.
 */
export async function glossVectors(step = 1): Promise<GlossVectors> {
  const whole = await benchModel();
  // A sample is of a smoke, whose encoders had better start soon.
  const model = step === 1 ? whole : await shortModel(whole);
  const texts = await allGlosses(step);
  const { dimensions, fingerprint } = model.manifest;
  const key = createHash('sha256').update(fingerprint).update(texts.join('\n')).digest('hex').slice(0, 16);
  const folder = path.join(benchFolder(), 'vectors');
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, `${key}.f32`);
  if (!existsSync(file)) await embedInto(file, model, texts);
  const bytes = await readFile(file);
  const values = new Float32Array(bytes.length / 4);
  Buffer.from(values.buffer).set(bytes);
  if (values.length !== texts.length * dimensions) throw new Error(`${file} is damaged: delete it`);
  return { texts, values, dimensions, model };
}

async function embedInto(file: string, model: ModelFolder, texts: readonly string[]): Promise<void> {
  const rowBytes = model.manifest.dimensions * 4;
  const partial = `${file}.partial`;
  const session = await ModelSession.open(model, { provider: 'cpu', threads: 1 });
  const handle = await open(partial, existsSync(partial) ? 'r+' : 'w');
  try {
    const { size } = await handle.stat();
    let done = Math.floor(size / rowBytes / TEXTS_PER_WRITE) * TEXTS_PER_WRITE;
    for (; done < texts.length; done += TEXTS_PER_WRITE) {
      const { values } = await session.encode(texts.slice(done, done + TEXTS_PER_WRITE), 'document');
      await handle.write(new Uint8Array(values.buffer), 0, values.byteLength, done * rowBytes);
      if (process.stderr.isTTY)
        process.stderr.write(`\rembedding glosses, once: ${done} of ${texts.length} `);
    }
    await handle.sync();
  } finally {
    await handle.close();
    await session.release();
  }
  await rename(partial, file);
}
