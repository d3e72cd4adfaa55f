import { readFile, writeFile } from 'node:fs/promises';
import type { SearchCorpus } from './search-corpus.js';

/** Held-out queries and their true nearest rows as a process of its own gets them. */
export interface Queries {
  readonly vectors: readonly Float32Array<ArrayBuffer>[];
  readonly truth: readonly Uint32Array[];
}

/** As `<prefix>.queries.f32` and `<prefix>.truth.u32`. */
export async function writeQueries(prefix: string, { queries, truth }: SearchCorpus): Promise<void> {
  await writeFile(`${prefix}.queries.f32`, Buffer.concat(queries.map(bytesOf)));
  await writeFile(`${prefix}.truth.u32`, Buffer.concat(truth.map(bytesOf)));
}

export async function readQueries(prefix: string, dimensions: number, topK: number): Promise<Queries> {
  const vectors = new Float32Array(await bufferOf(`${prefix}.queries.f32`));
  const truth = new Uint32Array(await bufferOf(`${prefix}.truth.u32`));
  const count = vectors.length / dimensions;
  return {
    vectors: Array.from({ length: count }, (_, at) => vectors.slice(at * dimensions, (at + 1) * dimensions)),
    truth: Array.from({ length: count }, (_, at) => truth.slice(at * topK, (at + 1) * topK)),
  };
}

const bytesOf = (values: Float32Array | Uint32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

async function bufferOf(file: string): Promise<ArrayBuffer> {
  const bytes = await readFile(file);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}
