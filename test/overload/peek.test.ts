import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { decodeEmbed, decodeSearch } from '../../src/gateway/grpc/convert.js';
import { EMBED_FIELDS, peek, SEARCH_FIELDS } from '../../src/gateway/grpc/peek.js';
import { contract } from '../gateway/harness.js';

const searchType = contract.lookupType('switchyard.v1.SearchRequest');
const embedType = contract.lookupType('switchyard.v1.EmbedRequest');

t.test('a peek tells what the decoder reads', (t) => {
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
  fc.assert(
    fc.property(fc.oneof(text, vector), (message) => {
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

t.test('whatever the bytes are, a peek ends and throws nothing', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const peeked = peek(bytes, SEARCH_FIELDS);
      return peeked === null || peeked.kind === 'text' || peeked.kind === 'vector';
    }),
    { numRuns: 5_000 },
  );
  t.equal(peek(Buffer.alloc(0), SEARCH_FIELDS), null);
  t.end();
});
