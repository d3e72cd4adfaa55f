import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import { INPUT_ROLES, type InputRole, modelRef } from '../vocabulary.js';
import type { ModelFolder } from './manifest.js';
import { MODEL_FILES } from './model-folder.js';
import type { ModelSession } from './session.js';

export interface Probe {
  readonly text: string;
  readonly role: InputRole;
}

/** Every encoder must come this close to the vectors computed at import, on whatever provider it runs. */
export const PROBE_COSINE_MIN = 0.999;
export const PROBE_COUNT = 32;

/** Runs the model's probes and compares. Resolves to the worst cosine. Errors: PROBE_MISMATCH, CORRUPT_MODEL. */
export async function reproduceProbes(session: ModelSession, folder: ModelFolder): Promise<number> {
  const { probes, vectors } = await readProbes(folder);
  const { dimensions } = folder.manifest;
  const computed = await encodeProbes(session, probes);
  let worst = 1;
  for (let row = 0; row < probes.length; row++) {
    worst = Math.min(worst, cosineOfRows(computed, vectors, row, dimensions));
  }
  if (worst >= PROBE_COSINE_MIN) return worst;
  throw new SwitchyardError(
    'PROBE_MISMATCH',
    `${modelRef(folder.manifest)} does not reproduce its probes here: the worst cosine is ${worst.toFixed(6)}, it must be >= ${PROBE_COSINE_MIN}; use another execution provider or import the model again`,
    { details: { worst_cosine: worst.toFixed(6), fingerprint: folder.manifest.fingerprint } },
  );
}

/** The vectors of probes, in their order: probes × dimensions. */
export async function encodeProbes(session: ModelSession, probes: readonly Probe[]): Promise<Float32Array> {
  const { dimensions } = session.manifest;
  const values = new Float32Array(probes.length * dimensions);
  for (const role of INPUT_ROLES) {
    const rows = probes.flatMap((probe, row) => (probe.role === role ? [row] : []));
    const encoded = await session.encode(
      rows.map((row) => (probes[row] as Probe).text),
      role,
    );
    for (const [i, row] of rows.entries()) {
      values.set(encoded.values.subarray(i * dimensions, (i + 1) * dimensions), row * dimensions);
    }
  }
  return values;
}

/** Cosine of one row of two matrices; 0 when a row has no direction. */
export function cosineOfRows(a: Float32Array, b: Float32Array, row: number, dimensions: number): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = row * dimensions; i < (row + 1) * dimensions; i++) {
    const x = a[i] as number;
    const y = b[i] as number;
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  const cosine = dot / Math.sqrt(aa * bb);
  return Number.isFinite(cosine) ? cosine : 0;
}

export const probesToJson = (probes: readonly Probe[]): string => `${JSON.stringify(probes, null, 1)}\n`;

export function vectorsToBytes(vectors: Float32Array): Buffer {
  const bytes = Buffer.alloc(vectors.length * 4);
  for (const [i, value] of vectors.entries()) bytes.writeFloatLE(value, i * 4);
  return bytes;
}

export async function readProbes(folder: ModelFolder): Promise<{ probes: Probe[]; vectors: Float32Array }> {
  const json: unknown = parseJson(await readFile(path.join(folder.folder, MODEL_FILES.probes), 'utf8'));
  if (!Array.isArray(json) || json.length !== PROBE_COUNT || !json.every(isProbe)) {
    throw corrupt(folder, MODEL_FILES.probes, `must be a list of ${PROBE_COUNT} texts with their role`);
  }
  const bytes = await readFile(path.join(folder.folder, MODEL_FILES.probeVectors));
  const count = PROBE_COUNT * folder.manifest.dimensions;
  if (bytes.length !== count * 4) {
    throw corrupt(folder, MODEL_FILES.probeVectors, `has ${bytes.length} bytes, it must have ${count * 4}`);
  }
  return { probes: json, vectors: Float32Array.from({ length: count }, (_, i) => bytes.readFloatLE(i * 4)) };
}

/** `undefined` is no list of probes: the caller refuses it by name. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isProbe(value: unknown): value is Probe {
  if (typeof value !== 'object' || value === null) return false;
  const { text, role } = value as Partial<Probe>;
  return typeof text === 'string' && text.length > 0 && INPUT_ROLES.some((known) => known === role);
}

function corrupt(folder: ModelFolder, file: string, problem: string): SwitchyardError {
  return new SwitchyardError('CORRUPT_MODEL', `model ${path.basename(folder.folder)}: ${file} ${problem}`, {
    details: { file },
  });
}
