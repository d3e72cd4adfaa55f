import type { InputRole } from '../vocabulary.js';
import type { RegistryTransaction, Tables } from './database.js';

export interface ModelProbe {
  readonly role: InputRole;
  readonly text: string;
  /** The model's dimensions. */
  readonly vector: Float32Array;
}

export async function insertProbes(
  transaction: RegistryTransaction,
  modelId: string,
  probes: readonly ModelProbe[],
): Promise<void> {
  if (probes.length === 0) return;
  await transaction
    .insertInto('embedding_model_probes')
    .values(
      probes.map(({ role, text, vector }, ordinal) => ({
        model_id: modelId,
        ordinal,
        input_role: role,
        text,
        vector: writeVector(vector),
      })),
    )
    .execute();
}

function writeVector(vector: Float32Array): Buffer {
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((value, index) => {
    bytes.writeFloatLE(value, index * 4);
  });
  return bytes;
}

const readVector = (bytes: Buffer): Float32Array =>
  Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));

/** In their order. */
export async function readProbes(tables: Tables, modelId: string): Promise<readonly ModelProbe[]> {
  const rows = await tables
    .selectFrom('embedding_model_probes')
    .selectAll()
    .where('model_id', '=', modelId)
    .orderBy('ordinal')
    .execute();
  return rows.map((row) => ({ role: row.input_role, text: row.text, vector: readVector(row.vector) }));
}
