import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { type FileSummary, summariseFile } from '../../files/hash.js';
import {
  asDiskError,
  createTemporaryFolder,
  publishFolder,
  reapTemporaryFolders,
} from '../../files/publish.js';
import { isModelName, isVersionName, modelRef } from '../../vocabulary.js';
import type { ModelFolder, ModelManifest } from '../manifest.js';
import { formatManifest } from '../manifest-schema.js';
import { fingerprintOf, listModelFolders, loadModelFolder, MODEL_FILES } from '../model-folder.js';
import { probesToJson, vectorsToBytes } from '../probes.js';
import { ModelSession } from '../session.js';
import { checkModel } from './check-model.js';
import { probeTexts } from './probe-texts.js';

export type ImportStage = 'convert' | 'check' | 'publish';

/** Called as an import moves on; `completed` of `total` steps of the stage. */
export type ImportProgress = (stage: ImportStage, completed: number, total: number) => void;

/** A model about to be imported: what its manifest will say, and where its files come from. */
export interface ModelDraft {
  readonly description: Omit<ModelManifest, 'format_version' | 'fingerprint' | 'files'>;
  readonly onnx: FileSource;
  readonly tokenizer: FileSource;
  /** External data files by the name the graph has for them. */
  readonly externalData: Readonly<Record<string, FileSource>>;
}

export type FileSource =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'file'; readonly file: string };

export interface PublishOptions {
  readonly modelsFolder: string;
  /** Threads of the checks' runs. */
  readonly threads: number;
  readonly onProgress: ImportProgress;
}

/**
 * Checks a model and publishes it as `<modelsFolder>/<fingerprint>/`. A model that is there already is verified and
 * returned as it is. Errors: INVALID_MODEL, ALREADY_EXISTS (name@version means another model, or the model has
 * another name), CORRUPT_MODEL (what is there is damaged), DISK_FULL.
 */
export async function publishModel(draft: ModelDraft, options: PublishOptions): Promise<ModelFolder> {
  expectNames(draft.description);
  await mkdir(options.modelsFolder, { recursive: true });
  await reapTemporaryFolders(options.modelsFolder);
  const temporary = await createTemporaryFolder(options.modelsFolder);
  try {
    const inputs = await writeInputs(temporary, draft);
    const unnamed = { format_version: 1, ...draft.description, files: inputs } as const;
    const fingerprint = fingerprintOf(unnamed);
    const manifest: ModelManifest = { ...unnamed, fingerprint };
    const existing = await findExisting(options.modelsFolder, manifest);
    if (existing) return existing;

    const files = { ...inputs, ...(await writeProbes(temporary, manifest, options)) };
    await writeFile(path.join(temporary, MODEL_FILES.manifest), formatManifest({ ...manifest, files }));
    options.onProgress('publish', 0, 1);
    const outcome = await publishFolder(temporary, path.join(options.modelsFolder, fingerprint));
    // Another process published the same model meanwhile: its folder counts, if it has the same name.
    const published =
      (outcome === 'existed' ? await findExisting(options.modelsFolder, manifest) : undefined) ??
      (await loadModelFolder(options.modelsFolder, fingerprint));
    options.onProgress('publish', 1, 1);
    return published;
  } catch (error) {
    throw asDiskError(error, temporary);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function expectNames(model: { readonly name: string; readonly version: string }): void {
  if (isModelName(model.name) && isVersionName(model.version)) return;
  throw new SwitchyardError(
    'INVALID_ARGUMENT',
    `${JSON.stringify(modelRef(model))} is no model name@version: letters, digits, dots, dashes and underscores; the name at most 128, the version at most 32 characters`,
  );
}

async function writeInputs(folder: string, draft: ModelDraft): Promise<Record<string, FileSummary>> {
  const sources: Record<string, FileSource> = {
    [MODEL_FILES.onnx]: draft.onnx,
    [MODEL_FILES.tokenizer]: draft.tokenizer,
    ...draft.externalData,
  };
  const summaries: Record<string, FileSummary> = {};
  for (const [name, source] of Object.entries(sources)) {
    const target = path.join(folder, name);
    if (source.kind === 'bytes') await writeFile(target, source.bytes);
    else await copyFile(source.file, target);
    summaries[name] = await summariseFile(target);
  }
  return summaries;
}

/** Identity is the fingerprint, and a name@version stands for one fingerprint only. */
async function findExisting(modelsFolder: string, manifest: ModelManifest): Promise<ModelFolder | undefined> {
  for (const { manifest: other } of await listModelFolders(modelsFolder)) {
    const sameModel = other.fingerprint === manifest.fingerprint;
    const sameName = modelRef(other) === modelRef(manifest);
    if (sameModel && sameName) return loadModelFolder(modelsFolder, manifest.fingerprint);
    if (sameModel) {
      throw new SwitchyardError(
        'ALREADY_EXISTS',
        `this model is imported already as ${modelRef(other)} (${other.fingerprint}); use that name`,
      );
    }
    if (sameName) {
      throw new SwitchyardError(
        'ALREADY_EXISTS',
        `${modelRef(other)} is already another model (${other.fingerprint}); choose another version`,
      );
    }
  }
  return undefined;
}

async function writeProbes(
  folder: string,
  manifest: ModelManifest,
  options: PublishOptions,
): Promise<Record<string, FileSummary>> {
  const session = await ModelSession.open(
    { folder, manifest },
    { provider: 'cpu', threads: options.threads },
  );
  try {
    const { probeVectors } = await checkModel(session, (completed, total) =>
      options.onProgress('check', completed, total),
    );
    await writeFile(path.join(folder, MODEL_FILES.probes), probesToJson(probeTexts()));
    await writeFile(path.join(folder, MODEL_FILES.probeVectors), vectorsToBytes(probeVectors));
  } finally {
    await session.release();
  }
  return {
    [MODEL_FILES.probes]: await summariseFile(path.join(folder, MODEL_FILES.probes)),
    [MODEL_FILES.probeVectors]: await summariseFile(path.join(folder, MODEL_FILES.probeVectors)),
  };
}
