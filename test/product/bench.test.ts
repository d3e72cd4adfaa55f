import { existsSync } from 'node:fs';
import path from 'node:path';
import t, { type Test } from 'tap';
import { BETWEEN } from '../../bench/chaos/fault.js';
import { FAULTS, faultsOf } from '../../bench/chaos/faults.js';
import { shortfalls } from '../../bench/chaos/judge.js';
import { packageRoot } from '../../src/package-root.js';
import { finished, spawnNode } from '../fixtures/product.js';

const MAIN = path.join(packageRoot(), 'dist', 'bench', 'main.js');

const REDIS = { 'redis-server': /^\d+\./ };
/** Of servers that take part, beside the packages. */
const VERSIONS: Readonly<Record<string, Readonly<Record<string, RegExp>>>> = { cache: REDIS, chaos: REDIS };
/** Faults of the bench chaos that are over, or certain, when they were injected: nothing is left to be seen of them. */
const UNSEEN = [
  'nothing',
  'redis emptied',
  'gateway drained and started anew',
  'the route changes to and fro',
  'a burst of a thousand requests',
  'files of open indexes moved away',
  'disk full during a build',
];
const SEARCHED = ['in_flight', 'recall_at_10'];
/** What each row of a bench that compares searches says beside what it compares, and how many such rows there are. */
const FIELDS: Readonly<Record<string, readonly [rows: number, names: readonly string[]]>> = {
  serving: [2, SEARCHED],
  latency: [1, [...SEARCHED, 'usearch_in_flight', 'usearch_recall_at_10', 'cpu_us', 'usearch_cpu_us']],
  text: [5, SEARCHED],
  mirror: [2, ['off_in_flight', 'on_in_flight', 'off_recall_at_10', 'on_recall_at_10']],
  ssd: [2, SEARCHED],
  formats: [17, [...SEARCHED, 'cpu_us']],
  scale: [2, SEARCHED],
  soak: [1, SEARCHED],
};

for (const name of [
  'smoke',
  'cache',
  'chaos',
  'overload',
  'expansion',
  'routing',
  'mirror-faults',
  'serving',
  'text',
  'latency',
  'mirror',
  'soak',
  'lanes',
  'rebuild',
  'formats',
  'scale',
  'ssd',
  'statistics',
  'peers',
  'costs',
]) {
  t.test(`bench ${name} runs at its smoke size and says where it ran`, async (t) => {
    const { code, stdout, stderr } = await finished(spawnNode(MAIN, [name, '--json', '--smoke']));
    t.equal(code, 0, stderr);
    const report = JSON.parse(stdout) as {
      results: { readonly [name: string]: unknown; readonly skipped?: string }[];
      input: string;
      ratio?: number;
    };
    t.match(report, {
      bench: name,
      size: 'smoke',
      seed: 1,
      surroundings: {
        cores: Number,
        commit: existsSync(path.join(packageRoot(), '.git')) ? /^\S+$/ : null,
        versions: { usearch: /^2\./, '@grpc/grpc-js': /^1\./, ioredis: /^5\./, ...VERSIONS[name] },
      },
    });
    if (report.results[0]?.skipped === undefined) {
      const [count, names] = FIELDS[name] ?? [0, []];
      const whole = report.results.filter((row) => names.every((field) => Number(row[field]) > 0));
      if (count > 0) t.equal(whole.length, count, `${names} in ${JSON.stringify(report.results)}`);
    }
    t.match(report.input, /^[0-9a-f]{16}$/);
    t.ok(report.results.length > 0);
    if (name === 'chaos') judgeChaos(t, report.results);
    const skipped = report.results[0]?.skipped;
    if (skipped !== undefined) {
      t.match(stderr, new RegExp(`bench ${name} SKIPPED, nothing was measured: \\S`), 'loudly');
      t.pass(`bench ${name} measures`, { skip: skipped });
    } else if (name !== 'expansion' && name !== 'statistics')
      t.ok((report.ratio ?? 0) > 0, `ratio ${report.ratio}`);
  });
}

t.test('the table of faults is whole', (t) => {
  t.ok(FAULTS.length >= 20, `${FAULTS.length} faults`);
  t.equal(new Set(FAULTS.map(({ name }) => name)).size, FAULTS.length, 'each under a name of its own');
  const harmless = FAULTS.filter(({ name }) =>
    /^(redis|postgresql|the wall clock|the process of a shadow)/.test(name),
  );
  t.ok(harmless.length >= 15, `${harmless.length} faults of what the gateway can do without`);
  for (const { name, expected } of [
    ...harmless,
    ...FAULTS.filter(({ name }) => name === 'shared memory full'),
  ])
    t.match(expected, { lost: 'none', refusedMax: { text: 0, vector: 0 } }, `${name}: nobody is refused`);
  t.same(
    FAULTS.filter(({ met }) => met === undefined).map(({ name }) => name),
    UNSEEN,
    'all others are held until there is a sign that they were met',
  );
  t.end();
});

t.test('a row of the table that falls short is found', (t) => {
  const row = {
    ...{ expected_lost: 'none', expected_recovery_ms_max: 1_000, recovery_ms: 1_000 },
    ...{ expected_refused_texts_max: 0.5, expected_refused_vectors_max: 0 },
    ...{ requests: 100, texts: 40, vectors: 60, refused_texts: 20, refused_vectors: 0, refused_probes: 9 },
    ...{ lost_requests: 0, sent_before: 9, lost_sent_before: 0, lost_since_back: 0 },
    ...{ wrong_answers: 0, mispaired_responses: 0 },
  };
  const drained = { ...row, expected_lost: 'sent_after', lost_requests: 90 };
  const killed = { ...row, expected_lost: 'in_flight', lost_requests: 90, lost_sent_before: 9 };
  const skipped = { ...row, skipped: 'no disk' };
  for (const [what, changed] of [
    ['holds', row],
    ['holds', drained],
    ['holds', killed],
    ['holds', skipped],
    ['lost_requests is 1, must be 0', { ...row, lost_requests: 1 }],
    ['wrong_answers is 1, must be 0', { ...row, wrong_answers: 1 }],
    ['wrong_answers is 1, must be 0', { ...skipped, wrong_answers: 1 }],
    ['mispaired_responses is 1, must be 0', { ...row, mispaired_responses: 1 }],
    ['21 texts were refused, must be <= 20', { ...row, refused_texts: 21 }],
    ['1 vectors were refused, must be <= 0', { ...row, refused_vectors: 1 }],
    [
      'refused_probes is 9, must be 0',
      { ...row, expected_refused_texts_max: 0, refused_texts: 0, lost_requests: 0 },
    ],
    ['lost_sent_before is 1, must be 0', { ...drained, lost_sent_before: 1 }],
    ['no request was under way at the signal', { ...drained, sent_before: 0 }],
    ['lost_since_back is 1, must be 0', { ...drained, lost_since_back: 1 }],
    ['lost_since_back is 1, must be 0', { ...killed, lost_since_back: 1 }],
    ['recovery_ms 1001 must be <= 1000', { ...row, recovery_ms: 1_001 }],
    ['wrong_answers is undefined, must be 0', { ...row, wrong_answers: undefined }],
  ] as const)
    t.same(shortfalls(changed, 'full'), what === 'holds' ? [] : [what], what);
  t.same(shortfalls({ ...row, recovery_ms: 1_001 }, 'smoke'), [], 'times are judged at full size alone');
  t.end();
});

/**
 * Whatever fails, no answer may be wrong, nothing may be lost but what a killed gateway takes with it, and nobody refused
 * for what degrades.
 */
function judgeChaos(t: Test, results: readonly Readonly<Record<string, unknown>>[]): void {
  t.same(
    results.map(({ name }) => name),
    [...faultsOf('smoke').map(({ name }) => name), BETWEEN],
    'the whole table, but for what other tests do',
  );
  const maySkip = new Set(FAULTS.filter((fault) => fault.maySkip === true).map(({ name }) => name));
  for (const row of results) {
    const { name, requests, expected_lost } = row;
    t.same(shortfalls(row, 'smoke'), [], `${name}: ${JSON.stringify(row)}`);
    if (row.skipped !== undefined) {
      t.ok(maySkip.has(String(name)), `${name} may be skipped`);
      t.pass(`chaos: ${name}`, { skip: String(row.skipped) });
    } else {
      t.ok(Number(requests) >= 30, `${name}: there was load`);
      if (expected_lost === 'none') t.ok(Number(row.answered) > 0, `${name}: and answers`);
    }
  }
}

t.test('faults that nobody has heard of are named, with those that there are', async (t) => {
  const { code, stdout, stderr } = await finished(
    spawnNode(MAIN, ['chaos', '--smoke', '--only', 'the sun goes out']),
  );
  t.not(code, 0);
  t.equal(stdout, '');
  t.match(stderr, /no fault has "the sun goes out" in its name; there are: nothing; redis killed;/);
  t.same(
    faultsOf('smoke', 'SIGSEGV').map(({ name }) => name),
    ['gateway dies as in a native crash (SIGSEGV)'],
    'who is asked for by name runs at any size',
  );
});

t.test('a size that is no number is refused', async (t) => {
  const { code, stdout, stderr } = await finished(spawnNode(MAIN, ['costs', '--smoke', '--rows', 'many']));
  t.not(code, 0);
  t.equal(stdout, '');
  t.match(stderr, /--rows .*must be a number above 0/);
});

t.test('for a person a bench says where it ran, too', async (t) => {
  const { code, stdout, stderr } = await finished(spawnNode(MAIN, ['costs', '--smoke']));
  t.equal(code, 0, stderr);
  t.match(
    stdout,
    /^costs \(smoke, seed 1, input [0-9a-f]{16}\)\n\S+.*, \d+ cores; commit \S+; .*usearch 2\./,
  );
});

t.test('an unknown bench is refused with the names there are', async (t) => {
  const { code, stderr } = await finished(spawnNode(MAIN, ['nothing']));
  t.not(code, 0);
  t.match(stderr, /unknown bench nothing; there are smoke/);
});
