import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ModelFolder } from '../encoder/manifest.js';
import { loadModelFolder } from '../encoder/model-folder.js';
import { readProbes } from '../encoder/probes.js';
import { SwitchyardError } from '../errors.js';
import { realFolderInside } from '../files/inside.js';
import { type ChangeAuthor, UNSTATED } from '../registry/changes.js';
import type { RegisteredModel } from '../registry/models.js';
import type { Registry } from '../registry/registry.js';
import { type Fingerprint, isFingerprint } from '../vocabulary.js';

/**
 * Makes an imported model known, with its probes; again for the same fingerprint changes nothing.
 * Errors: ALREADY_EXISTS when the name@version stands for another vector space.
 */
export async function registerModel(
  registry: Registry,
  model: ModelFolder,
  author: ChangeAuthor = UNSTATED,
): Promise<RegisteredModel> {
  const { dimensions } = model.manifest;
  const { probes, vectors } = await readProbes(model);
  return registry.models.register({
    manifest: model.manifest,
    artifactUri: pathToFileURL(model.folder).href,
    author,
    probes: probes.map((probe, row) => ({
      ...probe,
      vector: vectors.slice(row * dimensions, (row + 1) * dimensions),
    })),
  });
}

/**
 * Registers the model that lies in a models folder under its fingerprint, once every byte of it was hashed again: what
 * a client says about it counts for nothing. Errors: INVALID_ARGUMENT, UNKNOWN_MODEL, CORRUPT_MODEL, those of above.
 */
export async function registerModelIn(
  registry: Registry,
  modelsFolder: string,
  fingerprint: string,
  author: ChangeAuthor,
): Promise<RegisteredModel> {
  if (!isFingerprint(fingerprint))
    throw new SwitchyardError('INVALID_ARGUMENT', 'fingerprint must be mf1_ and 32 lower-case hex digits', {
      details: { field: 'fingerprint' },
    });
  await refuseLinks(modelsFolder, fingerprint);
  return registerModel(registry, await loadModelFolder(modelsFolder, fingerprint), author);
}

/** A file that is a link would be hashed wherever it leads, and could be another one tomorrow. */
async function refuseLinks(modelsFolder: string, fingerprint: Fingerprint): Promise<void> {
  const folder = await realFolderInside(modelsFolder, path.join(modelsFolder, fingerprint));
  if (folder === null)
    throw new SwitchyardError(
      'UNKNOWN_MODEL',
      `there is no model ${fingerprint} in ${modelsFolder}: import it there first with \`switchyard model import\``,
      { details: { folder: modelsFolder } },
    );
  const entries = await readdir(folder, { withFileTypes: true });
  const odd = entries.find((entry) => !entry.isFile());
  if (odd !== undefined)
    throw new SwitchyardError(
      'CORRUPT_MODEL',
      `model ${fingerprint}: ${odd.name} is not a plain file; delete the folder and import the model again`,
      { details: { file: odd.name } },
    );
}
