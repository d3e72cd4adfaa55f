import { lstat, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { sha256Hex, summariseFile } from '../files/hash.js';
import { realFolderInside } from '../files/inside.js';
import { type Fingerprint, isFingerprint, modelRef } from '../vocabulary.js';
import { computeFingerprint } from './fingerprint.js';
import type { ModelFolder, ModelManifest } from './manifest.js';
import { parseManifest } from './manifest-schema.js';

export const MODEL_FILES = {
  manifest: 'manifest.json',
  onnx: 'model.onnx',
  tokenizer: 'tokenizer.json',
  probes: 'probes.json',
  probeVectors: 'probes.f32',
} as const;

const REQUIRED_FILES = [
  MODEL_FILES.onnx,
  MODEL_FILES.tokenizer,
  MODEL_FILES.probes,
  MODEL_FILES.probeVectors,
] as const;

/**
 * Reads a model by its fingerprint and verifies every byte of it.
 * Errors: UNKNOWN_MODEL (no such folder), CORRUPT_MODEL naming the file that is not what was imported;
 * INVALID_ARGUMENT for a folder that links lead out of `modelsFolder`.
 */
export async function loadModelFolder(modelsFolder: string, fingerprint: Fingerprint): Promise<ModelFolder> {
  const place = path.join(modelsFolder, fingerprint);
  const model = await readModelFolder((await realFolderInside(modelsFolder, place)) ?? place);
  if (model.manifest.fingerprint !== fingerprint) {
    throw corrupt(
      model.folder,
      MODEL_FILES.manifest,
      `names the fingerprint ${model.manifest.fingerprint}, its folder ${fingerprint}`,
    );
  }
  return model;
}

/** As `loadModelFolder`, for a folder of any path: its manifest's fingerprint must be that of its files. */
export async function readModelFolder(folder: string): Promise<ModelFolder> {
  const manifest = await readManifest(folder);
  for (const name of REQUIRED_FILES) {
    if (!Object.hasOwn(manifest.files, name)) {
      throw corrupt(folder, MODEL_FILES.manifest, `does not list ${name}`);
    }
  }
  for (const [name, expected] of Object.entries(manifest.files)) {
    await verifyFile(folder, name, expected);
  }
  const computed = fingerprintOf(manifest);
  if (computed !== manifest.fingerprint) {
    throw corrupt(
      folder,
      MODEL_FILES.manifest,
      `names the fingerprint ${manifest.fingerprint}, but its contents make ${computed}`,
    );
  }
  return { folder, manifest };
}

/**
 * A file of a model in memory, with the content that was imported: it may have been replaced since its folder was
 * verified. Errors: CORRUPT_MODEL naming the file.
 */
export async function readModelFile({ folder, manifest }: ModelFolder, name: string): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path.join(folder, name));
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw corrupt(folder, name, 'is missing', error);
  }
  if (sha256Hex(bytes) === manifest.files[name]?.sha256) return bytes;
  throw corrupt(folder, name, 'has another content than was imported');
}

/** The fingerprint that a manifest's own fields make. */
export function fingerprintOf(manifest: Omit<ModelManifest, 'fingerprint'>): Fingerprint {
  const external: Record<string, string> = {};
  for (const [name, file] of Object.entries(manifest.files)) {
    if (!(REQUIRED_FILES as readonly string[]).includes(name)) external[name] = file.sha256;
  }
  return computeFingerprint({
    ...manifest,
    onnxSha256: manifest.files[MODEL_FILES.onnx]?.sha256 ?? '',
    externalDataSha256: external,
    tokenizerSha256: manifest.files[MODEL_FILES.tokenizer]?.sha256 ?? '',
  });
}

/**
 * The manifests of all models in a folder, by name. Their files are not verified: `loadModelFolder` does that before
 * one is used. A folder whose manifest cannot be read is a CORRUPT_MODEL.
 */
export async function listModelFolders(modelsFolder: string): Promise<ModelFolder[]> {
  let entries: string[];
  try {
    entries = await readdir(modelsFolder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  const models: ModelFolder[] = [];
  for (const entry of entries.filter(isFingerprint)) {
    const folder = path.join(modelsFolder, entry);
    models.push({ folder, manifest: await readManifest(folder) });
  }
  return models.sort((a, b) => (modelRef(a.manifest) < modelRef(b.manifest) ? -1 : 1));
}

async function readManifest(folder: string): Promise<ModelManifest> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path.join(folder, MODEL_FILES.manifest));
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new SwitchyardError(
      'UNKNOWN_MODEL',
      `there is no model in ${path.basename(folder)}: no ${MODEL_FILES.manifest} there`,
      { cause: error },
    );
  }
  return parseManifest(bytes, (problem) => corrupt(folder, MODEL_FILES.manifest, problem));
}

async function verifyFile(
  folder: string,
  name: string,
  expected: { readonly bytes: number; readonly sha256: string },
): Promise<void> {
  let actual: { readonly bytes: number; readonly sha256: string };
  try {
    if (!(await lstat(path.join(folder, name))).isFile()) throw corrupt(folder, name, 'is not a plain file');
    actual = await summariseFile(path.join(folder, name));
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw corrupt(folder, name, 'is missing', error);
  }
  if (actual.bytes !== expected.bytes) {
    throw corrupt(folder, name, `has ${actual.bytes} bytes, imported were ${expected.bytes}`);
  }
  if (actual.sha256 !== expected.sha256) throw corrupt(folder, name, 'has another content than was imported');
}

function corrupt(folder: string, file: string, problem: string, cause?: unknown): SwitchyardError {
  return new SwitchyardError(
    'CORRUPT_MODEL',
    `model ${path.basename(folder)}: ${file} ${problem}; delete the folder and import the model again`,
    { cause, details: { file } },
  );
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR' || code === 'EISDIR';
}
