import path from 'node:path';
import { defaultThreads } from '../../src/encoder/import/default-threads.js';
import { publishModel } from '../../src/encoder/import/publish-model.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { listModelFolders, loadModelFolder, MODEL_FILES } from '../../src/encoder/model-folder.js';
import { modelRef } from '../../src/vocabulary.js';

/** Tokens of a text that it reads. */
const SHORT_TOKENS = 32;

/**
 * The same model, cut at 32 tokens: the same vectors for short texts, and a start that takes a third of the time, since
 * most of it is spent on the longest probes. Imported once into a folder beside the model's own.
 */
export async function shortModel({ folder, manifest }: ModelFolder): Promise<ModelFolder> {
  const modelsFolder = `${path.dirname(folder)}-short`;
  for (const { manifest: made } of await listModelFolders(modelsFolder))
    if (modelRef(made) === modelRef(manifest)) return loadModelFolder(modelsFolder, made.fingerprint);
  const { format_version: _format, fingerprint: _fingerprint, files: _files, ...description } = manifest;
  const file = (name: string) => ({ kind: 'file', file: path.join(folder, name) }) as const;
  return publishModel(
    {
      description: { ...description, max_tokens: SHORT_TOKENS },
      onnx: file(MODEL_FILES.onnx),
      tokenizer: file(MODEL_FILES.tokenizer),
      externalData: {},
    },
    { modelsFolder, threads: defaultThreads(), onProgress: () => undefined },
  );
}
