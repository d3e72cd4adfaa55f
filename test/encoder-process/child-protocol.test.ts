import fc from 'fast-check';
import t from 'tap';
import { decodePiece, decodeVectors, encodePiece, encodeVectors } from '../../src/encoder/child-protocol.js';
import { INPUT_ROLES, LANES } from '../../src/vocabulary.js';

const piece = fc.record({
  role: fc.constantFrom(...INPUT_ROLES),
  lane: fc.constantFrom(...LANES),
  remainingMs: fc.oneof(fc.double({ min: 0, noNaN: true }), fc.constant(Number.POSITIVE_INFINITY)),
  isWhole: fc.boolean(),
  leavesOut: fc.boolean(),
  texts: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 20 }),
});

t.test('a piece arrives as it was sent', async (t) => {
  fc.assert(
    fc.property(piece, (sent) => {
      t.same(decodePiece(Buffer.concat(encodePiece(sent))), sent);
    }),
  );
});

t.test('any bytes are a piece or nothing, never an exception', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const decoded = decodePiece(Buffer.from(bytes));
      t.ok(decoded === null || Array.isArray(decoded.texts));
    }),
  );
  fc.assert(
    fc.property(piece, fc.nat({ max: 40 }), (sent, cut) => {
      const bytes = Buffer.concat(encodePiece(sent));
      if (cut > 0) t.equal(decodePiece(bytes.subarray(0, Math.max(0, bytes.length - cut))), null);
    }),
  );
});

t.test('vectors arrive bit by bit, at any alignment', async (t) => {
  const answer = {
    runs: [
      { batch: 7, runUs: 1200 },
      { batch: 8, runUs: 900 },
    ],
    tokenCounts: Uint32Array.of(5, 300),
    truncatedCount: 1,
    values: Float32Array.of(0.1, -2.5, Number.MIN_VALUE, 3e38, 0, -0),
  };
  const bytes = Buffer.concat(encodeVectors(answer));
  for (let shift = 0; shift < 4; shift++) {
    const shifted = Buffer.concat([Buffer.alloc(shift), bytes]).subarray(shift);
    t.same(decodeVectors(shifted, 2, 3), answer);
  }
  t.equal(decodeVectors(bytes, 3, 3), null);
  t.equal(decodeVectors(bytes, 2, 4), null);
  t.equal(decodeVectors(bytes.subarray(0, 11), 2, 3), null);
});
