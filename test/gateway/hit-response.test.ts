import path from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import t from 'tap';
import { ResponseEncoder } from '../../src/gateway/grpc/convert.js';
import { packageRoot } from '../../src/package-root.js';
import { EncodedHits } from '../../src/router/encoded-hits.js';
import { EncodedOutcome } from '../../src/router/outcome.js';
import type { SearchOutcome, ServedBy } from '../../src/router/query.js';
import type { Digest, Revision } from '../../src/vocabulary.js';
import { fingerprintOf } from '../router/small-manifests.js';

const root = new protobuf.Root();
root.loadSync(path.join(packageRoot(), 'proto', 'switchyard', 'v1', 'search.proto'), { keepCase: true });
const SearchResponse = root.lookupType('switchyard.v1.SearchResponse');
const responses = new ResponseEncoder(root);
const read = (bytes: Uint8Array): unknown =>
  SearchResponse.toObject(SearchResponse.decode(bytes), { defaults: true, longs: Number });

const text = fc.string({ unit: 'grapheme', maxLength: 60 });
const us = fc.oneof(fc.nat(), fc.double({ min: 0, max: 2 ** 52, noNaN: true }));
const servedBy = fc.record({
  corpusVersion: text,
  build: fc.constant('d'.repeat(64) as Digest),
  model: text,
  fingerprint: fc.constant(fingerprintOf('alpha')),
  routeRevision: fc.nat() as fc.Arbitrary<Revision>,
  tier: fc.constantFrom('dram', 'ssd') as fc.Arbitrary<ServedBy['tier']>,
  resultCache: fc.constantFrom('HIT', 'MISS') as fc.Arbitrary<ServedBy['resultCache']>,
});
const fields = fc.record({
  queryId: text,
  servedBy,
  degraded: fc.array(text, { maxLength: 4 }),
  timings: fc.record({ queueUs: us, encodeUs: us, searchUs: us, totalUs: us }),
});
const hits = fc.array(
  fc.record({
    id: text,
    chunk: fc.nat(1000),
    score: fc.float({ noNaN: true, noDefaultInfinity: true }),
    distance: fc.float({ noNaN: true, noDefaultInfinity: true }),
    document: fc.constantFrom(null, { title: 'a title', text: 'a text', attributes: { a: 1 } }, {}),
  }),
  { maxLength: 12 },
);

t.test('an answer with encoded hits is the message that the same answer with objects is', async (t) => {
  fc.assert(
    fc.property(fields, hits, (outcome, found) => {
      const plain: SearchOutcome = { ...outcome, hits: found };
      const encoded = new EncodedOutcome(outcome, EncodedHits.of(found, 1));
      const expected = read(responses.search(plain));
      t.same(read(responses.search(encoded)), expected);
      // What names the server is kept from the first time.
      t.same(read(responses.search(encoded)), expected);
    }),
    { numRuns: 100 },
  );
});
