import { pathToFileURL } from 'node:url';
import type { ModelFolder } from '../encoder/manifest.js';
import { readProbes } from '../encoder/probes.js';
import type { Registry } from '../registry/registry.js';

/**
 * Makes an imported model known, with its probes; again for the same fingerprint changes nothing.
 * Errors: ALREADY_EXISTS when the name@version stands for another vector space.
 */
export async function registerModel(registry: Registry, model: ModelFolder): Promise<void> {
  const { dimensions } = model.manifest;
  const { probes, vectors } = await readProbes(model);
  await registry.models.register({
    manifest: model.manifest,
    artifactUri: pathToFileURL(model.folder).href,
    probes: probes.map((probe, row) => ({
      ...probe,
      vector: vectors.slice(row * dimensions, (row + 1) * dimensions),
    })),
  });
}
