import fc from 'fast-check';
import t from 'tap';
import {
  type CanonicalValue,
  canonicalJson,
  computeFingerprint,
  type ModelIdentity,
} from '../../src/encoder/fingerprint.js';
import { isFingerprint } from '../../src/vocabulary.js';

t.test('keys are sorted as the example of RFC 8785 section 3.2.3 has them', async (t) => {
  const canonical = canonicalJson({
    '\u20ac': 'Euro Sign',
    '\r': 'Carriage Return',
    '\ufb33': 'Hebrew Letter Dalet With Dagesh',
    '1': 'One',
    '\ud83d\ude00': 'Emoji: Grinning Face',
    '\u0080': 'Control',
    '\u00f6': 'Latin Small Letter O With Diaeresis',
  });
  t.equal(
    canonical,
    '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",' +
      '"\u20ac":"Euro Sign","\ud83d\ude00":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}',
  );
});

t.test('strings are escaped as the example of RFC 8785 section 3.2.2 has them', async (t) => {
  t.equal(
    canonicalJson({ string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\"/' }),
    '{"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  );
});

t.test('the order in which keys were written does not show', async () => {
  const { value: tree } = fc.letrec<{ value: CanonicalValue }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 3 },
      fc.string({ unit: 'binary' }),
      fc.maxSafeInteger(),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(fc.string(), tie('value'), { maxKeys: 5 }),
    ),
  }));
  fc.assert(
    fc.property(fc.dictionary(fc.string(), tree, { maxKeys: 6 }), (object) => {
      const reversed = Object.fromEntries(Object.entries(object).reverse());
      const canonical = canonicalJson(object);
      return canonicalJson(reversed) === canonical && canonicalJson(JSON.parse(canonical)) === canonical;
    }),
  );
});

t.test('what has no canonical form here is refused', async (t) => {
  for (const value of [0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '\ud800']) {
    t.throws(() => canonicalJson({ value }), TypeError);
  }
});

const identity: ModelIdentity = {
  onnxSha256: 'a'.repeat(64),
  externalDataSha256: {},
  tokenizerSha256: 'b'.repeat(64),
  pooling: 'mean',
  normalisation: 'l2',
  query_prefix: '',
  document_prefix: '',
  max_tokens: 256,
  precision: 'fp16',
};

t.test('a fingerprint is known for good: published indexes carry it', async (t) => {
  t.equal(computeFingerprint(identity), 'mf1_d63f589013ededd7f2c5f4de69414b22');
  t.ok(isFingerprint(computeFingerprint(identity)));
});

t.test('everything that changes the vector space changes the fingerprint', async (t) => {
  const variants: Partial<ModelIdentity>[] = [
    {},
    { onnxSha256: 'c'.repeat(64) },
    { externalDataSha256: { 'model.onnx_data': 'c'.repeat(64) } },
    { externalDataSha256: { 'other.onnx_data': 'c'.repeat(64) } },
    { tokenizerSha256: 'c'.repeat(64) },
    { pooling: 'cls' },
    { normalisation: 'none' },
    { query_prefix: 'query: ' },
    { document_prefix: 'query: ' },
    { max_tokens: 128 },
    { precision: 'int8' },
  ];
  const fingerprints = new Set(variants.map((change) => computeFingerprint({ ...identity, ...change })));
  t.equal(fingerprints.size, variants.length);
});
