import fc from 'fast-check';
import t from 'tap';
import { BackgroundCap } from '../../src/encoder/background-cap.js';
import { PinnedBatcher } from '../../src/encoder/batcher.js';
import { PinnedShapes } from '../../src/encoder/pinned-shapes.js';
import { ShapeCosts } from '../../src/encoder/shape-costs.js';
import { LANES } from '../../src/vocabulary.js';

const TEXT_TOKENS_MAX = 256;
const rising = (max: number) =>
  fc
    .uniqueArray(fc.integer({ min: 1, max }), { minLength: 1, maxLength: 6 })
    .map((list) => list.sort((a, b) => a - b));
const limits = fc.record({
  texts: rising(64).map((list) => [...new Set([1, ...list])]),
  lengths: rising(400),
  tokensMax: fc.integer({ min: 1, max: 8_000 }),
  textTokensMax: fc.constant(TEXT_TOKENS_MAX),
});
const waiting = fc.array(
  fc.record({ tokens: fc.integer({ min: 1, max: TEXT_TOKENS_MAX }), arrivedAtMs: fc.constant(0) }),
  {
    minLength: 1,
    maxLength: 100,
  },
);

const cap = (): BackgroundCap => new BackgroundCap(20, () => 0);

/** Every shape measured at so many µs per padded token. */
function measured(shapes: PinnedShapes, usPerToken: number): ShapeCosts {
  const costs = new ShapeCosts();
  for (const shape of shapes.all) costs.observe(shape, shape.texts * shape.tokens * usPerToken);
  return costs;
}

t.test('every run has a pinned shape, holds the oldest text, and is within the budget', async (t) => {
  fc.assert(
    fc.property(limits, waiting, fc.constantFrom(...LANES), (bounds, texts, lane) => {
      const shapes = new PinnedShapes(bounds);
      const batcher = new PinnedBatcher(shapes, 2, cap(), measured(shapes, 10));
      const { positions, shape } = batcher.pick(lane, texts);
      t.ok(shapes.all.some(({ texts: size, tokens }) => size === shape.texts && tokens === shape.tokens));
      t.ok(positions.includes(0));
      t.equal(new Set(positions).size, positions.length);
      t.ok(positions.length <= shape.texts);
      t.ok(positions.every((at) => (texts[at]?.tokens ?? Number.NaN) <= shape.tokens));
      t.ok(shape.texts === 1 || shape.texts * shape.tokens <= bounds.tokensMax);
      if (lane !== 'live' && shape.texts > 1) t.ok(shape.texts * shape.tokens * 10 <= 20_000);
    }),
  );
});

t.test('rows that would be padding are given to shorter texts', async (t) => {
  const shapes = new PinnedShapes({
    texts: [1, 4, 8],
    lengths: [16, 32],
    tokensMax: 1024,
    textTokensMax: 64,
  });
  const batcher = new PinnedBatcher(shapes, 0, cap(), measured(shapes, 1));
  const texts = [20, 5, 30, 31, 32, 6, 7, 8, 40, 9].map((tokens) => ({ tokens, arrivedAtMs: 0 }));
  t.same(batcher.pick('live', texts), { positions: [0, 2, 3, 4], shape: { texts: 4, tokens: 32 } });
  t.same(batcher.pick('live', texts.slice(0, 4)), {
    positions: [0, 2, 3, 1],
    shape: { texts: 4, tokens: 32 },
  });
  t.same(batcher.pick('live', texts.slice(8)), { positions: [0], shape: { texts: 1, tokens: 64 } });
});

t.test(
  'a shape that was never measured is no background run, and what is measured moves the cap',
  async (t) => {
    const shapes = new PinnedShapes({ texts: [1, 8], lengths: [16], tokensMax: 1024, textTokensMax: 16 });
    const costs = new ShapeCosts();
    const batcher = new PinnedBatcher(shapes, 0, cap(), costs);
    const texts = Array.from({ length: 8 }, () => ({ tokens: 10, arrivedAtMs: 0 }));
    t.equal(batcher.pick('bulk', texts).shape.texts, 1);
    batcher.observe('bulk', { texts: 8, tokens: 16 }, 5_000);
    t.equal(batcher.pick('bulk', texts).shape.texts, 8);
    for (let run = 0; run < 100; run++) batcher.observe('bulk', { texts: 8, tokens: 16 }, 50_000);
    t.equal(batcher.pick('bulk', texts).shape.texts, 1);
    t.equal(batcher.pick('live', texts).shape.texts, 8);
  },
);
