import { open, truncate } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { providerProblem } from '../../src/encoder/providers.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';
import { shortMiniLmFolder, withOtherProbes } from '../fixtures/model.js';
import { bareModelFolder } from '../fixtures/tiny-model.js';
import { failureOf } from '../index/corpus.js';
import { until } from '../process/wait.js';
import { copyOfModel, cosine, pidOf, reasonOf, request, startEncoder } from './start.js';

/** Leaves the time to look at a failure. */
const PATIENT = { ...DEFAULT_BACKOFF, delayMsFirst: 60_000, delayMsMax: 60_000, jitter: 0 };

/** Turns one byte in the middle of a file into another. */
async function flipByte(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const { size } = await handle.stat();
    const byte = Buffer.alloc(1);
    const at = Math.floor(size / 2);
    await handle.read(byte, 0, 1, at);
    await handle.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
  } finally {
    await handle.close();
  }
}

t.test('a model damaged under a running encoder is refused by name until it is whole again', async (t) => {
  const folder = await copyOfModel(t, await shortMiniLmFolder('int8'));
  const { encoder } = startEncoder(t, folder);
  await encoder.ready();
  const before = await encoder.encode(request(['a']));
  await flipByte(path.join(folder.folder, 'model.onnx'));
  process.kill(pidOf(encoder), 'SIGKILL');
  await until('failed', () => encoder.state.kind === 'failed');
  // In one turn of the loop: it is tried again soon.
  const refused = [encoder.state, reasonOf(encoder.ready()), failureOf(encoder.encode(request(['a'])))];
  t.match(await Promise.all(refused), [
    {
      kind: 'failed',
      attempt: Number,
      error: { reason: 'CORRUPT_MODEL', message: /model\.onnx has another content/ },
    },
    'CORRUPT_MODEL',
    { reason: 'ENCODER_UNAVAILABLE', message: /model\.onnx/ },
  ]);
  await until('tried again in vain', () => encoder.state.kind === 'failed' && encoder.state.attempt > 2);
  await flipByte(path.join(folder.folder, 'model.onnx'));
  await until('ready', () => encoder.state.kind === 'ready', 60_000);
  t.same((await encoder.encode(request(['a']))).values, before.values);
});

t.test('a text without tokens is refused, and gets no vector of a neighbour', async (t) => {
  for (const pooling of ['last_token', 'mean', 'cls'] as const) {
    const { encoder } = startEncoder(t, await bareModelFolder(t, pooling));
    await encoder.ready();
    const pid = pidOf(encoder);
    const wanted = await encoder.encode(request(['a cat']));
    const nothing = '\u200b';
    const [before, refused, after, together] = await Promise.all([
      encoder.encode(request(['a cat'])),
      reasonOf(encoder.encode(request([nothing]))),
      encoder.encode(request(['a cat'])),
      reasonOf(encoder.encode(request(['a cat', nothing]))),
    ]);
    t.same([refused, together], ['EMPTY_QUERY', 'EMPTY_QUERY'], pooling);
    for (const { values } of [before, after])
      t.ok(cosine(values, 0, wanted.values, 0, encoder.model.dimensions) >= 0.99999, pooling);
    const texts = [nothing, ...Array.from({ length: 70 }, () => 'a cat'), nothing];
    const left = await encoder.encode(request(texts, { leavesOut: true }));
    t.same(
      [...left.tokenCounts].map((count, at) => (count === 0 ? at : -1)).filter((at) => at >= 0),
      [0, texts.length - 1],
      'or left out, where that is asked for',
    );
    for (const row of [1, 70])
      t.ok(cosine(left.values, row, wanted.values, 0, encoder.model.dimensions) >= 0.99999, pooling);
    const none = await encoder.encode(request([nothing], { leavesOut: true }));
    t.same([...none.tokenCounts, none.truncatedCount], [0, 0]);
    t.equal(encoder.counters.outstanding, 0);
    t.equal(pidOf(encoder), pid, 'no process ended for it');
  }
});

t.test('every damaged file of a model is refused by name before anything is opened', async (t) => {
  const model = await shortMiniLmFolder('int8');
  for (const file of [...Object.keys(model.manifest.files), 'manifest.json'])
    for (const damage of [flipByte, (name: string) => truncate(name, 100)]) {
      const folder = await copyOfModel(t, model);
      await damage(path.join(folder.folder, file));
      const { encoder } = startEncoder(t, folder, { backoff: PATIENT });
      await t.rejects(encoder.ready(), {
        reason: 'CORRUPT_MODEL',
        message: new RegExp(file.replace('.', '\\.')),
      });
      t.equal(encoder.counters.restarts, 0, 'no restart loop');
      t.match(encoder.state, { kind: 'failed', attempt: 1, retryInMs: 60_000 });
      await encoder.close();
    }
});

t.test('an encoder that does not reproduce its probes is never ready', async (t) => {
  const folder = await withOtherProbes(await copyOfModel(t, await shortMiniLmFolder('int8')));
  const { encoder } = startEncoder(t, folder, { backoff: PATIENT });
  t.equal(await reasonOf(encoder.ready()), 'PROBE_MISMATCH');
  t.equal(encoder.state.kind, 'failed');
});

t.test('another model in the folder is refused', async (t) => {
  const [int8, fp16] = [await shortMiniLmFolder('int8'), await shortMiniLmFolder('fp16')];
  const { encoder } = startEncoder(t, { folder: int8.folder, manifest: fp16.manifest });
  t.equal(await reasonOf(encoder.ready()), 'FINGERPRINT_MISMATCH');
});

/** These two need a machine where CUDA cannot work. */
const withoutCuda = { skip: providerProblem('cuda') === null ? 'CUDA is installed here' : false } as const;

t.test('a required provider that is not there is a refusal that says what to do', withoutCuda, async (t) => {
  const { encoder } = startEncoder(t, await shortMiniLmFolder('int8'), {
    providers: ['cuda', 'cpu'],
    require: true,
    backoff: PATIENT,
  });
  t.equal(await reasonOf(encoder.ready()), 'PROVIDER_UNAVAILABLE');
  t.match(encoder.state, {
    kind: 'failed',
    error: {
      message:
        /install\.js --onnxruntime-node-install-cuda=v12|install it \(in a container|exists for linux\/x64 alone/,
      details: { provider: 'cuda' },
    },
  });
  t.equal(encoder.counters.restarts, 0);
});

t.test('a provider that is not there is passed over, and the encoder says so', withoutCuda, async (t) => {
  const { encoder, logs } = startEncoder(t, await shortMiniLmFolder('int8'), {
    providers: ['cuda', 'cpu'],
    require: false,
  });
  await encoder.ready();
  t.match(encoder.state, { kind: 'ready', provider: 'cpu', fallbackReason: /^cuda: .*cannot be had/ });
  t.ok(logs.some((line) => line.includes('fell back to cpu')));
  t.equal((await encoder.encode(request(['works']))).tokenCounts.length, 1);
});
