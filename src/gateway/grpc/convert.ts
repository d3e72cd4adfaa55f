import type protobuf from 'protobufjs';
import { SwitchyardError } from '../../errors.js';
import type { EmbedOutcome, SearchOutcome } from '../../router/query.js';
import type { InputRole, Priority } from '../../vocabulary.js';
import { float32View } from '../float32.js';
import {
  DIMENSIONS_MAX,
  type EmbedInput,
  invalidArgument,
  type SearchInput,
  tooManyDimensions,
  tooManyItems,
} from '../limits.js';
import { writeSearchResponse } from './search-response.js';
import {
  BYTES,
  expectWireType,
  FIXED32,
  type FieldReader,
  malformed,
  readFields,
  type StrictReader,
  VARINT,
} from './strict-reader.js';
import { WireWriter } from './wire-writer.js';

// Wire → inputs. Each decoder yields a value or a SwitchyardError and never throws: grpc-js would make a throw INTERNAL.

export const decodeSearch = (bytes: Buffer): SearchInput | SwitchyardError => guarded(bytes, readSearch);
/** Nothing is read beyond so many items. */
export const decodeBatch = (bytes: Buffer, itemsMax: number): readonly SearchInput[] | SwitchyardError =>
  guarded(bytes, readBatch, itemsMax);
export const decodeEmbed = (bytes: Buffer): EmbedInput | SwitchyardError => guarded(bytes, readEmbed);

function guarded<T>(
  bytes: Buffer,
  read: (bytes: Buffer, itemsMax: number) => T,
  itemsMax = 1,
): T | SwitchyardError {
  try {
    return read(bytes, itemsMax);
  } catch (error) {
    if (error instanceof SwitchyardError) return error;
    return malformed('the message is not a valid protobuf encoding of its type', error);
  }
}

/** As it is filled in, field by field: a closure for each message would be garbage of every request. */
type Filled<T> = { -readonly [Key in keyof T]: T[Key] };

function readSearch(bytes: Buffer): SearchInput {
  const input: Filled<SearchInput> = {
    corpus: '',
    text: null,
    vector: null,
    topK: null,
    model: '',
    corpusVersion: '',
    affinityKey: '',
    withDocument: false,
    bypassCache: false,
    priority: 'live',
  };
  readFields(bytes, 'SearchRequest', searchField, input);
  return input;
}

const searchField: FieldReader<Filled<SearchInput>> = (reader, field, wireType, input) => {
  switch (field) {
    case 1:
      input.corpus = text(reader, 'corpus', wireType);
      return true;
    case 2:
      input.text = text(reader, 'text', wireType);
      return true;
    case 3:
      expectWireType('SearchRequest', 'vector', wireType, BYTES);
      input.vector = readVector(reader.view());
      return true;
    case 4:
      expectWireType('SearchRequest', 'top_k', wireType, VARINT);
      input.topK = reader.integer();
      return true;
    case 5:
      input.model = text(reader, 'model', wireType);
      return true;
    case 6:
      input.corpusVersion = text(reader, 'corpus_version', wireType);
      return true;
    case 7:
      input.affinityKey = text(reader, 'affinity_key', wireType);
      return true;
    case 8:
      expectWireType('SearchRequest', 'with_document', wireType, VARINT);
      input.withDocument = reader.integer() !== 0;
      return true;
    case 10:
      expectWireType('SearchRequest', 'bypass_cache', wireType, VARINT);
      input.bypassCache = reader.integer() !== 0;
      return true;
    case 11:
      input.priority = priority(reader, wireType, 'SearchRequest');
      return true;
    default:
      return false;
  }
};

interface VectorBytes {
  f32le: Buffer | null;
  /** Pieces of `values`; null before the first. */
  values: Buffer[] | null;
}

/** `values`. */
const VECTOR_REPEATED = 1 << 1;

function readVector(bytes: Buffer): Float32Array {
  const found: VectorBytes = { f32le: null, values: null };
  readFields(bytes, 'Vector', vectorField, found, VECTOR_REPEATED);
  const { f32le, values } = found;
  if (f32le !== null && values !== null)
    throw invalidArgument('vector', 'vector has both values and f32le: give one of the two');
  if (f32le !== null) return float32View('vector.f32le', f32le);
  if (values?.length === 1) return float32View('vector.values', values[0] as Buffer);
  return float32View('vector.values', Buffer.concat(values ?? []));
}

const vectorField: FieldReader<VectorBytes> = (reader, field, wireType, found) => {
  if (field === 2) {
    expectWireType('Vector', 'f32le', wireType, BYTES);
    found.f32le = reader.view();
    return true;
  }
  if (field !== 1) return false;
  found.values ??= [];
  // However many a message has room for: each is an object.
  if (found.values.length === DIMENSIONS_MAX) throw tooManyDimensions();
  // Packed by every current encoder; one by one is legal too.
  if (wireType === FIXED32) {
    const one = Buffer.allocUnsafe(4);
    one.writeUInt32LE(reader.fixed32());
    found.values.push(one);
  } else {
    expectWireType('Vector', 'values', wireType, BYTES);
    found.values.push(reader.view());
  }
  return true;
};

interface Batch {
  readonly inputs: SearchInput[];
  readonly itemsMax: number;
}

/** `requests`. */
const BATCH_REPEATED = 1 << 1;

function readBatch(bytes: Buffer, itemsMax: number): readonly SearchInput[] {
  const batch: Batch = { inputs: [], itemsMax };
  readFields(bytes, 'BatchSearchRequest', batchField, batch, BATCH_REPEATED);
  return batch.inputs;
}

const batchField: FieldReader<Batch> = (reader, field, wireType, { inputs, itemsMax }) => {
  if (field !== 1) return false;
  expectWireType('BatchSearchRequest', 'requests', wireType, BYTES);
  // Two bytes on the wire are enough for one.
  if (inputs.length === itemsMax) throw tooManyItems(itemsMax);
  inputs.push(readSearch(reader.view()));
  return true;
};

const PRIORITY_BY_NUMBER: readonly Priority[] = ['live', 'live', 'bulk'];

function priority(reader: StrictReader, wireType: number, message: string): Priority {
  expectWireType(message, 'priority', wireType, VARINT);
  const number = reader.integer();
  const word = PRIORITY_BY_NUMBER[number];
  if (word === undefined)
    throw invalidArgument('priority', `priority ${number} must be 1 (PRIORITY_LIVE) or 2 (PRIORITY_BULK)`);
  return word;
}

const INPUT_ROLE_BY_NUMBER: readonly InputRole[] = ['query', 'query', 'document'];

function readEmbed(bytes: Buffer): EmbedInput {
  const input: Filled<EmbedInput> = { model: '', text: '', role: 'query', priority: 'live' };
  readFields(bytes, 'EmbedRequest', embedField, input);
  return input;
}

const embedField: FieldReader<Filled<EmbedInput>> = (reader, field, wireType, input) => {
  switch (field) {
    case 1:
      input.model = text(reader, 'model', wireType, 'EmbedRequest');
      return true;
    case 2:
      input.text = text(reader, 'text', wireType, 'EmbedRequest');
      return true;
    case 3: {
      expectWireType('EmbedRequest', 'input_role', wireType, VARINT);
      const number = reader.integer();
      const role = INPUT_ROLE_BY_NUMBER[number];
      if (role === undefined)
        throw invalidArgument('input_role', `input_role ${number} must be 1 (QUERY) or 2 (DOCUMENT)`);
      input.role = role;
      return true;
    }
    case 4:
      input.priority = priority(reader, wireType, 'EmbedRequest');
      return true;
    default:
      return false;
  }
};

function text(reader: StrictReader, field: string, wireType: number, message = 'SearchRequest'): string {
  expectWireType(message, field, wireType, BYTES);
  return reader.text(field);
}

// Outcomes → wire.

const RESPONSE_TAG = 0x0a;
const ITEM_TAG = 0x0a;

/** Encodes answers with the message types of the public contract. */
export class ResponseEncoder {
  readonly #writer = new WireWriter();
  readonly #item: protobuf.Type;
  readonly #embed: protobuf.Type;

  constructor(root: protobuf.Root) {
    this.#item = root.lookupType('switchyard.v1.BatchSearchItem');
    this.#embed = root.lookupType('switchyard.v1.EmbedResponse');
  }

  search(outcome: SearchOutcome): Buffer {
    const writer = this.#emptyWriter();
    writeSearchResponse(writer, outcome);
    return writer.finish();
  }

  batch(outcomes: readonly (SearchOutcome | SwitchyardError)[]): Buffer {
    const writer = this.#emptyWriter();
    for (const outcome of outcomes) {
      const item = writer.begin(ITEM_TAG);
      if (outcome instanceof SwitchyardError) writer.raw(finish(this.#item.encode(errorItem(outcome))));
      else {
        const response = writer.begin(RESPONSE_TAG);
        writeSearchResponse(writer, outcome);
        writer.end(response);
      }
      writer.end(item);
    }
    return writer.finish();
  }

  #emptyWriter(): WireWriter {
    // An error on the way (attributes that cannot be JSON) left half a message.
    this.#writer.reset();
    return this.#writer;
  }

  embed(outcome: EmbedOutcome): Buffer {
    const { values } = outcome;
    return finish(
      this.#embed.encode({
        model: outcome.model,
        fingerprint: outcome.fingerprint,
        dimensions: values.length,
        f32le: Buffer.from(values.buffer, values.byteOffset, values.byteLength),
        token_count: outcome.tokenCount,
        truncated: outcome.truncated,
      }),
    );
  }
}

/** In Node the writer allocates Buffers; its type says the more general thing. */
function finish(writer: protobuf.Writer): Buffer {
  const bytes = writer.finish();
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const errorItem = ({ reason, message, details }: SwitchyardError): Record<string, unknown> => ({
  error: { reason, message, details },
});
