import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { decodeBatch, decodeEmbed, decodeSearch } from '../../src/gateway/grpc/convert.js';
import { EMBED_FIELDS, peek, peekBatch, SEARCH_FIELDS } from '../../src/gateway/grpc/peek.js';
import { contract } from '../gateway/harness.js';

const searchType = contract.lookupType('switchyard.v1.SearchRequest');
const batchType = contract.lookupType('switchyard.v1.BatchSearchRequest');
const embedType = contract.lookupType('switchyard.v1.EmbedRequest');

const ITEMS_MAX = 6;
const rest = {
  corpus: fc.string(),
  top_k: fc.nat(0xffffffff),
  affinity_key: fc.string({ unit: 'grapheme', maxLength: 300 }),
  with_document: fc.boolean(),
  priority: fc.constantFrom(0, 1, 2),
};
const text = fc.record({ ...rest, text: fc.string({ minLength: 1 }) });
const vector = fc.record({
  ...rest,
  vector: fc.array(fc.float({ noNaN: true }), { maxLength: 500 }).map((values) => ({ values })),
});
const search = fc.oneof(text, vector);

t.test('a peek tells what the decoder reads', (t) => {
  fc.assert(
    fc.property(search, (message) => {
      const bytes = Buffer.from(searchType.encode(message).finish());
      const decoded = decodeSearch(bytes);
      if (decoded instanceof SwitchyardError) throw decoded;
      const peeked = peek(bytes, SEARCH_FIELDS);
      t.same(peeked, { kind: decoded.text === null ? 'vector' : 'text', priority: decoded.priority });
    }),
    { numRuns: 300 },
  );
  const embed = Buffer.from(embedType.encode({ model: 'm@1', text: 'x', priority: 2 }).finish());
  t.same(peek(embed, EMBED_FIELDS), { kind: 'text', priority: 'bulk' });
  t.notOk(decodeEmbed(embed) instanceof SwitchyardError);
  t.end();
});

t.test('of a batch it tells what all of its searches are let in as', (t) => {
  fc.assert(
    fc.property(fc.array(search, { maxLength: ITEMS_MAX + 1 }), (requests) => {
      const bytes = Buffer.from(batchType.encode({ requests }).finish());
      const peeked = peekBatch(bytes, ITEMS_MAX);
      if (requests.length === 0 || requests.length > ITEMS_MAX) {
        t.equal(peeked, null, 'the decoder says why not');
        return;
      }
      const decoded = decodeBatch(bytes, ITEMS_MAX);
      if (decoded instanceof SwitchyardError) throw decoded;
      t.same(peeked, {
        kind: decoded.some((item) => item.text !== null) ? 'text' : 'vector',
        priority: decoded.some((item) => item.priority === 'live') ? 'live' : 'bulk',
        items: decoded.length,
      });
      for (let end = 1; end < bytes.length; end += 7) {
        const cut = peekBatch(bytes.subarray(0, end), ITEMS_MAX);
        t.ok(cut === null || cut.items < requests.length, 'no more than is there');
      }
    }),
    { numRuns: 200 },
  );
  t.end();
});

t.test('whatever the bytes are, a peek ends and throws nothing', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const batch = peekBatch(bytes, ITEMS_MAX);
      t.ok(batch === null || (batch.items >= 1 && batch.items <= ITEMS_MAX));
      const peeked = peek(bytes, SEARCH_FIELDS);
      return peeked === null || peeked.kind === 'text' || peeked.kind === 'vector';
    }),
    { numRuns: 5_000 },
  );
  t.equal(peek(Buffer.alloc(0), SEARCH_FIELDS), null);
  const repeated = Buffer.concat([
    Buffer.from(searchType.encode({ text: 'fish' }).finish()),
    Buffer.alloc(100_000, Buffer.of(0x40, 1)),
  ]);
  t.equal(peek(repeated, SEARCH_FIELDS), null, 'more fields than any message has are not walked');
  t.end();
});
