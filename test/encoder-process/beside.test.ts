import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { BESIDE } from '../../src/encoder/child-protocol.js';
import { providerProblem } from '../../src/encoder/providers.js';
import { encodeFrameHeader } from '../../src/process/frames.js';
import { LANES } from '../../src/vocabulary.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';
import { isRunning, until } from '../process/wait.js';
import { copyOfModel, cosine, pidOf, reasonOf, request, startEncoder } from './start.js';

/** Names an accelerator, so that runs have a thread of their own; here without one it falls back to the CPU. */
const ACCELERATED = { providers: ['cuda', 'cpu'], require: false } as const;
const withoutCuda = { skip: providerProblem('cuda') === null ? 'CUDA is installed here' : false } as const;

t.test('an encoder whose runs are beside gives what one gives whose runs are not', withoutCuda, async (t) => {
  const model = await tinyModelFolder(t);
  const { encoder: plain } = startEncoder(t, model);
  const { encoder, batches } = startEncoder(t, model, ACCELERATED);
  await Promise.all([plain.ready(), encoder.ready()]);
  t.match(encoder.state, { kind: 'ready', provider: 'cpu', fallbackReason: /cuda/ });
  const texts = Array.from({ length: 200 }, (_, at) =>
    `text ${at} of a cat ${'with stripes '.repeat(at % 7 === 0 ? 200 : at % 11)}`.trim(),
  );
  const requests = Array.from({ length: 30 }, (_, at) =>
    request(texts.slice(at, at + 1 + ((at * 37) % 150)), {
      lane: LANES[at % 10 === 0 ? 2 : at % 2] ?? 'live',
      role: at % 3 === 0 ? 'document' : 'query',
    }),
  );
  for (let round = 0; round < 2; round++) {
    const started = requests.slice(0, 28).map((one) => encoder.encode(one));
    for (const [at, pending] of started.entries()) {
      const one = requests[at] as (typeof requests)[number];
      const [got, wanted] = [await pending, await plain.encode(one)];
      t.same(got.tokenCounts, wanted.tokenCounts);
      t.equal(got.truncatedCount, wanted.truncatedCount);
      t.ok(got.encodeUs > 0);
      const { dimensions } = model.manifest;
      const rows = one.texts.map((_, row) => cosine(got.values, row, wanted.values, row, dimensions));
      t.ok(Math.min(...rows) >= 0.99999);
    }
  }
  t.ok(encoder.counters.texts > 0 && batches.length === encoder.counters.batches);
  t.equal(encoder.counters.outstanding, 0);

  const hurried = requests.map((one) => encoder.encode({ ...one, deadlineAtMs: performance.now() + 2 }));
  const reasons = new Set(await Promise.all(hurried.map(reasonOf)));
  reasons.delete('resolved');
  reasons.delete('DEADLINE_EXCEEDED');
  t.same([...reasons], []);
  await encoder.encode(request(['works after that']));

  const pid = pidOf(encoder);
  const last = encoder.encode(request(texts));
  await encoder.close();
  t.equal((await last).tokenCounts.length, texts.length, 'close answers what is in flight');
  t.notOk(isRunning(pid));
});

t.test('why a model cannot be opened crosses between the threads', withoutCuda, async (t) => {
  const damaged = await copyOfModel(t, await tinyModelFolder(t));
  await appendFile(path.join(damaged.folder, 'model.onnx'), 'x');
  const { encoder } = startEncoder(t, damaged, ACCELERATED);
  t.equal(await reasonOf(encoder.ready()), 'CORRUPT_MODEL');
  t.equal(encoder.state.kind, 'failed');
});

t.test('a killed process comes back with its thread', withoutCuda, async (t) => {
  const { encoder } = startEncoder(t, await tinyModelFolder(t), ACCELERATED);
  await encoder.ready();
  const pid = pidOf(encoder);
  process.kill(pid, 'SIGKILL');
  await until('it is missed', () => encoder.state.kind !== 'ready');
  await encoder.ready();
  t.not(pidOf(encoder), pid);
  t.equal(encoder.counters.restarts, 1);
  t.equal((await encoder.encode(request(['a cat']))).tokenCounts.length, 1);
});

/** The process without its supervisor, and how it ended. */
async function endOf(does: (channel: Duplex) => void): Promise<{ code: number | null; said: string }> {
  const program = fileURLToPath(new URL('../../src/encoder/child-main.js', import.meta.url));
  const child = spawn(process.execPath, [program, BESIDE], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const channel = child.stdio[3] as Duplex;
  channel.on('error', () => undefined);
  does(channel);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, said };
}

t.test('the process ends with the thread that speaks for it', async (t) => {
  const gone = await endOf((channel) => channel.end());
  t.equal(gone.code, 0, 'its parent is gone');
  const broken = await endOf((channel) => channel.write(encodeFrameHeader(99, 1, 0)));
  t.equal(broken.code, 70);
  t.match(broken.said, /unknown kind 99/);
});
