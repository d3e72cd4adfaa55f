import path from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import t from 'tap';
import type { Hit } from '../../src/index/search-index.js';
import { packageRoot } from '../../src/package-root.js';
import { EncodedHits } from '../../src/router/encoded-hits.js';

const root = new protobuf.Root();
root.loadSync(path.join(packageRoot(), 'proto', 'switchyard', 'v1', 'search.proto'), { keepCase: true });
const SearchResponse = root.lookupType('switchyard.v1.SearchResponse');

const text = fc.string({ unit: 'grapheme', maxLength: 200 });
const document = fc.option(
  fc.record(
    { title: text, text, attributes: fc.dictionary(text, fc.jsonValue(), { maxKeys: 3 }) },
    { requiredKeys: [] },
  ),
  { nil: null },
);
const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
const hit = fc.record({ id: text, chunk: fc.nat(0xffff_ffff), score: finite, distance: finite, document });

/** As JSON would show it: attributes are JSON at build time. */
const asJson = (hits: readonly Hit[]): unknown => JSON.parse(JSON.stringify(hits));

t.test('remembered hits are the very hits, and their wire is that of the contract', async (t) => {
  fc.assert(
    fc.property(fc.array(hit, { maxLength: 20 }), fc.nat(5_000_000), (hits, serviceUs) => {
      const encoded = EncodedHits.of(hits as Hit[], serviceUs);
      const read = EncodedHits.read(Buffer.from(encoded.payload));
      t.same(asJson(read?.decode() ?? []), asJson(hits as Hit[]));
      t.same([read?.count, read?.serviceUs], [hits.length, serviceUs]);
      const message = SearchResponse.toObject(SearchResponse.decode(encoded.wire), {
        defaults: true,
        longs: Number,
      });
      t.equal(message.hits?.length ?? 0, hits.length);
      hits.forEach((given, at) => {
        const sent = message.hits[at];
        t.same([sent.id, sent.chunk], [given.id, given.chunk]);
        t.same([sent.score, sent.distance], [Math.fround(given.score), Math.fround(given.distance)]);
        t.equal(sent.document === null || sent.document === undefined, given.document === null);
        if (given.document === null) return;
        const { title, text: body, attributes } = given.document as NonNullable<Hit['document']>;
        t.equal(sent.document.title, title ?? '');
        t.equal(sent.document.text, body ?? '');
        t.equal(sent.document.attributes_json, attributes === undefined ? '' : JSON.stringify(attributes));
      });
    }),
    { numRuns: 60 },
  );
});

t.test('bytes of another structure are refused and never thrown over', async (t) => {
  const good = EncodedHits.of([{ id: 'a', chunk: 1, score: 0.5, distance: 0.5, document: null }], 7).payload;
  for (let length = 0; length < good.length; length++)
    t.equal(EncodedHits.read(good.subarray(0, length)), null, `${length} bytes`);
  t.equal(EncodedHits.read(Buffer.concat([good, Buffer.from([0])])), null);
  const nan = Buffer.from(good);
  nan.writeDoubleLE(Number.NaN, 8);
  t.equal(EncodedHits.read(nan), null, 'a score that is no number');
  const many = Buffer.from(good);
  many.writeUInt32LE(0xffff_ffff, 0);
  t.equal(EncodedHits.read(many), null);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      EncodedHits.read(Buffer.from(bytes));
    }),
  );
});
