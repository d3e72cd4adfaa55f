import path from 'node:path';
import { type Static, type TObject, Type } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { SwitchyardError } from '../../errors.js';
import { isModelFileName } from '../manifest-schema.js';
import { readInputFile, readInputJson } from './input-file.js';

const MODEL_FILE = 'model.json';
const ELEMENT_BYTES = 4;
/** Far above any model that is imported here, far below what would not fit into memory. */
const WEIGHTS_BYTES_MAX = 2 ** 31;

const WEIGHT = Type.Object({
  name: Type.String({ minLength: 1 }),
  shape: Type.Array(Type.Integer({ minimum: 1, maximum: 1 << 24 }), { maxItems: 8 }),
  dtype: Type.Union([Type.Literal('float32'), Type.Literal('int32')]),
  // Quantised weights have this: their bytes are something else than the dtype says.
  quantization: Type.Optional(Type.Undefined()),
});
const MODEL: TObject = Type.Object({
  weightsManifest: Type.Array(
    Type.Object({ paths: Type.Array(Type.String(), { minItems: 1 }), weights: Type.Array(WEIGHT) }),
    { minItems: 1 },
  ),
});

interface Group {
  readonly paths: readonly string[];
  readonly weights: readonly Static<typeof WEIGHT>[];
}

interface Weight {
  readonly shape: readonly number[];
  readonly values: Float32Array | Int32Array;
}

/**
 * The weights of a TensorFlow.js graph model: `model.json` and shards beside it, whose bytes follow one another without
 * gaps. TensorFlow names are long and partly accidental, so weights are asked for by the end of their name, which must
 * fit exactly one. Errors of all methods: INVALID_MODEL naming the file or weight.
 */
export class TfjsWeights {
  readonly #weights: ReadonlyMap<string, Weight>;
  readonly #used = new Set<string>();

  private constructor(weights: ReadonlyMap<string, Weight>) {
    this.#weights = weights;
  }

  static async read(folder: string): Promise<TfjsWeights> {
    const weights = new Map<string, Weight>();
    for (const group of parseGroups(await readInputJson(path.join(folder, MODEL_FILE)))) {
      const bytes = await readShards(folder, group);
      let offset = 0;
      for (const { name, shape, dtype } of group.weights) {
        if (weights.has(name)) throw invalid(MODEL_FILE, `has two weights ${name}`);
        const end = offset + byteCount(shape);
        const values = new (dtype === 'int32' ? Int32Array : Float32Array)(bytes.buffer.slice(offset, end));
        if (!values.every(Number.isFinite))
          throw invalid(MODEL_FILE, `has numbers in ${name} that are not finite`);
        weights.set(name, { shape, values });
        offset = end;
      }
    }
    return new TfjsWeights(weights);
  }

  /** The numbers of a weight, which must have this shape. */
  floats(suffix: string, shape: readonly number[]): Float32Array {
    const weight = this.#find(suffix);
    if (weight.values instanceof Int32Array) throw invalid(MODEL_FILE, `has integers in ${suffix}`);
    if (weight.shape.join() !== shape.join()) {
      throw invalid(
        MODEL_FILE,
        `has ${suffix} as [${weight.shape.join(', ')}]; it must be [${shape.join(', ')}]`,
      );
    }
    return weight.values;
  }

  /** A constant. */
  float(suffix: string): number {
    return this.floats(suffix, [])[0] as number;
  }

  integer(suffix: string): number {
    const { values } = this.#find(suffix);
    if (!(values instanceof Int32Array) || values.length !== 1)
      throw invalid(MODEL_FILE, `has no one integer in ${suffix}`);
    return values[0] as number;
  }

  /** Size of each axis. */
  shape(suffix: string): readonly number[] {
    return this.#find(suffix).shape;
  }

  /** A weight that nobody asked for belongs to a part of the graph that a conversion does not know. */
  expectAllUsed(): void {
    for (const [name, { values }] of this.#weights) {
      if (values instanceof Int32Array || this.#used.has(name)) continue;
      throw invalid(MODEL_FILE, `has the weight ${name}, which the model known here does not have`);
    }
  }

  #find(suffix: string): Weight {
    const names = [...this.#weights.keys()].filter((name) => name === suffix || name.endsWith(`/${suffix}`));
    const [name] = names;
    const weight = name === undefined ? undefined : this.#weights.get(name);
    if (names.length !== 1 || name === undefined || !weight) {
      throw invalid(MODEL_FILE, `has ${names.length} weights named …/${suffix}; it must have one`);
    }
    this.#used.add(name);
    return weight;
  }
}

function parseGroups(json: unknown): readonly Group[] {
  const problem = Value.Errors(MODEL, json).First();
  if (problem) throw invalid(MODEL_FILE, `is not valid at ${problem.path || '/'}: ${problem.message}`);
  const groups = (json as { readonly weightsManifest: readonly Group[] }).weightsManifest;
  const stray = groups.flatMap(({ paths }) => paths).find((name) => !isModelFileName(name));
  if (stray !== undefined) {
    throw invalid(MODEL_FILE, `lists ${JSON.stringify(stray)}; weights must be plain files beside it`);
  }
  return groups;
}

/** All bytes of a group in memory of their own. */
async function readShards(folder: string, { paths, weights }: Group): Promise<Uint8Array<ArrayBuffer>> {
  const expected = weights.reduce((total, { shape }) => total + byteCount(shape), 0);
  if (expected > WEIGHTS_BYTES_MAX) {
    throw invalid(MODEL_FILE, `has weights of ${expected} bytes, there may be ${WEIGHTS_BYTES_MAX}`);
  }
  const shards: Buffer[] = [];
  for (const name of paths) shards.push(await readInputFile(path.join(folder, name)));
  const actual = shards.reduce((total, { length }) => total + length, 0);
  if (actual !== expected) {
    throw invalid(MODEL_FILE, `lists weights of ${expected} bytes, ${paths.join(', ')} have ${actual}`);
  }
  const bytes = new Uint8Array(expected);
  let offset = 0;
  for (const shard of shards) {
    bytes.set(shard, offset);
    offset += shard.length;
  }
  return bytes;
}

const byteCount = (shape: readonly number[]): number =>
  shape.reduce((product, size) => product * size, ELEMENT_BYTES);

const invalid = (file: string, problem: string): SwitchyardError =>
  new SwitchyardError('INVALID_MODEL', `${file} ${problem}`, { details: { file } });
