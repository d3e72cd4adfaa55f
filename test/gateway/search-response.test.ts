import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import { ResponseEncoder } from '../../src/gateway/grpc/convert.js';
import { loadProtos } from '../../src/gateway/grpc/protos.js';
import type { SearchOutcome } from '../../src/router/query.js';
import { type Digest, digestPrefix, type Fingerprint, type Revision } from '../../src/vocabulary.js';

const { root } = loadProtos();
const encoder = new ResponseEncoder(root);
const OPTIONS = { longs: Number, defaults: true, arrays: true } as const;

const text = fc.string({ unit: 'grapheme', maxLength: 200 });
const microseconds = fc.integer({ min: 0, max: 2 ** 40 });
const hit = fc.record({
  id: text,
  chunk: fc.nat(),
  score: fc.float({ noNaN: true, noDefaultInfinity: true }),
  distance: fc.float({ noNaN: true, noDefaultInfinity: true }),
  document: fc.oneof(
    fc.constant(null),
    fc.record(
      { title: text, text, attributes: fc.dictionary(fc.string(), fc.integer()) },
      { requiredKeys: [] },
    ),
  ),
});
const outcome: fc.Arbitrary<SearchOutcome> = fc.record({
  queryId: fc.uuid(),
  hits: fc.array(hit, { maxLength: 20 }),
  servedBy: fc.record({
    corpusVersion: text,
    build: fc.constant('a'.repeat(64) as Digest),
    model: text,
    fingerprint: fc.constant(`mf1_${'5'.repeat(32)}` as Fingerprint),
    routeRevision: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map((value) => value as Revision),
    tier: fc.constantFrom('dram' as const, 'ssd' as const),
    resultCache: fc.constantFrom('HIT' as const, 'MISS' as const, 'BYPASS' as const),
  }),
  degraded: fc.array(fc.constantFrom('registry_unavailable', 'route_revision_behind'), { maxLength: 2 }),
  timings: fc.record({
    queueUs: microseconds,
    encodeUs: microseconds,
    searchUs: microseconds,
    totalUs: microseconds,
  }),
});

/** What a client of the contract reads where this is answered. */
const expected = ({ queryId, hits, servedBy, degraded, timings }: SearchOutcome): object => ({
  query_id: queryId,
  hits: hits.map(({ id, chunk, score, distance, document }) => ({
    id,
    chunk,
    score,
    distance,
    document:
      document === null
        ? null
        : {
            title: document.title ?? '',
            text: document.text ?? '',
            attributes_json: document.attributes === undefined ? '' : JSON.stringify(document.attributes),
          },
  })),
  served_by: {
    corpus_version: servedBy.corpusVersion,
    build: digestPrefix(servedBy.build),
    model: servedBy.model,
    fingerprint: servedBy.fingerprint,
    route_revision: servedBy.routeRevision,
    tier: servedBy.tier === 'dram' ? 1 : 2,
    result_cache: { HIT: 1, MISS: 2, BYPASS: 3 }[servedBy.resultCache],
  },
  degraded,
  timings: {
    queue_us: timings.queueUs,
    encode_us: timings.encodeUs,
    search_us: timings.searchUs,
    total_us: timings.totalUs,
  },
});

const decoded = (type: string, bytes: Uint8Array): object => {
  const found = root.lookupType(`switchyard.v1.${type}`);
  return found.toObject(found.decode(bytes), OPTIONS);
};

t.test('every answer reads back through the contract as it was given', (t) => {
  fc.assert(
    fc.property(outcome, (given) => {
      t.strictSame(plain(decoded('SearchResponse', encoder.search(given))), plain(expected(given)));
    }),
    { numRuns: 200 },
  );
  t.end();
});

t.test('a batch keeps the order of answers and errors', (t) => {
  const error = new SwitchyardError('QUEUE_FULL', 'too many wait', { details: { max: '3' } });
  fc.assert(
    fc.property(fc.array(fc.oneof(outcome, fc.constant(error)), { maxLength: 6 }), (given) => {
      const { items } = decoded('BatchSearchResponse', encoder.batch(given)) as { items: object[] };
      t.strictSame(
        plain(items),
        plain(
          given.map((one) =>
            one instanceof SwitchyardError
              ? { error: { reason: one.reason, message: one.message, details: one.details } }
              : { response: expected(one) },
          ),
        ),
      );
    }),
    { numRuns: 50 },
  );
  t.end();
});

t.test('an answer that cannot be written leaves nothing behind for the next', (t) => {
  const [good] = fc.sample(outcome, 1);
  const circular: Record<string, unknown> = {};
  circular.self = circular;
  const bad = {
    ...good,
    hits: [{ id: 'a', chunk: 0, score: 0, distance: 0, document: { attributes: circular } }],
  } as SearchOutcome;
  t.throws(() => encoder.search(bad), TypeError);
  t.strictSame(
    plain(decoded('SearchResponse', encoder.search(good as SearchOutcome))),
    plain(expected(good as SearchOutcome)),
  );
  t.end();
});

/** −0 and prototypes aside. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
