import { SwitchyardError } from '../errors.js';
import { modelRef } from '../vocabulary.js';
import { formatOf } from './formats.js';
import type { BundleManifest } from './manifest.js';
import type { IndexQuery } from './search-index.js';
import {
  findPrefixDefect,
  findVectorDefect,
  measureNorm,
  needsScaling,
  scaleToUnit,
} from './vector-check.js';
import { VectorSlab } from './vector-slab.js';

export const TOP_K_MAX = 1000;

const SLAB = new VectorSlab();

/**
 * Invariant 1 lives here: every query of every index passes this function, and the fingerprint is compared first.
 * Returns a private copy of the vector, in full length, as the index takes it. usearch itself would answer a query of the wrong
 * length, or one with a NaN, with hits.
 */
export function checkQuery(query: IndexQuery, manifest: BundleManifest): Float32Array<ArrayBuffer> {
  const { fingerprint, values } = query.vector;
  if (fingerprint !== manifest.model.fingerprint)
    throw new SwitchyardError(
      'FINGERPRINT_MISMATCH',
      `the query vector is of model ${fingerprint}, the index was built by ${modelRef(manifest.model)} (${manifest.model.fingerprint})`,
      { details: { query_fingerprint: fingerprint, index_fingerprint: manifest.model.fingerprint } },
    );
  if (values.length !== manifest.full_dimensions)
    throw new SwitchyardError(
      'DIMENSION_MISMATCH',
      `the vector has ${values.length} numbers, the model ${modelRef(manifest.model)} makes ${manifest.full_dimensions}`,
      { details: { given: String(values.length), expected: String(manifest.full_dimensions) } },
    );
  if (!Number.isInteger(query.topK) || query.topK < 1 || query.topK > TOP_K_MAX)
    throw new SwitchyardError(
      'INVALID_ARGUMENT',
      `top_k ${query.topK} must be an integer from 1 to ${TOP_K_MAX}`,
    );
  const { dimensions, full_dimensions: fullDimensions, metric } = manifest;
  const vector = SLAB.copy(values);
  const format = formatOf(manifest);
  const norm = measureNorm(vector, 0, fullDimensions);
  const defect =
    findVectorDefect({ values: vector, offset: 0, dimensions: fullDimensions, norm }, metric, format) ??
    findPrefixDefect(vector, 0, { dimensions, fullDimensions }, format);
  if (defect !== null) throw defect;
  if (needsScaling(metric, norm)) scaleToUnit(vector, 0, fullDimensions, norm);
  return vector;
}
