import fc from 'fast-check';
import t from 'tap';
import {
  encodeFrame,
  FRAME_BYTES,
  type FrameLabel,
  frameExpiresAtMs,
  readFrame,
} from '../../src/cache/frame.js';
import { CacheKeys } from '../../src/cache/keys.js';
import { fingerprintOf } from '../router/small-manifests.js';

const keys = new CacheKeys(Buffer.from('a secret of the frame tests'));
const fingerprint = fingerprintOf('alpha');
const labelOf = (text: string): FrameLabel => ({
  kind: 'embedding',
  fingerprint,
  key: keys.shared(keys.embedding(fingerprint, 'query', text)),
});
const LABEL = labelOf('owl');
const EXPIRES = 1_800_000_000_123.5;

t.test('what was framed comes back', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4000 }), (payload) => {
      const frame = encodeFrame(LABEL, payload, EXPIRES);
      const read = readFrame(frame, LABEL);
      t.ok(Buffer.isBuffer(read) && read.equals(payload));
      t.equal(frameExpiresAtMs(frame), EXPIRES);
    }),
    { numRuns: 50 },
  );
});

t.test('no frame survives one flipped bit, wherever it is', async (t) => {
  const payload = Buffer.from('some vector, some hits');
  const frame = encodeFrame(LABEL, payload, EXPIRES);
  const taken: number[] = [];
  for (let bit = 0; bit < frame.length * 8; bit++) {
    const damaged = Buffer.from(frame);
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
    if (typeof readFrame(damaged, LABEL) !== 'string') taken.push(bit);
  }
  t.same(taken, []);
});

t.test('no shortened or lengthened frame is taken', async (t) => {
  const frame = encodeFrame(LABEL, Buffer.alloc(64, 7), EXPIRES);
  for (let length = 0; length < frame.length; length++)
    t.type(readFrame(frame.subarray(0, length), LABEL), 'string', `${length} bytes`);
  t.type(readFrame(Buffer.concat([frame, Buffer.alloc(1)]), LABEL), 'string');
  t.equal(readFrame(Buffer.alloc(FRAME_BYTES - 1), LABEL), 'short');
});

t.test('arbitrary bytes are never a value', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      t.type(readFrame(Buffer.from(bytes), LABEL), 'string');
    }),
    { numRuns: 200 },
  );
});

t.test("a sound value of another key, model or kind says so and isn't taken", async (t) => {
  const payload = Buffer.alloc(32, 1);
  t.equal(readFrame(encodeFrame(labelOf('dog'), payload, EXPIRES), LABEL), 'key');
  const other = fingerprintOf('beta');
  t.equal(readFrame(encodeFrame({ ...LABEL, fingerprint: other }, payload, EXPIRES), LABEL), 'fingerprint');
  t.equal(readFrame(encodeFrame({ ...LABEL, kind: 'result' }, payload, EXPIRES), LABEL), 'kind');
});
