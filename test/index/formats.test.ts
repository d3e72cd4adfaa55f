import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { formatOf, scoreOf, vectorBytes } from '../../src/index/formats.js';
import { IdsWriter, IdTable } from '../../src/index/ids-file.js';
import { LaneQueues, type Queued } from '../../src/index/lane-queues.js';
import { readUsearchHeader } from '../../src/index/usearch-header.js';
import { LANES, METRICS, QUANTIZATIONS } from '../../src/vocabulary.js';
import { buildTestBundle, temporaryFolder, testCorpus } from './corpus.js';

t.test('what a format cannot hold is rescored or asked of the vectors', async (t) => {
  for (const quantization of QUANTIZATIONS)
    for (const metric of METRICS) {
      const format = formatOf({ quantization, metric, dimensions: 64, full_dimensions: 64 });
      const isLossy = quantization === 'i8' || quantization === 'b1';
      t.equal(format.rescoring !== null, isLossy, `${quantization} ${metric}`);
      t.equal(format.unitVectorsOnly, isLossy && metric !== 'cosine');
      if (quantization === 'b1') t.equal(format.usearchMetric, 'hamming');
      if (quantization === 'i8') t.equal(format.usearchMetric, 'cos');
    }
});

t.test('a larger score is a smaller distance under every metric', async (t) => {
  const finite = fc.float({ noNaN: true, noDefaultInfinity: true });
  fc.assert(
    fc.property(fc.constantFrom(...METRICS), finite, finite, (metric, a, b) =>
      a < b ? scoreOf(metric, a) >= scoreOf(metric, b) : scoreOf(metric, a) <= scoreOf(metric, b),
    ),
  );
  t.pass('for every example');
});

t.test('the header of index.usearch is read as it was built, in every format', async (t) => {
  for (const quantization of QUANTIZATIONS)
    for (const metric of METRICS) {
      const bundle = await buildTestBundle(temporaryFolder(t), testCorpus(3, 40, 16), {
        quantization,
        metric,
        connectivity: 8,
      });
      t.match(await readUsearchHeader(path.join(bundle.folder, 'index.usearch')), {
        rowCount: 40,
        vectorBytes: vectorBytes(quantization, 16),
        versionMajor: 2,
        metric: formatOf({ quantization, metric, dimensions: 16, full_dimensions: 16 }).usearchMetric,
        quantization,
        presentCount: 40,
        deletedCount: 0,
        dimensions: 16,
        connectivity: 8,
        baseConnectivity: 16,
      });
    }
});

t.test('rescored formats keep their recall', async (t) => {
  const corpus = testCorpus(4, 4000, 64);
  for (const [quantization, recallMin] of [
    ['i8', 0.95],
    ['b1', 0.6],
  ] as const) {
    const { recall_at_10 } = (await buildTestBundle(temporaryFolder(t), corpus, { quantization })).manifest;
    t.comment(`${quantization}: recall@10 ${recall_at_10.value}`);
    t.ok(recall_at_10.value >= recallMin);
  }
});

t.test('ids.bin gives back any ids and chunks, and no cut or changed count passes its check', async (t) => {
  const documents = fc.array(
    fc.record({ id: fc.string({ unit: 'grapheme', minLength: 1 }), chunks: fc.integer({ min: 1, max: 5 }) }),
    { minLength: 1, maxLength: 40 },
  );
  fc.assert(
    fc.property(documents, fc.nat(), (given, cut) => {
      const writer = new IdsWriter();
      for (const { id, chunks } of given) {
        writer.addDocument(id);
        for (let chunk = 0; chunk < chunks; chunk++) writer.addRow(chunk);
      }
      const bytes = Buffer.concat(writer.pieces());
      const shared = (length: number): SharedArrayBuffer => {
        const buffer = new SharedArrayBuffer(length);
        new Uint8Array(buffer).set(bytes.subarray(0, length));
        return buffer;
      };
      const { rowCount, documentCount } = writer;
      const whole = shared(bytes.length);
      if (IdTable.findDefect(whole, rowCount, documentCount) !== null) return false;
      if (IdTable.findDefect(whole, rowCount + 1, documentCount) === null) return false;
      if (IdTable.findDefect(shared(cut % bytes.length), rowCount, documentCount) === null) return false;
      const table = new IdTable(whole);
      let row = 0;
      return given.every(({ id, chunks }, ordinal) => {
        for (let chunk = 0; chunk < chunks; chunk++, row++)
          if (table.ordinals[row] !== ordinal || table.chunks[row] !== chunk) return false;
        return table.idOf(ordinal) === id;
      });
    }),
  );
  t.pass('for every example');
});

t.test(
  'a lane gives its queries out in order, drops the expired, and never holds more than its bound',
  async () => {
    interface Item extends Queued {
      readonly number: number;
      readonly deadlineAtMs: number;
    }
    const step = fc.oneof(
      fc.record({ lane: fc.constantFrom(...LANES), deadlineAtMs: fc.integer({ min: 0, max: 100 }) }),
      fc.record({
        take: fc.constantFrom(...LANES),
        count: fc.integer({ min: 1, max: 8 }),
        nowMs: fc.nat(100),
      }),
      fc.record({ sweepAtMs: fc.nat(100) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queues = new LaneQueues<Item>(10);
        const model = new Map<string, Item[]>(LANES.map((lane) => [lane, []]));
        steps.forEach((given, number) => {
          if ('lane' in given) {
            const item = { ...given, number };
            const waiting = model.get(given.lane) ?? [];
            if (queues.push(item) !== waiting.length < 10) throw new Error('bound');
            if (waiting.length < 10) waiting.push(item);
          } else if ('take' in given) {
            const expired: Item[] = [];
            const taken = queues.take(
              given.take,
              given.count,
              (item) => item.deadlineAtMs <= given.nowMs && expired.push(item) > 0,
            );
            const waiting = model.get(given.take) ?? [];
            const met = waiting.splice(0, taken.length + expired.length);
            const alive = met.filter((item) => item.deadlineAtMs > given.nowMs);
            if (taken.map((item) => item.number).join() !== alive.map((item) => item.number).join())
              throw new Error('order');
            if (taken.length > given.count) throw new Error('count');
          } else {
            queues.remove((item) => item.deadlineAtMs <= given.sweepAtMs);
            for (const lane of LANES)
              model.set(
                lane,
                (model.get(lane) ?? []).filter((item) => item.deadlineAtMs > given.sweepAtMs),
              );
          }
          for (const lane of LANES)
            if (queues.lengthOf(lane) !== model.get(lane)?.length) throw new Error('length');
        });
      }),
    );
  },
);
