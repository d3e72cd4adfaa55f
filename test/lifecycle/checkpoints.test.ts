import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { Checkpoints, type ReembedPlan } from '../../src/lifecycle/reembed/checkpoints.js';
import { silentLog } from '../fixtures/postgres.js';
import { temporaryFolder } from '../index/corpus.js';

const DIMENSIONS = 2;
const PLAN: ReembedPlan = {
  format: 1,
  corpus: 'docs_kb',
  version: 'v1',
  fingerprint: 'mf1_0',
  documentTemplate: '{text}',
  textNormalisation: 'nfc',
  chunking: null,
  dimensions: DIMENSIONS,
  source: { kind: 'file', name: 'docs.jsonl', sha256: 'a'.repeat(64), snapshot: null },
  interval: 50,
};
const ROW = { documentId: 'd0', chunk: 0, truncated: false, textHash: 'b'.repeat(64), sourceVersion: null };
const BLOCK = { rows: [ROW], vectors: new Float32Array(DIMENSIONS) };

t.test('what went to the encoder is counted, also where a call was larger than an interval', async (t) => {
  const folder = path.join(temporaryFolder(t), 'docs_kb', 'v1', '.checkpoints');
  const opened = async (): Promise<Checkpoints> => {
    const checkpoints = await Checkpoints.open(folder, silentLog);
    await checkpoints.adopt(PLAN);
    return checkpoints;
  };
  const first = await opened();
  t.equal(await first.takeUnfinished(), 0);
  const whole = await first.begin('snapshot-000000.ckpt');
  await whole.noteBegun(50);
  await whole.write(BLOCK);
  await whole.finish({ plan: first.planHash, dimensions: DIMENSIONS, documents: 50, feed: null });
  const killed = await first.begin('snapshot-000001.ckpt');
  await killed.noteBegun(7);
  await killed.noteBegun(43);
  // It ends here: nothing of the interval came back from the encoder.
  await first.release();

  const second = await opened();
  t.equal(await second.takeUnfinished(), 43);
  t.equal(await second.takeUnfinished(), 0, 'counted once');
  const aborted = await second.begin('snapshot-000001.ckpt');
  await aborted.noteBegun(20);
  await aborted.abandon();
  await second.release();

  // Killed between giving a checkpoint its name and forgetting what it had begun.
  writeFileSync(path.join(folder, 'snapshot-000000.ckpt.begun'), '50');
  const third = await opened();
  t.equal(await third.takeUnfinished(), 20, 'of an aborted run too');
  t.match(await third.find('snapshot-000000.ckpt', DIMENSIONS), { documents: 50, rows: 1 });
  t.same(readdirSync(folder).sort(), ['.lock', 'plan.json', 'snapshot-000000.ckpt']);
  await third.release();
});
