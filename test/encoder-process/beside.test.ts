import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import type { Duplex, Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import t from 'tap';
import { DEFAULT_ACCELERATOR } from '../../src/config/encoder.js';
import type { BesideQuestion, BesideReply } from '../../src/encoder/beside-protocol.js';
import {
  BESIDE,
  type ChildConfig,
  decodeJson,
  encodeJson,
  encodePiece,
  FRAME,
} from '../../src/encoder/child-protocol.js';
import { MainThread } from '../../src/encoder/main-thread.js';
import type { ModelFolder } from '../../src/encoder/manifest.js';
import { providerProblem } from '../../src/encoder/providers.js';
import type { ErrorFrame } from '../../src/errors.js';
import { encodeFrameHeader, type Frame, FrameParser } from '../../src/process/frames.js';
import { LANES } from '../../src/vocabulary.js';
import { HANGING_WORD, hangingModelFolder, tinyModelFolder } from '../fixtures/tiny-model.js';
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

t.test(
  'a run that never ends is noticed, although what waits is answered that it is late',
  withoutCuda,
  async (t) => {
    const { encoder, logs } = startEncoder(t, await hangingModelFolder(t), {
      ...ACCELERATED,
      silentMsMax: 1_000,
    });
    await encoder.ready();
    await encoder.encode(request(['a cat']));
    const pid = pidOf(encoder);
    const hurried = (text: string): Promise<string> =>
      reasonOf(encoder.encode(request([text], { deadlineAtMs: performance.now() + 100 })));
    const reasons = [await hurried(`from ${HANGING_WORD}`)];
    const giveUpAtMs = performance.now() + 60_000;
    while (encoder.state.kind === 'ready' && performance.now() < giveUpAtMs)
      reasons.push(await hurried('a cat'));
    t.not(encoder.state.kind, 'ready');
    t.equal(reasons[0], 'DEADLINE_EXCEEDED');
    t.ok(reasons.length > 4, `${reasons.length} were answered meanwhile`);
    const others = new Set(reasons.filter((reason) => reason !== 'DEADLINE_EXCEEDED'));
    others.delete('ENCODER_UNAVAILABLE');
    t.same([...others], []);
    await until('the process is gone', () => !isRunning(pid));
    t.ok(logs.some((line) => line.includes('a run of the model has not ended in')));
    await encoder.ready();
    t.not(pidOf(encoder), pid);
    t.equal(encoder.counters.restarts, 1);
    t.equal((await encoder.encode(request(['works again']))).tokenCounts.length, 1);
  },
);

const configOf = (model: ModelFolder, silentMsMax: number): ChildConfig => ({
  folder: model.folder,
  fingerprint: model.manifest.fingerprint,
  ...ACCELERATED,
  threads: 1,
  batchTokensMax: 2048,
  batchDelayMsMax: 0,
  accelerator: DEFAULT_ACCELERATOR,
  backgroundRunMsMax: null,
  queueTime: null,
  niceness: 0,
  silentMsMax,
});

const send = (channel: Duplex, kind: number, [payload]: readonly Buffer[]): void => {
  if (payload === undefined) return;
  channel.write(Buffer.concat([encodeFrameHeader(kind, 1, payload.length), payload]));
};

for (const [name, { silentMsMax, isHeard, leaves }] of Object.entries({
  'does not outlive its parent': { silentMsMax: 1e9, isHeard: true, leaves: true },
  'is killed although nobody reads what is said of it': { silentMsMax: 400, isHeard: false, leaves: false },
  'does not outlive a parent that is gone with all it read': {
    silentMsMax: 400,
    isHeard: false,
    leaves: true,
  },
}))
  t.test(`a process in a run that never ends ${name}`, withoutCuda, async (t) => {
    const model = await hangingModelFolder(t);
    const piece = encodePiece({
      role: 'query',
      lane: 'live',
      remainingMs: Number.POSITIVE_INFINITY,
      isWhole: true,
      leavesOut: false,
      texts: [`from ${HANGING_WORD}`],
    });
    const heard: number[] = [];
    const gone = await endOf(CHILD, async ({ pid, channel, stderr }) => {
      const parser = new FrameParser(1 << 20);
      channel.on('data', (chunk: Buffer) => parser.push(chunk, ({ kind }: Frame) => heard.push(kind)));
      send(channel, FRAME.configure, encodeJson(configOf(model, silentMsMax)));
      await until('it is ready', () => heard.includes(FRAME.ready));
      if (!isHeard) stderr.destroy();
      const before = mainThreadTicks(pid);
      send(channel, FRAME.encode, piece);
      if (!leaves) return;
      await until('the run takes long', () => !isRunning(pid) || mainThreadTicks(pid) >= before + 20);
      channel.end();
    });
    t.same(heard, [FRAME.ready]);
    t.match(gone, { code: null, signal: 'SIGKILL' });
  });

t.test('a tokenizer that was replaced when the model was open tokenises nothing', withoutCuda, async (t) => {
  const model = await copyOfModel(t, await tinyModelFolder(t));
  const heard: Frame[] = [];
  await endOf(SWAPPING, async ({ channel }) => {
    const parser = new FrameParser(1 << 20);
    channel.on('data', (chunk: Buffer) =>
      parser.push(chunk, ({ kind, id, payload }: Frame) =>
        heard.push({ kind, id, payload: Buffer.from(payload) }),
      ),
    );
    send(channel, FRAME.configure, encodeJson(configOf(model, 1e9)));
    await until('it has said how it went', () => heard.length > 0);
    channel.end();
  });
  t.same(
    heard.map(({ kind }) => kind),
    [FRAME.failed],
  );
  const error = decodeJson<ErrorFrame>(heard[0]?.payload ?? Buffer.alloc(0));
  t.match(error, { reason: 'CORRUPT_MODEL', message: /tokenizer\.json has another content/ });
});

t.test('an answer of the main thread settles what it was asked, and no other', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.teardown(() => port1.close());
  const broken: string[] = [];
  const main = new MainThread(port1, (error) => broken.push(error.message));
  const asked: BesideQuestion[] = [];
  port2.on('message', (question: BesideQuestion) => asked.push(question));
  const reply = (id: number, value: number): void =>
    port2.postMessage({
      id,
      answer: { kind: 'ran', values: Float32Array.of(value) },
    } satisfies BesideReply);
  const run = { kind: 'run', inputs: { data: {}, shape: { texts: 1, tokens: 1 }, lengths: [1] } } as const;
  const first = main.ask(run);
  await t.rejects(main.ask(run), { message: /has not answered 1 yet/ });
  reply(1, 7);
  t.match(await first, { kind: 'ran', values: Float32Array.of(7) });
  const second = main.ask(run);
  reply(1, 8);
  await until('the other answer is seen', () => broken.length === 1);
  t.match(broken[0], /sent answer 1 where 2 is/);
  reply(2, 9);
  t.match(await second, { kind: 'ran', values: Float32Array.of(9) });
  reply(2, 9);
  await until('what was not asked is seen', () => broken.length === 2);
  t.match(broken[1], /sent answer 2 where none is waited for/);
  await until('both questions came', () => asked.length === 2);
  t.match(asked, [{ id: 1 }, { id: 2 }]);
});

/** Hundredths of a second that the thread which runs the model had of a processor. */
function mainThreadTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'utf8');
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[11]);
}

const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const CHILD = program('../../src/encoder/child-main.js');
const SWAPPING = program('./swapping-main.js');

interface BareChild {
  readonly pid: number;
  readonly channel: Duplex;
  readonly stderr: Readable;
}

/** The process without its supervisor, what is done with it, and how it ended. */
async function endOf(
  file: string,
  does: (child: BareChild) => Promise<void> | void,
): Promise<{ code: number | null; signal: string | null; said: string }> {
  const child = spawn(process.execPath, [file, BESIDE], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  const closed = once(child, 'close');
  const { stderr } = child;
  if (stderr === null) throw new Error('the process has no stderr');
  let said = '';
  stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const channel = child.stdio[3] as Duplex;
  channel.on('error', () => undefined);
  await does({ pid: child.pid ?? 0, channel, stderr });
  const [code, signal] = (await closed) as [number | null, string | null];
  return { code, signal, said };
}

t.test('the process ends with the thread that speaks for it', async (t) => {
  const gone = await endOf(CHILD, ({ channel }) => void channel.end());
  t.equal(gone.code, 0, 'its parent is gone');
  const broken = await endOf(CHILD, ({ channel }) => void channel.write(encodeFrameHeader(99, 1, 0)));
  t.equal(broken.code, 70);
  t.match(broken.said, /unknown kind 99/);
});
