import { fileURLToPath } from 'node:url';
import t from 'tap';
import {
  decodeError,
  encodeJson,
  encodeSearch,
  FRAME,
  PAYLOAD_BYTES_MAX,
  type SearchMessage,
} from '../../src/index/process/protocol.js';
import { DEFAULT_BACKOFF } from '../../src/process/backoff.js';
import { childEnv } from '../../src/process/child-env.js';
import type { Frame } from '../../src/process/frames.js';
import { SupervisedChild } from '../../src/process/supervised-child.js';
import { systemTimers } from '../../src/process/timers.js';
import type { Digest } from '../../src/vocabulary.js';
import {
  expectedOf,
  FINGERPRINT,
  OTHER_FINGERPRINT,
  rowOf,
  temporaryFolder,
  testCorpus,
} from '../index/corpus.js';
import { until } from '../process/wait.js';
import { type Built, build } from './start.js';

const corpus = testCorpus(1, 200);
const home = temporaryFolder(t);
let built: Built;
t.before(async () => {
  built = await build(home, corpus);
});

/** The real program, spoken to without the client and its checks. */
function startChild(t: { teardown(fn: () => Promise<void>): unknown }, digest?: Digest) {
  const frames: Frame[] = [];
  const child = new SupervisedChild({
    name: 'index process',
    command: process.execPath,
    args: [fileURLToPath(new URL('../../src/index/process/child-main.js', import.meta.url))],
    env: childEnv(process.env),
    payloadBytesMax: PAYLOAD_BYTES_MAX,
    bufferedBytesMax: 1 << 20,
    startTimeoutMs: 20_000,
    silentMsMax: 20_000,
    closeGraceMs: 2_000,
    backoff: { ...DEFAULT_BACKOFF, delayMsFirst: 60_000, jitter: 0 },
    log: () => undefined,
    timers: systemTimers,
    random: Math.random,
    onSpawn: () => {
      const { bundle, options } = built;
      const order = {
        folder: bundle.folder,
        digest: digest ?? bundle.digest,
        expected: expectedOf(options),
        workers: 1,
        queueLengthMax: 10,
        niceness: 0,
        aliveEveryMs: 1_000,
        stuckMsMax: 10_000,
      };
      child.send(FRAME.open, 0, [encodeJson(order)]);
    },
    onFrame: ({ kind, id, payload }) => {
      frames.push({ kind, id, payload: Buffer.from(payload) });
      if (kind === FRAME.opened) child.markReady();
    },
    onDrain: () => undefined,
    onState: () => undefined,
  });
  t.teardown(() => child.close());
  child.start();
  return { child, frames };
}

t.test('the process checks every search once more, the fingerprint first', async (t) => {
  const { child, frames } = startChild(t);
  await until('open', () => child.state.kind === 'ready');
  const values = rowOf(corpus, 0);
  const search: SearchMessage = {
    fingerprint: FINGERPRINT,
    values,
    topK: 10,
    lane: 'shadow',
    remainingMs: Number.POSITIVE_INFINITY,
    withDocument: false,
  };
  const wrong: readonly (readonly [Partial<SearchMessage>, string])[] = [
    [{ fingerprint: OTHER_FINGERPRINT }, 'FINGERPRINT_MISMATCH'],
    [
      { fingerprint: OTHER_FINGERPRINT, values: new Float32Array(3).fill(Number.NaN) },
      'FINGERPRINT_MISMATCH',
    ],
    [{ values: values.slice(1) }, 'DIMENSION_MISMATCH'],
    [{ values: values.map(() => Number.NaN) }, 'NON_FINITE_VECTOR'],
    [{ values: new Float32Array(32) }, 'ZERO_VECTOR'],
    [{ remainingMs: 0 }, 'DEADLINE_EXCEEDED'],
  ];
  for (const [at, [more, reason]] of wrong.entries()) {
    child.send(FRAME.search, at + 1, [encodeSearch({ ...search, ...more })]);
    await until('answered', () => frames.at(-1)?.id === at + 1);
    const { kind, payload } = frames.at(-1) as Frame;
    t.same([kind, decodeError(payload)?.reason], [FRAME.refused, reason]);
  }
  child.send(FRAME.search, 100, [encodeSearch(search)]);
  await until('answered', () => frames.at(-1)?.id === 100);
  t.equal(frames.at(-1)?.kind, FRAME.answer, 'and answers what is right');
});

t.test('the process opens the build it was told to, and no other', async (t) => {
  const { child, frames } = startChild(t, '0'.repeat(64) as Digest);
  await until('it says so', () => frames.length > 0);
  t.equal(frames[0]?.kind, FRAME.failed);
  t.match(decodeError(frames[0]?.payload ?? Buffer.alloc(0)), {
    reason: 'CORRUPT_BUNDLE',
    details: { file: 'manifest.json' },
  });
  t.equal(child.state.kind, 'starting');
});

t.test('a process that is sent what it does not know ends itself', async (t) => {
  for (const send of [
    (child: SupervisedChild) => child.send(FRAME.search, 1, [Buffer.from('garbage')]),
    (child: SupervisedChild) => child.send(77, 1),
  ]) {
    const { child } = startChild(t);
    await until('open', () => child.state.kind === 'ready');
    send(child);
    await until('ended', () => child.state.kind === 'waiting');
    t.match(child.state, { down: { kind: 'exited' } });
  }
});
