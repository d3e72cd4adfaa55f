import { readdir } from 'node:fs/promises';
import t from 'tap';
import { startProcessEncoder } from '../../src/encoder/process-encoder.js';
import { ModelSession } from '../../src/encoder/session.js';
import { TextTokenizer } from '../../src/encoder/tokenizer.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { miniLmFolder } from '../fixtures/model.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';
import { failureOf } from '../index/corpus.js';
import { isRunning, until } from '../process/wait.js';
import { cosine, pidOf, reasonOf, request, startEncoder } from './start.js';

const TEXTS = [
  'a big cat with stripes',
  'x',
  'The yellow fruit that monkeys are said to like, and that people put into cakes when it gets too soft.',
  'Größe 漢字 👩‍👩‍👧 naïve',
  'word '.repeat(400),
  'small dog',
];

t.test('vectors are those of the model itself, alone and inside any batch', async (t) => {
  const folder = await miniLmFolder('fp16');
  const session = await ModelSession.open(folder, { provider: 'cpu', threads: 1 });
  t.teardown(() => session.release());
  const { encoder } = startEncoder(t, folder);
  await encoder.ready();
  const { dimensions, fingerprint } = folder.manifest;

  for (const role of ['query', 'document'] as const) {
    const together = await encoder.encode(request(TEXTS, { role }));
    t.match(together, { fingerprint, dimensions, truncatedCount: 1 });
    t.equal(together.values.length, TEXTS.length * dimensions);
    for (const [row, text] of TEXTS.entries()) {
      const direct = await session.encode([text], role);
      const alone = await encoder.encode(request([text], { role }));
      t.same(alone.values, direct.values, 'alone: the very same numbers');
      t.ok(cosine(together.values, row, direct.values, 0, dimensions) >= 0.9999, `batched, text ${row}`);
      t.equal(together.tokenCounts[row], direct.tokenCounts[0]);
    }
  }
});

t.test('an encoder process leaves no usage report of the runtime behind', async (t) => {
  const home = await temporaryFolder(t);
  const before = process.env.HOME;
  process.env.HOME = home;
  t.teardown(() => {
    process.env.HOME = before;
  });
  const { encoder } = startEncoder(t, await miniLmFolder('int8'));
  await encoder.ready();
  await encoder.close();
  t.same(await readdir(home, { recursive: true }), []);
});

t.test('with one encoder on the fast model', async (t) => {
  const folder = await miniLmFolder('int8');
  const { dimensions } = folder.manifest;
  const { encoder, batches, states } = startEncoder(t, folder);
  await encoder.ready();
  const pid = pidOf(encoder);
  t.match(states, [{ kind: 'ready', provider: 'cpu', fallbackReason: null, pid }]);

  const whileStopped = async (during: () => Promise<void> | void): Promise<void> => {
    process.kill(pid, 'SIGSTOP');
    try {
      await during();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  };

  await t.test('many callers at once share batches and each gets its own vectors', async (t) => {
    const texts = Array.from(
      { length: 48 },
      (_, i) => `animal number ${i} with ${'very '.repeat(i % 7)}long legs`,
    );
    const alone = await encoder.encode(request([texts[17] ?? '']));
    const before = batches.length;
    const answers: Awaited<ReturnType<typeof encoder.encode>>[] = [];
    let all: Promise<void> = Promise.resolve();
    await whileStopped(() => {
      all = Promise.all(texts.map((text) => encoder.encode(request([text])))).then((list) => {
        answers.push(...list);
      });
    });
    await all;
    const used = batches.slice(before);
    t.ok(used.length < texts.length / 2, `${used.length} batches for ${texts.length} callers`);
    for (const batch of used) t.ok(batch.paddedTokens <= 2048 && batch.paddedTokens >= batch.tokens);
    t.ok(cosine(answers[17]?.values ?? new Float32Array(), 0, alone.values, 0, dimensions) >= 0.9999);
    t.ok(cosine(answers[18]?.values ?? new Float32Array(), 0, alone.values, 0, dimensions) < 0.9999);
  });

  await t.test('a request of 1024 texts spans batches and is answered in order', async (t) => {
    const texts = Array.from(
      { length: 1024 },
      (_, i) => `${i % 5 === 0 ? 'a rather long text about ' : ''}number ${i}`,
    );
    const before = batches.length;
    const answer = await encoder.encode(request(texts, { role: 'document' }));
    t.ok(batches.length - before > 3);
    t.equal(answer.tokenCounts.length, 1024);
    for (const row of [0, 1, 500, 1023]) {
      const alone = await encoder.encode(request([texts[row] ?? ''], { role: 'document' }));
      t.ok(cosine(answer.values, row, alone.values, 0, dimensions) >= 0.9999, `text ${row}`);
      t.equal(answer.tokenCounts[row], alone.tokenCounts[0]);
    }
  });

  await t.test('live overtakes shadow, and shadow overtakes bulk', async (t) => {
    const before = batches.length;
    let all: Promise<unknown> = Promise.resolve();
    await whileStopped(() => {
      all = Promise.all(
        (['bulk', 'shadow', 'live'] as const).map((lane) =>
          encoder.encode(request([`text of ${lane}`, `more of ${lane}`], { lane })),
        ),
      );
    });
    await all;
    const order = batches.slice(before).map(({ lane }) => lane);
    t.equal(order[0], 'live');
    t.ok(order.lastIndexOf('shadow') < order.indexOf('bulk'));
  });

  await t.test('a live text comes between the runs of a large bulk request', async (t) => {
    const before = batches.length;
    const settled: string[] = [];
    const texts = Array.from(
      { length: 400 },
      (_, i) => `bulk text ${i} ${'with some more words '.repeat(6)}`,
    );
    const bulk = encoder.encode(request(texts, { lane: 'bulk' })).then(() => settled.push('bulk'));
    await until('bulk is running', () => batches.length > before);
    await encoder.encode(request(['urgent'])).then(() => settled.push('live'));
    await bulk;
    t.same(settled, ['live', 'bulk']);
    const lanes = batches.slice(before).map(({ lane }) => lane);
    t.ok(lanes.lastIndexOf('bulk') > lanes.indexOf('live'), 'bulk runs came after it');
  });

  await t.test('bulk runs are cut to the estimate, live runs are not', async (t) => {
    const before = batches.length;
    const texts = Array.from({ length: 64 }, (_, i) => `text ${i} ${'with some more words '.repeat(6)}`);
    await encoder.encode(request(texts, { lane: 'bulk' }));
    const bulkMax = Math.max(...batches.slice(before).map(({ paddedTokens }) => paddedTokens));
    await encoder.encode(request(texts, { lane: 'live' }));
    const liveMax = Math.max(...batches.slice(before).map(({ paddedTokens }) => paddedTokens));
    t.ok(bulkMax < liveMax, `${bulkMax} padded tokens in a bulk run, ${liveMax} in a live one`);
  });

  await t.test('a deadline that has passed is refused before anything is sent', async (t) => {
    const before = batches.length;
    const late = encoder.encode(request(['late'], { deadlineAtMs: performance.now() - 1 }));
    t.equal(await reasonOf(late), 'DEADLINE_EXCEEDED');
    t.equal(encoder.counters.outstanding, 0);
    t.equal(batches.length, before);
  });

  await t.test('what expires while it waits is dropped before it costs a run', async (t) => {
    const before = batches.length;
    await whileStopped(async () => {
      const texts = ['first', 'second', 'third'];
      const waiting = texts.map((text) =>
        encoder.encode(request([text], { deadlineAtMs: performance.now() + 30 })),
      );
      t.same(
        await Promise.all(waiting.map(reasonOf)),
        texts.map(() => 'DEADLINE_EXCEEDED'),
      );
      t.equal(encoder.counters.queueLength.live, 0);
    });
    await encoder.encode(request(['after']));
    await until('nothing owed', () => encoder.counters.outstanding === 0);
    t.equal(
      batches.slice(before).reduce((sum, { texts }) => sum + texts, 0),
      1,
      'only the last text ran',
    );
  });

  await t.test('a full lane refuses by name, the other lanes go on', async (t) => {
    await whileStopped(async () => {
      const waiting = Array.from({ length: 4 }, (_, i) =>
        encoder.encode(request([`b${i}`], { lane: 'bulk' })),
      );
      const refused = encoder.encode(request(['one too many'], { lane: 'bulk' }));
      const refusal = await failureOf(refused);
      t.match(refusal, {
        reason: 'QUEUE_FULL',
        message: /bulk queue holds 4 requests, its bound is 4/,
        details: { lane: 'bulk', bound: 'queueLengthMax', limit: '4' },
      });
      // Of what the runs so far took, not the second that stands for not knowing.
      const { retryAfterMs = 0 } = refusal as { retryAfterMs?: number };
      t.ok(retryAfterMs >= 50 && retryAfterMs < 1_000, `${retryAfterMs} ms`);
      const live = encoder.encode(request(['still welcome']));
      process.kill(pid, 'SIGCONT');
      await live;
      await Promise.all(waiting);
    });
    t.equal((await encoder.encode(request(['and again'], { lane: 'bulk' }))).tokenCounts.length, 1);
  });

  await t.test('requests outside the contract are refused, and name no text', async (t) => {
    t.equal(await reasonOf(encoder.encode(request([]))), 'INVALID_ARGUMENT');
    t.equal(
      await reasonOf(encoder.encode(request(Array.from({ length: 1025 }, () => 'a')))),
      'INVALID_ARGUMENT',
    );
    t.equal(await reasonOf(encoder.encode(request(['fine', '']))), 'EMPTY_QUERY');
    const long = 'secret '.repeat(20_000);
    await t.rejects(encoder.encode(request([long])), {
      reason: 'TEXT_TOO_LARGE',
      message: 'text 0 of 140000 bytes must be <= 65536; shorten or chunk it',
    });
  });

  await t.test(
    'texts as long as they may be, many at once, stay within the window and are answered',
    async (t) => {
      const texts = Array.from({ length: 40 }, (_, i) => `${i} ${'ab '.repeat(21_000)}`);
      const pending = encoder.encode(request(texts));
      // What is asked for at once is handed over at once, right after.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      t.ok(encoder.counters.outstanding > 0);
      t.ok(encoder.counters.bufferedBytes <= 1_200_000);
      const answer = await pending;
      t.equal(answer.truncatedCount, 40);
      t.equal(encoder.counters.queueBytes.live, 0);
    },
  );

  await t.test('the counters add up', async (t) => {
    const { counters } = encoder;
    const sum = (of: (batch: (typeof batches)[number]) => number): number =>
      batches.reduce((total, batch) => total + of(batch), 0);
    t.match(counters, {
      batches: batches.length,
      texts: sum(({ texts }) => texts),
      tokens: sum(({ tokens }) => tokens),
      paddedTokens: sum(({ paddedTokens }) => paddedTokens),
      restarts: 0,
      outstanding: 0,
      queueLength: { live: 0, shadow: 0, bulk: 0 },
    });
  });

  await t.test(
    'close answers what is in flight, refuses what comes, and leaves nothing running',
    async (t) => {
      const inFlight = encoder.encode(request(['the last one']));
      const closed = encoder.close();
      t.equal(await reasonOf(encoder.encode(request(['too late']))), 'SHUTTING_DOWN');
      t.equal(await reasonOf(inFlight), 'resolved');
      await closed;
      t.equal(encoder.state.kind, 'closed');
      t.notOk(isRunning(pid));
      t.equal(await reasonOf(encoder.ready()), 'SHUTTING_DOWN');
    },
  );
});

t.test('options outside their limits do not start a process', async (t) => {
  const folder = await miniLmFolder('int8');
  const base = {
    folder,
    providers: ['cpu'],
    require: true,
    threads: 1,
    batchTokensMax: 100,
    queueLengthMax: { live: 1, shadow: 1, bulk: 1 },
    textBytesMax: 100,
    log: () => undefined,
  } as const;
  const bad = [
    [{ providers: [] }, /providers is empty/],
    [{ threads: 0 }, /threads 0 must be a whole number in 1\.\.1024/],
    [{ batchTokensMax: 1.5 }, /batchTokensMax 1\.5/],
    [{ textBytesMax: 1e9 }, /textBytesMax 1000000000/],
    [{ queueBytesMax: 99 }, /queueBytesMax 99 must be a whole number in 100/],
    [{ queueLengthMax: { live: 0, shadow: 1, bulk: 1 } }, /queueLengthMax\.live 0/],
    [{ silentMsMax: Number.NaN }, /silentMsMax NaN must be > 0/],
  ] as const;
  for (const [change, message] of bad)
    t.throws(() => startProcessEncoder({ ...base, ...change }), { reason: 'INVALID_CONFIG', message });
});

t.test('tokenising is the work of the encoder process, not of the one that asks', async (t) => {
  const folder = await tinyModelFolder(t);
  // Of words that nobody has seen before, else they would not be tokenised again.
  let words = 1e9;
  const newTexts = (): string[] =>
    Array.from({ length: 1024 }, () => Array.from({ length: 40 }, () => (words++).toString(36)).join(' '));
  const tokenizer = await TextTokenizer.ofModel(folder);
  const { encoder } = startEncoder(t, folder);
  await encoder.ready();
  const encode = async (): Promise<void> => {
    await encoder.encode(request(texts));
  };
  const tokenise = (): void => {
    for (const text of texts) tokenizer.encode(text);
  };
  let texts = newTexts();
  // Both once before, so that neither is measured while it is compiled.
  await encode();
  tokenise();
  texts = newTexts();
  const askingUs = await cpuUs(encode);
  const tokenisingUs = await cpuUs(tokenise);
  t.ok(askingUs < tokenisingUs / 2, `${askingUs} µs of CPU for asking, ${tokenisingUs} µs for tokenising`);
});

/** CPU time of this process, whatever else the machine does. */
async function cpuUs(work: () => Promise<void> | void): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}
