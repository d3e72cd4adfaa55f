import type protobuf from 'protobufjs';
import { SwitchyardError } from '../../errors.js';
import type { Hit } from '../../index/search-index.js';
import type { EmbedOutcome, SearchOutcome, ServedBy } from '../../router/query.js';
import { digestPrefix, type InputRole } from '../../vocabulary.js';
import { float32View } from '../float32.js';
import { type EmbedInput, invalidArgument, type SearchInput } from '../limits.js';
import {
  BYTES,
  expectWireType,
  FIXED32,
  malformed,
  readFields,
  type StrictReader,
  VARINT,
} from './strict-reader.js';

// Wire → inputs. Each decoder yields a value or a SwitchyardError and never throws: grpc-js would make a throw INTERNAL.

export const decodeSearch = (bytes: Buffer): SearchInput | SwitchyardError => guarded(bytes, readSearch);
export const decodeBatch = (bytes: Buffer): readonly SearchInput[] | SwitchyardError =>
  guarded(bytes, readBatch);
export const decodeEmbed = (bytes: Buffer): EmbedInput | SwitchyardError => guarded(bytes, readEmbed);

function guarded<T>(bytes: Buffer, read: (bytes: Buffer) => T): T | SwitchyardError {
  try {
    return read(bytes);
  } catch (error) {
    if (error instanceof SwitchyardError) return error;
    return malformed('the message is not a valid protobuf encoding of its type', error);
  }
}

function readSearch(bytes: Buffer): SearchInput {
  const input = {
    corpus: '',
    text: null as string | null,
    vector: null as Float32Array | null,
    topK: null as number | null,
    model: '',
    corpusVersion: '',
    affinityKey: '',
    withDocument: false,
    bypassCache: false,
  };
  readFields(bytes, 'SearchRequest', (reader, field, wireType) => {
    switch (field) {
      case 1:
        input.corpus = text(reader, 'corpus', wireType);
        return true;
      case 2:
        input.text = text(reader, 'text', wireType);
        return true;
      case 3:
        expectWireType('SearchRequest', 'vector', wireType, BYTES);
        if (input.vector !== null) throw malformed('SearchRequest.vector is given twice');
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
      default:
        return false;
    }
  });
  return input;
}

function readVector(bytes: Buffer): Float32Array {
  const chunks: Buffer[] = [];
  let f32le: Buffer | null = null;
  readFields(bytes, 'Vector', (reader, field, wireType) => {
    if (field === 2) {
      expectWireType('Vector', 'f32le', wireType, BYTES);
      f32le = reader.view();
      return true;
    }
    if (field !== 1) return false;
    // Packed by every current encoder; one by one is legal too.
    if (wireType === FIXED32) {
      const one = Buffer.allocUnsafe(4);
      one.writeUInt32LE(reader.fixed32());
      chunks.push(one);
    } else {
      expectWireType('Vector', 'values', wireType, BYTES);
      chunks.push(reader.view());
    }
    return true;
  });
  const packed = f32le as Buffer | null;
  if (packed !== null && chunks.length > 0)
    throw invalidArgument('vector', 'vector has both values and f32le: give one of the two');
  if (packed !== null) return float32View('vector.f32le', packed);
  if (chunks.length === 1) return float32View('vector.values', chunks[0] as Buffer);
  return float32View('vector.values', Buffer.concat(chunks));
}

function readBatch(bytes: Buffer): readonly SearchInput[] {
  const inputs: SearchInput[] = [];
  readFields(bytes, 'BatchSearchRequest', (reader, field, wireType) => {
    if (field !== 1) return false;
    expectWireType('BatchSearchRequest', 'requests', wireType, BYTES);
    inputs.push(readSearch(reader.view()));
    return true;
  });
  return inputs;
}

const INPUT_ROLE_BY_NUMBER: readonly InputRole[] = ['query', 'query', 'document'];

function readEmbed(bytes: Buffer): EmbedInput {
  const input = { model: '', text: '', role: 'query' as InputRole };
  readFields(bytes, 'EmbedRequest', (reader, field, wireType) => {
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
      default:
        return false;
    }
  });
  return input;
}

function text(reader: StrictReader, field: string, wireType: number, message = 'SearchRequest'): string {
  expectWireType(message, field, wireType, BYTES);
  return reader.text(field);
}

// Outcomes → wire.

const TIER_NUMBER = { dram: 1, ssd: 2 } as const satisfies Record<ServedBy['tier'], number>;
const RESULT_CACHE_NUMBER = { HIT: 1, MISS: 2, BYPASS: 3 } as const satisfies Record<
  ServedBy['resultCache'],
  number
>;

/** Encodes answers with the message types of the public contract. */
export class ResponseEncoder {
  readonly #search: protobuf.Type;
  readonly #batch: protobuf.Type;
  readonly #embed: protobuf.Type;

  constructor(root: protobuf.Root) {
    this.#search = root.lookupType('switchyard.v1.SearchResponse');
    this.#batch = root.lookupType('switchyard.v1.BatchSearchResponse');
    this.#embed = root.lookupType('switchyard.v1.EmbedResponse');
  }

  search(outcome: SearchOutcome): Buffer {
    const { hitsWire } = outcome;
    if (hitsWire === undefined) return finish(this.#search.encode(searchMessage(outcome, outcome.hits)));
    // Fields of a message may come in any order, and its bytes may be put together from parts.
    return Buffer.concat([finish(this.#search.encode(searchMessage(outcome, NO_HITS))), hitsWire]);
  }

  batch(outcomes: readonly (SearchOutcome | SwitchyardError)[]): Buffer {
    const items = outcomes.map((outcome) =>
      outcome instanceof SwitchyardError
        ? { error: { reason: outcome.reason, message: outcome.message, details: outcome.details } }
        : { response: searchMessage(outcome, outcome.hits) },
    );
    return finish(this.#batch.encode({ items }));
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

const NO_HITS: readonly Hit[] = Object.freeze([]);

function searchMessage(outcome: SearchOutcome, hits: readonly Hit[]): Record<string, unknown> {
  const { servedBy, timings } = outcome;
  return {
    query_id: outcome.queryId,
    hits: hits.map(hitMessage),
    served_by: {
      corpus_version: servedBy.corpusVersion,
      build: digestPrefix(servedBy.build),
      model: servedBy.model,
      fingerprint: servedBy.fingerprint,
      route_revision: servedBy.routeRevision,
      tier: TIER_NUMBER[servedBy.tier],
      result_cache: RESULT_CACHE_NUMBER[servedBy.resultCache],
    },
    degraded: outcome.degraded,
    timings: {
      queue_us: Math.round(timings.queueUs),
      encode_us: Math.round(timings.encodeUs),
      search_us: Math.round(timings.searchUs),
      total_us: Math.round(timings.totalUs),
    },
  };
}

function hitMessage(hit: Hit): Record<string, unknown> {
  const message: Record<string, unknown> = {
    id: hit.id,
    chunk: hit.chunk,
    score: hit.score,
    distance: hit.distance,
  };
  if (hit.document !== null) {
    const { title, text, attributes } = hit.document;
    message.document = {
      title: title ?? '',
      text: text ?? '',
      attributes_json: attributes === undefined ? '' : JSON.stringify(attributes),
    };
  }
  return message;
}
