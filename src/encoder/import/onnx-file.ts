import { SwitchyardError } from '../../errors.js';
import type { Precision } from '../../vocabulary.js';
import { isModelFileName } from '../manifest-schema.js';
import { MODEL_FILES } from '../model-folder.js';
import {
  DATA_TYPES,
  decodeOnnx,
  EXTERNAL_DATA,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
} from './onnx-schema.js';

/** What an import needs to know of an ONNX file without running it. */
export interface OnnxFileFacts {
  /** Names of the files that hold weights outside of the ONNX file, sorted. */
  readonly externalFiles: readonly string[];
  /** What most of the weights' bytes are; undefined when nothing has the majority. */
  readonly precision: Precision | undefined;
}

const PRECISION_OF: Readonly<Record<number, { readonly precision: Precision; readonly bytes: number }>> = {
  [DATA_TYPES.float32]: { precision: 'fp32', bytes: 4 },
  [DATA_TYPES.float16]: { precision: 'fp16', bytes: 2 },
  [DATA_TYPES.bfloat16]: { precision: 'fp16', bytes: 2 },
  [DATA_TYPES.uint8]: { precision: 'int8', bytes: 1 },
  [DATA_TYPES.int8]: { precision: 'int8', bytes: 1 },
};

/** Errors: INVALID_MODEL naming the file, also when its external data would lie outside of its folder. */
export function inspectOnnx(bytes: Uint8Array, fileName: string): OnnxFileFacts {
  const tensors = [...tensorsOfModel(decode(bytes, fileName))];
  const externalFiles = new Set<string>();
  for (const tensor of tensors) {
    if (tensor.dataLocation === EXTERNAL_DATA) externalFiles.add(externalLocation(tensor, fileName));
  }
  return { externalFiles: [...externalFiles].sort(), precision: majorityPrecision(tensors) };
}

function decode(bytes: Uint8Array, fileName: string): ModelProto {
  let model: ModelProto | undefined;
  let cause: unknown;
  try {
    model = decodeOnnx(bytes);
  } catch (error) {
    cause = error;
  }
  if (model?.graph?.node?.length) return model;
  throw invalid(fileName, 'is not an ONNX file with a graph', cause);
}

/** Weights hide in initializers, in attributes of nodes, in graphs inside of attributes, and in functions. */
function* tensorsOfModel(model: ModelProto): Generator<TensorProto> {
  if (model.graph) yield* tensorsOfGraph(model.graph);
  for (const { node } of model.functions ?? []) yield* tensorsOfNodes(node);
}

function* tensorsOfGraph(graph: GraphProto): Generator<TensorProto> {
  yield* graph.initializer ?? [];
  for (const { values, indices } of graph.sparseInitializer ?? []) {
    if (values) yield values;
    if (indices) yield indices;
  }
  yield* tensorsOfNodes(graph.node);
}

function* tensorsOfNodes(nodes: readonly NodeProto[] | undefined): Generator<TensorProto> {
  for (const attribute of (nodes ?? []).flatMap((node) => node.attribute ?? [])) {
    if (attribute.t) yield attribute.t;
    yield* attribute.tensors ?? [];
    for (const graph of attribute.g ? [attribute.g] : []) yield* tensorsOfGraph(graph);
    for (const graph of attribute.graphs ?? []) yield* tensorsOfGraph(graph);
    const sparse = [
      ...(attribute.sparseTensor ? [attribute.sparseTensor] : []),
      ...(attribute.sparseTensors ?? []),
    ];
    for (const { values, indices } of sparse) {
      if (values) yield values;
      if (indices) yield indices;
    }
  }
}

/** The graph refers to the file by name, so it keeps its name in the model folder and must not leave it. */
function externalLocation(tensor: TensorProto, fileName: string): string {
  const location = tensor.externalData?.find(({ key }) => key === 'location')?.value;
  const reserved: readonly string[] = Object.values(MODEL_FILES);
  if (location !== undefined && isModelFileName(location) && !reserved.includes(location)) return location;
  throw invalid(
    fileName,
    `keeps weights in ${JSON.stringify(location)}; external data must be plain files beside it, with names of their own`,
  );
}

function majorityPrecision(tensors: readonly TensorProto[]): Precision | undefined {
  const bytesOf = new Map<Precision, number>();
  let total = 0;
  for (const tensor of tensors) {
    const known = PRECISION_OF[tensor.dataType ?? 0];
    const elements = (tensor.dims ?? []).reduce((product, size) => product * size, 1);
    const bytes = elements * (known?.bytes ?? 1);
    total += bytes;
    if (known) bytesOf.set(known.precision, (bytesOf.get(known.precision) ?? 0) + bytes);
  }
  for (const [precision, bytes] of bytesOf) if (bytes * 2 > total) return precision;
  return undefined;
}

const invalid = (fileName: string, problem: string, cause?: unknown): SwitchyardError =>
  new SwitchyardError('INVALID_MODEL', `${fileName} ${problem}`, { cause, details: { file: fileName } });
