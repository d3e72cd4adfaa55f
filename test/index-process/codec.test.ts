import fc from 'fast-check';
import t from 'tap';
import { decodeAnswer, encodeAnswer } from '../../src/index/process/answer-codec.js';
import { decodeError, decodeSearch, encodeJson, encodeSearch } from '../../src/index/process/protocol.js';
import type { Hit } from '../../src/index/search-index.js';
import { LANES } from '../../src/vocabulary.js';
import { FINGERPRINT } from '../index/corpus.js';

const number = fc.double({ noNaN: true, noDefaultInfinity: true });
const hit: fc.Arbitrary<Hit> = fc.record(
  {
    id: fc.string({ unit: 'binary' }),
    chunk: fc.nat(),
    score: number,
    distance: number,
    document: fc.option(
      fc.record(
        {
          title: fc.string(),
          text: fc.string({ unit: 'binary' }),
          attributes: fc.constant({ n: [1, null] }),
        },
        { requiredKeys: [], noNullPrototype: true },
      ),
    ) as fc.Arbitrary<Hit['document']>,
  },
  { noNullPrototype: true },
);

t.test('an answer crosses unchanged, with documents or without', async (t) => {
  fc.assert(
    fc.property(fc.array(hit, { maxLength: 20 }), fc.boolean(), fc.nat(), (all, withDocument, searchUs) => {
      const hits = withDocument ? all : all.map((one) => ({ ...one, document: null }));
      const bytes = Buffer.concat(encodeAnswer({ hits, searchUs }, withDocument));
      t.strictSame(decodeAnswer(bytes, 20, withDocument), {
        hits,
        searchUs,
      });
    }),
    { numRuns: 200, seed: 3 },
  );
});

t.test('a search crosses unchanged', async (t) => {
  fc.assert(
    fc.property(
      fc.float32Array({ minLength: 1, maxLength: 50 }),
      fc.integer({ min: 1, max: 1000 }),
      fc.constantFrom(...LANES),
      fc.constantFrom(0.5, 1e9, Number.POSITIVE_INFINITY),
      fc.boolean(),
      (values, topK, lane, remainingMs, withDocument) => {
        const message = { fingerprint: FINGERPRINT, values, topK, lane, remainingMs, withDocument };
        t.strictSame(decodeSearch(encodeSearch(message)), { ...message, values: values.slice() });
      },
    ),
    { numRuns: 100, seed: 3 },
  );
});

t.test('decoding any bytes yields a value or null, nothing else', async (t) => {
  const answer = Buffer.concat(
    encodeAnswer({ hits: fc.sample(hit, { numRuns: 3, seed: 1 }), searchUs: 1 }, true),
  );
  const search = encodeSearch({
    fingerprint: FINGERPRINT,
    values: new Float32Array(8),
    topK: 3,
    lane: 'live',
    remainingMs: 1,
    withDocument: true,
  });
  const error = encodeJson({ reason: 'INTERNAL', message: 'm', details: {} });
  let nulls = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(answer, search, error, Buffer.alloc(0)),
      fc.nat(),
      fc.uint8Array({ maxLength: 40 }),
      fc.boolean(),
      (valid, at, noise, cut) => {
        const bytes = Buffer.from(valid);
        bytes.set(
          noise.subarray(0, Math.max(0, bytes.length - (at % (bytes.length + 1)))),
          at % (bytes.length + 1),
        );
        const payload = cut ? bytes.subarray(0, at % (bytes.length + 1)) : Buffer.concat([bytes, noise]);
        for (const decoded of [
          decodeAnswer(payload, 3, true),
          decodeAnswer(payload, 3, false),
          decodeSearch(payload),
          decodeError(payload),
        ])
          if (decoded === null) nulls++;
      },
    ),
    { numRuns: 3000, seed: 5 },
  );
  t.ok(nulls > 1000);
  for (const text of [
    'null',
    '[]',
    '{}',
    '7',
    '{"reason":"NO_SUCH","message":"","details":{}}',
    '{"reason":"INTERNAL","message":"","details":{"a":1}}',
  ])
    t.equal(decodeError(Buffer.from(text)), null, text);
  t.match(decodeError(error), { reason: 'INTERNAL' });
});

t.test(
  'an answer with more hits than were asked for, or with a number that is not finite, is none',
  async (t) => {
    const one: Hit = { id: 'a', chunk: 0, score: 1, distance: 0, document: null };
    const encoded = (hits: Hit[]): Buffer => Buffer.concat(encodeAnswer({ hits, searchUs: 1 }, false));
    t.ok(decodeAnswer(encoded([one, one]), 2, false));
    t.equal(decodeAnswer(encoded([one, one]), 1, false), null);
    t.equal(decodeAnswer(encoded([{ ...one, score: Number.NaN }]), 1, false), null);
    t.equal(decodeAnswer(encoded([{ ...one, distance: Number.POSITIVE_INFINITY }]), 1, false), null);
    t.equal(decodeAnswer(encoded([one]), 1, true), null, 'documents were asked for');
  },
);
