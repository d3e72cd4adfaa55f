import fc from 'fast-check';
import t from 'tap';
import { BackgroundCap } from '../../src/encoder/background-cap.js';
import { lookaheadOf, paddedTokensMaxOf, pickBatch, RunCost } from '../../src/encoder/batching.js';

const waiting = fc.array(fc.record({ tokens: fc.integer({ min: 1, max: 300 }) }), {
  minLength: 1,
  maxLength: 80,
});
const limits = fc.record({
  paddedTokensMax: fc.integer({ min: 1, max: 4_000 }),
  paddingShareMax: fc.double({ min: 0, max: 1, noNaN: true }),
  lookaheadTexts: fc.integer({ min: 1, max: 100 }),
});

const tokensOf = (texts: readonly { readonly tokens: number }[], picked: readonly number[]): number[] =>
  picked.map((position) => texts[position]?.tokens ?? Number.NaN);

t.test('a batch holds the oldest text, each text once, shortest first, within the budget', async (t) => {
  fc.assert(
    fc.property(waiting, limits, (texts, bounds) => {
      const picked = pickBatch(texts, bounds);
      const tokens = tokensOf(texts, picked);
      t.ok(picked.includes(0));
      t.equal(new Set(picked).size, picked.length);
      t.ok(picked.every((position) => position < bounds.lookaheadTexts));
      t.same(
        tokens,
        [...tokens].sort((a, b) => a - b),
      );
      const padded = Math.max(...tokens) * tokens.length;
      if (picked.length > 1) {
        t.ok(padded <= bounds.paddedTokensMax);
        const padding = padded - tokens.reduce((sum, of) => sum + of, 0);
        t.ok(padding <= padded * bounds.paddingShareMax + 1e-9);
      }
    }),
  );
});

t.test('taking batch after batch empties any queue', async (t) => {
  fc.assert(
    fc.property(waiting, limits, (texts, bounds) => {
      let left = [...texts];
      for (let round = 0; left.length > 0; round++) {
        if (round > texts.length) return false;
        const picked = new Set(pickBatch(left, bounds));
        left = left.filter((_, position) => !picked.has(position));
      }
      return true;
    }),
  );
  t.same(pickBatch([], { paddedTokensMax: 10, paddingShareMax: 1, lookaheadTexts: 10 }), []);
});

t.test('texts of one length fill the budget', async (t) => {
  const texts = Array.from({ length: 100 }, () => ({ tokens: 16 }));
  const picked = pickBatch(texts, { paddedTokensMax: 512, paddingShareMax: 0.2, lookaheadTexts: 1024 });
  t.equal(picked.length, 32);
});

t.test('a short text is not padded to the length of a long one', async (t) => {
  const texts = [{ tokens: 10 }, { tokens: 250 }, { tokens: 11 }, { tokens: 240 }, { tokens: 9 }];
  const picked = pickBatch(texts, { paddedTokensMax: 4_000, paddingShareMax: 0.2, lookaheadTexts: 1024 });
  t.same([...picked].sort(), [0, 2, 4]);
});

t.test('who came much later than the oldest does not overtake those between', async (t) => {
  const every = (ms: number) =>
    Array.from({ length: 2_000 }, (_, at) => ({ tokens: 8, arrivedAtMs: at * ms }));
  t.equal(lookaheadOf('live', every(1)), 101, 'a tenth of a second');
  t.equal(lookaheadOf('bulk', every(1)), 1001, 'a second where nobody is in a hurry');
  t.equal(lookaheadOf('shadow', every(1)), 1001);
  t.equal(lookaheadOf('live', every(0)), 1024, 'as many as are looked at of those that came together');
  t.equal(lookaheadOf('live', every(1_000)), 1, 'the oldest always');
  t.equal(lookaheadOf('live', every(1).slice(0, 7)), 7);
  t.equal(lookaheadOf('live', []), 0);
});

t.test('a text longer than the budget runs, alone', async (t) => {
  const texts = [{ tokens: 256 }, { tokens: 256 }];
  t.same(pickBatch(texts, { paddedTokensMax: 100, paddingShareMax: 1, lookaheadTexts: 10 }), [0]);
});

t.test('shadow and bulk runs are capped by what they are estimated to take, live runs are not', async (t) => {
  const cost = new RunCost(100, 100 * 250);
  const budget = { batchTokensMax: 4_096, backgroundRunMsMax: 20 };
  t.equal(paddedTokensMaxOf('live', budget, cost), 4_096);
  t.equal(paddedTokensMaxOf('shadow', budget, cost), 80);
  t.equal(paddedTokensMaxOf('bulk', budget, cost), 80);
  const bulkAlone = { ...budget, backgroundRunMsMax: Number.POSITIVE_INFINITY };
  t.equal(paddedTokensMaxOf('bulk', bulkAlone, cost), 4_096);
});

t.test('the estimate follows the machine, and no measurement makes it useless', async (t) => {
  const cost = new RunCost(100, 100 * 250);
  for (let i = 0; i < 100; i++) cost.observe(100, 100 * 50);
  t.ok(Math.abs(cost.usPerToken - 50) < 1);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer(), fc.double()), { maxLength: 50 }), (runs) => {
      const estimate = new RunCost(0, 0);
      for (const [tokens, runUs] of runs) estimate.observe(tokens, runUs);
      const cap = paddedTokensMaxOf('bulk', { batchTokensMax: 512, backgroundRunMsMax: 20 }, estimate);
      t.ok(Number.isSafeInteger(cap) && cap >= 1 && cap <= 512);
    }),
  );
});

t.test('while live texts come, a background run may take as long as a live one and no longer', async (t) => {
  let nowMs = 0;
  const cap = new BackgroundCap(20, () => nowMs);
  t.equal(cap.runMs, 20);
  cap.observe('bulk', 15_000);
  t.equal(cap.runMs, 20, 'its own runs say nothing');
  cap.observe('live', 4_000);
  t.equal(cap.runMs, 4);
  for (let run = 0; run < 100; run++) cap.observe('live', 8_000);
  t.ok(Math.abs(cap.runMs - 8) < 0.1);
  for (let run = 0; run < 100; run++) cap.observe('live', 80_000);
  t.equal(cap.runMs, 20, 'and never longer than configured');
  nowMs = 5_000;
  cap.observe('live', 1_000);
  t.ok(cap.runMs > 20 - 1e-9);
  nowMs = 7_000;
  t.equal(cap.runMs, 20, 'nobody live has come for a while');
  t.equal(new BackgroundCap(Number.POSITIVE_INFINITY, () => 0).runMs, Number.POSITIVE_INFINITY);
});
