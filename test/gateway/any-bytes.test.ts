import fc from 'fast-check';
import t from 'tap';
import { REASONS, SwitchyardError } from '../../src/errors.js';
import { decodeBatch, decodeEmbed, decodeSearch } from '../../src/gateway/grpc/convert.js';
import { parseJsonBody } from '../../src/gateway/http/json-body.js';
import { contract, f32le, startGateway } from './harness.js';

const catalogued = (reason: string): boolean => reason === 'OK' || Object.hasOwn(REASONS, reason);
const searchType = contract.lookupType('switchyard.v1.SearchRequest');

const float32 = fc.float({ noNaN: true, noDefaultInfinity: true });
const searchMessage = fc.record(
  {
    corpus: fc.string({ unit: 'grapheme' }),
    text: fc.string({ unit: 'grapheme', maxLength: 200 }),
    top_k: fc.nat(0xffffffff),
    model: fc.string(),
    corpus_version: fc.string(),
    affinity_key: fc.string({ unit: 'grapheme' }),
    with_document: fc.boolean(),
    priority: fc.constantFrom(0, 1, 2),
  },
  { requiredKeys: [] },
);
const vectorMessage = fc.oneof(
  fc.array(float32).map((values) => ({ values })),
  fc.array(float32).map((values) => ({ f32le: f32le(values) })),
);
const message = fc.oneof(
  searchMessage,
  fc.tuple(searchMessage, vectorMessage).map(([{ text: _, ...rest }, vector]) => ({ ...rest, vector })),
);
/** Bytes of every kind: random, valid, and valid with a few bytes changed, cut or added. */
const wireBytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(message, fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 3 }), fc.nat(20))
    .map(([fields, changes, cut]) => {
      const bytes = Buffer.from(searchType.encode(fields).finish());
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return cut > 10 ? bytes.subarray(0, Math.max(0, bytes.length - (cut - 10))) : bytes;
    }),
);
const jsonBytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc.json().map((text) => Buffer.from(text)),
  fc
    .tuple(
      fc.dictionary(
        fc.constantFrom('corpus', 'text', 'vector', 'model', 'top_k', 'requests', 'input_role', '__proto__'),
        fc.oneof(fc.jsonValue(), fc.constantFrom('animals', 'words@1', 'fish', 3)),
      ),
      fc.nat(200),
      fc.nat(255),
    )
    .map(([value, at, byte]) => {
      const bytes = Buffer.from(JSON.stringify(value));
      if (at < bytes.length) bytes[at] = byte;
      return bytes;
    }),
);

t.test('decoding any protobuf bytes yields a value or a catalogued error, nothing else', async (t) => {
  for (const decode of [decodeSearch, (bytes: Buffer) => decodeBatch(bytes, 16), decodeEmbed]) {
    fc.assert(
      fc.property(wireBytes, (bytes) => {
        const decoded = decode(bytes);
        return !(decoded instanceof SwitchyardError) || catalogued(decoded.reason);
      }),
      { numRuns: 2_000 },
    );
  }
  t.pass('no throw');
});

t.test('a valid message decodes to what protobufjs reads', async (t) => {
  fc.assert(
    fc.property(message, (fields) => {
      const bytes = Buffer.from(searchType.encode(fields).finish());
      const expected = searchType.toObject(searchType.decode(bytes), { defaults: false }) as Record<
        string,
        unknown
      >;
      const decoded = decodeSearch(bytes);
      if (decoded instanceof SwitchyardError) throw decoded;
      t.same(
        {
          corpus: decoded.corpus,
          text: decoded.text,
          topK: decoded.topK,
          model: decoded.model,
          corpusVersion: decoded.corpusVersion,
          affinityKey: decoded.affinityKey,
          withDocument: decoded.withDocument,
          priority: decoded.priority,
          vector: decoded.vector === null ? null : Array.from(decoded.vector),
        },
        {
          corpus: expected.corpus ?? '',
          text: expected.text ?? null,
          topK: expected.top_k ?? null,
          model: expected.model ?? '',
          corpusVersion: expected.corpus_version ?? '',
          affinityKey: expected.affinity_key ?? '',
          withDocument: expected.with_document ?? false,
          priority: expected.priority === 2 ? 'bulk' : 'live',
          vector: vectorOf(expected.vector),
        },
      );
    }),
    { numRuns: 300 },
  );
});

t.test('unpacked values, and values in several pieces, are read in order', async (t) => {
  const one = Buffer.concat([Buffer.from([0x0d]), f32le([1])]);
  const packed = Buffer.concat([Buffer.from([0x0a, 8]), f32le([2, 3])]);
  const vector = Buffer.concat([one, packed, one]);
  const decoded = decodeSearch(Buffer.concat([Buffer.from([0x1a, vector.length]), vector]));
  if (decoded instanceof SwitchyardError) throw decoded;
  t.same(Array.from(decoded.vector ?? []), [1, 2, 3, 1]);
});

t.test('every field of the contract is known to the decoder', async (t) => {
  const cases = [
    { type: 'SearchRequest', decode: decodeSearch },
    { type: 'BatchSearchRequest', decode: (bytes: Buffer) => decodeBatch(bytes, 16) },
    { type: 'EmbedRequest', decode: decodeEmbed },
  ];
  for (const { type, decode } of cases) {
    for (const field of contract.lookupType(`switchyard.v1.${type}`).fieldsArray) {
      const bytes = ['uint32', 'bool', 'InputRole', 'Priority'].includes(field.type)
        ? Buffer.from([field.id << 3, 1])
        : Buffer.from([(field.id << 3) | 2, 0]);
      t.notOk(decode(bytes) instanceof SwitchyardError, `${type}.${field.name}`);
    }
  }
});

t.test('any JSON bytes parse to what JSON.parse reads, or are refused', async (t) => {
  fc.assert(
    fc.property(jsonBytes, (bytes) => {
      let parsed: unknown;
      try {
        parsed = parseJsonBody(bytes);
      } catch (error) {
        return error instanceof SwitchyardError && error.reason === 'MALFORMED_REQUEST';
      }
      return JSON.stringify(parsed) === JSON.stringify(JSON.parse(bytes.toString()));
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      const text = JSON.stringify(value, null, 1);
      return JSON.stringify(parseJsonBody(Buffer.from(text))) === JSON.stringify(value);
    }),
    { numRuns: 1_000 },
  );
  t.pass('no other outcome');
});

t.test('any bytes sent to the sockets get an answer or a catalogued error', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  await fc.assert(
    fc.asyncProperty(wireBytes, fc.constantFrom('Search', 'BatchSearch', 'Embed'), async (bytes, method) =>
      catalogued((await gateway.callRaw(method, bytes)).reason),
    ),
    { numRuns: 300 },
  );
  await fc.assert(
    fc.asyncProperty(
      jsonBytes,
      fc.constantFrom('/v1/search', '/v1/search:batch', '/v1/embed'),
      async (bytes, address) => catalogued((await gateway.postRaw(address, bytes)).reason),
    ),
    { numRuns: 300 },
  );
  t.notOk(
    gateway.counted.some(({ outcome }) => outcome === 'INTERNAL'),
    'and none of them is an internal error',
  );
});

function vectorOf(vector: unknown): number[] | null {
  if (vector === undefined) return null;
  const { values, f32le: bytes } = vector as { values?: number[]; f32le?: Buffer };
  if (bytes === undefined || bytes.length === 0) return values ?? [];
  return Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(i * 4));
}
