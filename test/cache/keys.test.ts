import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { CacheKeys, type ResultQuestion, SHARED_KEY_LENGTH } from '../../src/cache/keys.js';
import { buildOf, fingerprintOf } from '../router/small-manifests.js';

const SECRET = Buffer.from('a secret of the key tests');
const keys = new CacheKeys(SECRET);
const fingerprint = fingerprintOf('alpha');
const question: ResultQuestion = {
  build: buildOf('v1'),
  fingerprint,
  expansion: 64,
  topK: 10,
  withDocument: false,
  query: 'owl',
};

t.test('a key is the HMAC of its parts', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
      const message = Buffer.concat([Buffer.from([1, 1]), Buffer.from(fingerprint), Buffer.from(text)]);
      t.equal(
        keys.shared(keys.embedding(fingerprint, 'query', text)),
        createHmac('sha256', SECRET).update(message).digest('base64url'),
      );
    }),
    { numRuns: 100 },
  );
  t.equal(keys.shared(keys.result(question)).length, SHARED_KEY_LENGTH);
});

t.test('everything an answer depends on changes its key, and nothing else does', async (t) => {
  const vector = Float32Array.from([1, 2, 3]);
  const others: ResultQuestion[] = [
    question,
    { ...question, build: buildOf('v2') },
    { ...question, fingerprint: fingerprintOf('beta') },
    { ...question, expansion: 128 },
    { ...question, topK: 11 },
    { ...question, withDocument: true },
    { ...question, query: 'owls' },
    { ...question, query: '' },
    { ...question, query: vector },
    { ...question, query: Float32Array.from([1, 2, 4]) },
    { ...question, query: Buffer.from(vector.buffer).toString('latin1') },
  ];
  const made = others.map((other) => keys.result(other));
  made.push(keys.embedding(fingerprint, 'query', 'owl'), keys.embedding(fingerprint, 'document', 'owl'));
  t.equal(new Set(made).size, made.length);
  t.equal(keys.result({ ...question }), made[0]);
  const within = new Float32Array([9, 1, 2, 3]).subarray(1);
  t.equal(keys.result({ ...question, query: within }), keys.result({ ...question, query: vector }));
});

t.test('long texts, then short ones, keep their keys', async (t) => {
  const long = 'ä'.repeat(200_000);
  const [first, short] = [
    keys.embedding(fingerprint, 'query', long),
    keys.embedding(fingerprint, 'query', 'x'),
  ];
  t.equal(keys.embedding(fingerprint, 'query', long), first);
  t.equal(keys.embedding(fingerprint, 'query', 'x'), short);
  t.not(
    new CacheKeys(Buffer.from('another secret of the tests')).embedding(fingerprint, 'query', 'x'),
    short,
  );
  t.throws(() => new CacheKeys(Buffer.from('short')), /at least 16 bytes/);
});
