import {
  ATTRIBUTE_TYPES,
  type AttributeProto,
  DATA_TYPES,
  type DataType,
  encodeOnnx,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from './onnx-schema.js';

/** Name of a value in the graph: an input, a weight or what a node gives. */
export type Value = string & { readonly __brand: 'OnnxValue' };

/** A dimension is a number or the name of one that changes from run to run. */
export type Dimension = number | string;

export type Attributes = Readonly<
  Record<string, { readonly float: number } | { readonly int: number } | { readonly ints: readonly number[] }>
>;

/** IR 8 with opset 17: the first opset with LayerNormalization, read by every runtime of the last years. */
const IR_VERSION = 8;
const OPSET_VERSION = 17;

/**
 * Builds one ONNX graph. Every value has a readable, unique name; nothing depends on time, order of keys or
 * machine, so the same calls give the same bytes.
 */
export class OnnxGraphBuilder {
  readonly #name: string;
  readonly #nodes: NodeProto[] = [];
  readonly #weights: TensorProto[] = [];
  readonly #inputs: ValueInfoProto[] = [];
  readonly #outputs: ValueInfoProto[] = [];
  readonly #names = new Set<string>();

  constructor(name: string) {
    this.#name = name;
  }

  input(name: string, type: DataType, dims: readonly Dimension[]): Value {
    this.#inputs.push(valueInfo(name, type, dims));
    return this.#claim(name);
  }

  /** Gives a value to the outside under its own name. */
  output(name: string, value: Value, type: DataType, dims: readonly Dimension[]): void {
    this.#outputs.push(valueInfo(name, type, dims));
    this.#nodes.push({
      input: [value],
      output: [this.#claim(name)],
      name: `${name}.identity`,
      opType: 'Identity',
    });
  }

  /** A weight from its little-endian bytes. */
  weight(name: string, type: DataType, dims: readonly number[], bytes: Uint8Array): Value {
    this.#weights.push({ dims, dataType: DATA_TYPES[type], name, rawData: bytes });
    return this.#claim(name);
  }

  weightF32(name: string, dims: readonly number[], values: Float32Array): Value {
    return this.weight(name, 'float32', dims, bytesOf(values));
  }

  /** A scalar, written once however often it is used. */
  scalar(value: number): Value {
    const name = `scalar.${value}`;
    if (this.#names.has(name)) return name as Value;
    return this.weightF32(name, [], Float32Array.of(value));
  }

  /** A list of integers as axes and shapes are given, written once however often it is used. */
  integers(...values: readonly number[]): Value {
    const name = `integers.${values.join('.')}`;
    if (this.#names.has(name)) return name as Value;
    return this.weight(name, 'int64', [values.length], bytesOf(BigInt64Array.from(values, BigInt)));
  }

  /** Adds a node with one output, which is named `name`. */
  node(opType: string, name: string, inputs: readonly Value[], attributes: Attributes = {}): Value {
    const output = this.#claim(name);
    this.#nodes.push({
      input: inputs,
      output: [output],
      name: `${name}.${opType}`,
      opType,
      attribute: Object.entries(attributes).map(([key, value]) => attributeProto(key, value)),
    });
    return output;
  }

  cast(name: string, value: Value, type: DataType): Value {
    return this.node('Cast', name, [value], { to: { int: DATA_TYPES[type] } });
  }

  /** The ONNX file. */
  encode(): Uint8Array {
    return encodeOnnx({
      irVersion: IR_VERSION,
      producerName: 'switchyard',
      graph: {
        node: this.#nodes,
        name: this.#name,
        initializer: this.#weights,
        input: this.#inputs,
        output: this.#outputs,
      },
      opsetImport: [{ domain: '', version: OPSET_VERSION }],
    });
  }

  #claim(name: string): Value {
    if (this.#names.has(name)) throw new Error(`the graph has a value ${name} already`);
    this.#names.add(name);
    return name as Value;
  }
}

function valueInfo(name: string, type: DataType, dims: readonly Dimension[]): ValueInfoProto {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: DATA_TYPES[type], shape: { dim } } } };
}

function attributeProto(name: string, value: Attributes[string]): AttributeProto {
  if ('float' in value) return { name, f: value.float, type: ATTRIBUTE_TYPES.float };
  if ('int' in value) return { name, i: value.int, type: ATTRIBUTE_TYPES.int };
  return { name, ints: value.ints, type: ATTRIBUTE_TYPES.ints };
}

/** ONNX wants little-endian, which is what every platform with these runtimes has. */
const bytesOf = (values: ArrayBufferView): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
