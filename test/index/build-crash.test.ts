import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { buildBundle } from '../../src/index/build-bundle.js';
import { acquireBuildLock } from '../../src/index/build-lock.js';
import type { BuildBatch } from '../../src/index/build-options.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { verifyBundle } from '../../src/index/verify-bundle.js';
import { batchesOf, buildTestBundle, failureOf, optionsOf, temporaryFolder, testCorpus } from './corpus.js';

const CHILD = fileURLToPath(new URL('./build-child.js', import.meta.url));

interface Building {
  readonly process: ChildProcess;
  readonly ended: Promise<void>;
  readonly lines: string[];
  /** Resolves when a line that starts with `text` was printed, or the process has ended. */
  printed(text: string): Promise<void>;
}

function startBuild(folder: string, documents: number): Building {
  const child = spawn(process.execPath, [CHILD, folder, String(documents)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: string[] = [];
  const watchers = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    for (const watcher of watchers) watcher();
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  return {
    process: child,
    ended,
    lines,
    printed: (text) => {
      const seen = new Promise<void>((resolve) => {
        const look = (): void => {
          if (lines.some((line) => line.startsWith(text))) resolve();
        };
        watchers.add(look);
        look();
      });
      return Promise.race([seen, ended]);
    },
  };
}

const entriesOf = (folder: string): string[] => {
  const versions = path.join(folder, 'docs_kb', 'v1');
  return existsSync(versions) ? readdirSync(versions) : [];
};

for (const moment of ['add 1024', 'save', 'recall', 'publish'])
  t.test(`kill -9 at "${moment}" leaves nothing that opens, and the next build cleans up`, async (t) => {
    const folder = temporaryFolder(t);
    const build = startBuild(folder, 3000);
    await build.printed(moment);
    build.process.kill('SIGKILL');
    await build.ended;
    const left = entriesOf(folder);
    t.comment(`left behind: ${left.join(' ')}`);
    for (const entry of left) {
      const file = path.join(folder, 'docs_kb', 'v1', entry);
      const outcome = await failureOf(readBundle(file).then(verifyBundle));
      // On a busy machine the end of the build may come before the kill: then it is whole, and has its name.
      const mayBeDone = moment === 'recall' || moment === 'publish';
      if (outcome === undefined) t.ok(mayBeDone && /^[0-9a-f]{16}$/.test(entry));
      else t.match(outcome, { name: 'SwitchyardError' });
    }
    const bundle = await buildTestBundle(folder, testCorpus(2, 300));
    await verifyBundle(bundle);
    t.strictSame(
      entriesOf(folder).filter((entry) => !/^[0-9a-f]{16}$/.test(entry)),
      [],
      'no temporary folder and no lock is left',
    );
  });

t.test('of two builds that race one is refused and the other one finishes', async (t) => {
  const folder = temporaryFolder(t);
  const outcomes = await Promise.allSettled([
    buildTestBundle(folder, testCorpus(1, 800)),
    buildTestBundle(folder, testCorpus(2, 800)),
  ]);
  const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
  t.equal(refused.length, 1);
  t.match(refused[0]?.reason, { reason: 'BUILD_LOCKED', details: { corpus: 'docs_kb', version: 'v1' } });
  t.equal(entriesOf(folder).length, 1);
});

t.test('a build is refused while another process builds the same version', async (t) => {
  const folder = temporaryFolder(t);
  const build = startBuild(folder, 20_000);
  await build.printed('add');
  const error = await failureOf(buildTestBundle(folder, testCorpus(2, 100)));
  t.match(error, { reason: 'BUILD_LOCKED', details: { pid: String(build.process.pid) } });
  t.ok(await buildTestBundle(folder, testCorpus(2, 100), { version: 'v2' }), 'and another version is not');
  build.process.kill('SIGKILL');
  await build.ended;
  t.ok(await buildTestBundle(folder, testCorpus(2, 100)), 'and this one is not once that process is gone');
});

t.test('a lock of a process whose pid was given to another one is stale', async (t) => {
  const folder = temporaryFolder(t);
  const lock = path.join(folder, '.build.lock');
  for (const content of [
    JSON.stringify({ pid: process.pid, startTicks: null, nonce: 'of an earlier run in this container' }),
    JSON.stringify({ pid: process.ppid, startTicks: '1', nonce: 'n' }),
    JSON.stringify({ pid: 2 ** 30, startTicks: '1', nonce: 'n' }),
    '',
    'null',
    '{"pid":-1}',
  ]) {
    writeFileSync(lock, content);
    const held = await acquireBuildLock(folder);
    await held.assertHeld();
    await held.release();
    t.strictSame(readdirSync(folder), []);
  }
});

t.test('many takers of a stale lock get it one at a time', async (t) => {
  for (let round = 0; round < 30; round++) {
    const folder = temporaryFolder(t);
    writeFileSync(path.join(folder, '.build.lock'), '');
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => acquireBuildLock(folder)));
    const held = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    t.equal(held.length, 1);
    await held[0]?.value.release();
    t.strictSame(readdirSync(folder), []);
  }
});

t.test('an aborted build rejects with the reason and leaves nothing behind', async (t) => {
  for (const moment of ['before', 'add', 'save', 'recall'] as const) {
    const folder = temporaryFolder(t);
    const controller = new AbortController();
    const reason = new Error(`aborted at ${moment}`);
    if (moment === 'before') controller.abort(reason);
    const building = buildTestBundle(folder, testCorpus(1, 3000, 64), {
      signal: controller.signal,
      onProgress: ({ phase }) => {
        if (phase === moment) controller.abort(reason);
      },
    });
    t.equal(await failureOf(building), reason);
    t.strictSame(entriesOf(folder), []);
  }
});

t.test('an abort does not wait for a reader that hangs', async (t) => {
  const folder = temporaryFolder(t);
  const controller = new AbortController();
  async function* hanging(): AsyncGenerator<BuildBatch> {
    yield* batchesOf(testCorpus(1, 100));
    await new Promise(() => {});
  }
  const building = buildBundle(optionsOf(folder, { signal: controller.signal }), hanging());
  setTimeout(() => controller.abort(new Error('enough')), 100);
  t.match(await failureOf(building), { message: 'enough' });
  t.strictSame(entriesOf(folder), []);
});

t.test('a reader that fails ends the build with its own error', async (t) => {
  const folder = temporaryFolder(t);
  async function* failing(): AsyncGenerator<BuildBatch> {
    yield* batchesOf(testCorpus(1, 1500));
    throw new Error('the source broke');
  }
  t.match(await failureOf(buildBundle(optionsOf(folder), failing())), { message: 'the source broke' });
  t.strictSame(entriesOf(folder), []);
});

/** A file system of a few hundred kB needs a mount, which needs a user namespace. */
function canMount(folder: string): boolean {
  if (process.platform !== 'linux') return false;
  try {
    execFileSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], {
      stdio: 'ignore',
    });
    return true;
  } catch {
    return false;
  }
}

const mountSkip = canMount(tmpdir()) ? false : 'needs unshare and mount, to have a small file system';
if (mountSkip !== false) t.comment(`SKIPPED: the test of a full disk ${mountSkip}`);

t.test('a full disk is DISK_FULL and nothing is left behind', { skip: mountSkip }, async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, 'small'));
  // 6000 × 64: 1.5 MB of vectors, about 1.7 MB of index.
  for (const [size, where] of [
    ['400k', 'vectors.f32'],
    ['2400k', 'index.usearch'],
  ] as const) {
    const report = path.join(folder, `report-${size}`);
    const script = `mount -t tmpfs -o size=${size} tmpfs "$1" && { "$2" "$3" "$1" 6000 2>"$4"; ls -A "$1/docs_kb/v1" >"$4.left"; }`;
    execFileSync(
      'unshare',
      ['-rm', 'sh', '-c', script, 'sh', path.join(folder, 'small'), process.execPath, CHILD, report],
      {
        stdio: 'ignore',
      },
    );
    const printed = readFileSync(report, 'utf8');
    t.ok(printed.includes("reason: 'DISK_FULL'"), `${size}: full at ${where}`);
    t.ok(printed.includes(where), `${size}: ${where} is named`);
    t.equal(readFileSync(`${report}.left`, 'utf8'), '');
  }
});
