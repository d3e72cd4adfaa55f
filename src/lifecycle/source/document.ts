import { SwitchyardError } from '../../errors.js';

/** One document of a source, as it was given. */
export interface SourceDocument {
  readonly id: string;
  readonly text: string;
  readonly title: string | null;
  readonly attributes: Readonly<Record<string, unknown>> | null;
  /** A ready vector of the stated model, full dimensions; null when the text is to be embedded. */
  readonly vector: Float32Array | null;
  /** Rises with every change of the document; absent where the source says none. */
  readonly version?: number;
}

/** A source that can be read again and again from its start: once to count and hash, once to build. */
export interface DocumentSource {
  /** Base name, for the manifest and messages. */
  readonly name: string;
  /** True when every document carries its vector. */
  readonly hasVectors: boolean;
  documents(): AsyncIterable<SourceDocument>;
}

export const ID_BYTES_MAX = 512;
const FIELDS = ['id', 'text', 'title', 'attributes', 'vector'];

/** Checks one decoded record. Errors: INVALID_INPUT_FILE with `where` (file and line or row) in front. */
export function toSourceDocument(record: unknown, where: string): SourceDocument {
  const refuse = (why: string): never => {
    throw new SwitchyardError('INVALID_INPUT_FILE', `${where}: ${why}`);
  };
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    return refuse('must be a JSON object with id and text');
  }
  const unknown = Object.keys(record).find((key) => !FIELDS.includes(key));
  if (unknown !== undefined) {
    return refuse(`unknown field "${unknown}"; known are ${FIELDS.join(', ')}; put your own into attributes`);
  }
  const { id, text, title, attributes, vector } = record as Record<string, unknown>;
  if (typeof id !== 'string' || id === '') return refuse('id must be a non-empty string');
  const idBytes = Buffer.byteLength(id);
  if (idBytes > ID_BYTES_MAX) return refuse(`id of ${idBytes} bytes must be <= ${ID_BYTES_MAX}`);
  if (typeof text !== 'string' || text.trim() === '') return refuse('text must be a non-empty string');
  if (title !== undefined && title !== null && typeof title !== 'string')
    return refuse('title must be a string');
  if (
    attributes !== undefined &&
    attributes !== null &&
    (typeof attributes !== 'object' || Array.isArray(attributes))
  ) {
    return refuse('attributes must be an object');
  }
  return {
    id,
    text,
    title: title === undefined || title === null || title === '' ? null : title,
    attributes: (attributes ?? null) as Readonly<Record<string, unknown>> | null,
    vector: vector === undefined || vector === null ? null : toVector(vector, refuse),
  };
}

function toVector(value: unknown, refuse: (why: string) => never): Float32Array {
  if (value instanceof Float32Array) return value;
  if (!Array.isArray(value) || value.length === 0)
    return refuse('vector must be a non-empty array of numbers');
  const vector = new Float32Array(value.length);
  for (const [at, component] of value.entries()) {
    if (typeof component !== 'number') return refuse(`vector[${at}] is not a number`);
    vector[at] = component;
  }
  return vector;
}
