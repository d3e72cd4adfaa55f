import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { runSwitchyard } from '../fixtures/product.js';
import { tinyModelFolder } from '../fixtures/tiny-model.js';

t.test('a version is built, superseded, retired and restored by commands', async (t) => {
  const { folder, manifest } = await tinyModelFolder(t);
  const varDir = path.dirname(path.dirname(folder));
  /** Port 1 is nobody's: the CLI must not find a gateway that happens to run on this machine. */
  const run = async (...args: string[]): Promise<string> => {
    const finished = await runSwitchyard(['--var-dir', varDir, '--admin-port', '1', ...args]);
    t.equal(finished.code, 0, `${args.join(' ')}: ${finished.stderr}`);
    return finished.stdout;
  };
  const refused = async (...args: string[]): Promise<string> => {
    const finished = await runSwitchyard(['--var-dir', varDir, '--admin-port', '1', ...args]);
    t.equal(finished.code, 1, args.join(' '));
    return finished.stderr;
  };
  const json = async <T>(...args: string[]): Promise<T> => JSON.parse(await run(...args, '--json')) as T;
  const because = ['--reason', 'a test'];
  const archives = path.join(varDir, 'archives');
  mkdirSync(archives);
  const feed = path.join(varDir, 'feed.jsonl');
  writeFileSync(
    feed,
    [
      { id: 'a', version: 1, text: 'one' },
      { id: 'b', version: 1, text: 'one' },
      { id: 'c', version: 2, deleted: true },
      { id: 'c', version: 1, text: 'three' },
    ]
      .map((line) => `${JSON.stringify(line)}\n`)
      .join(''),
  );
  await run('model', 'register', manifest.fingerprint, ...because);
  const first = await json('corpus', 'build', 'docs', feed, '--model', manifest.fingerprint);
  t.match(first, {
    documents: 2,
    routed: true,
    embedding: { encoded: 1, deduplicated: 1, watermark: /^feed1:\d+:4:/ },
  });
  const texts = ['corpus', 'build', 'docs', '--texts-of', 'v1', '--corpus-version', 'v2'];
  t.match(
    await run(...texts, '--model', manifest.fingerprint),
    /docs\/v2 is ready.*1 vectors of an earlier version/s,
  );

  t.match(await run('corpus', 'retire', 'docs', 'v1', '--check'), /it serves 100\.00 % of docs/);
  t.match(await refused('corpus', 'retire', 'docs', 'v1', '--to', archives, ...because), /VERSION_IN_USE/);
  t.match(await refused('corpus', 'retire', 'docs', 'v1', '--to', archives), /say why with --reason/);
  await run('route', 'set', 'docs', 'v2=10000', '--draining', 'v1', '--force', ...because);
  t.match(await run('corpus', 'retire', 'docs', 'v1', '--check'), /nothing stands against retiring docs\/v1/);
  t.match(await refused('corpus', 'retire', 'docs', 'v1', ...because), /where to archive is not said/);
  t.match(await run('route', 'show', 'docs'), /v1/, 'nothing was begun');
  const archived = await json<{ uri: string }>('archive', 'docs/v1', '--to', archives, ...because);
  t.match(archived, { rows: 2, uri: /^file:\/\/\/.*archives\/docs\/v1\/[0-9a-f]{16}$/ });
  t.match(await run('corpus', 'retire', 'docs', 'v1', '--to', archives, ...because), /docs\/v1 is retired/);
  t.match(await run('corpus', 'list'), /docs +v1 +archived/);
  t.match(await run('archives', 'docs'), /docs +v1 +[0-9a-f]{16} .* deleted +file:/);
  const bundles = path.join(varDir, 'bundles', 'docs', 'v1');
  t.same(readdirSync(bundles), []);
  t.match(await run('restore', 'docs/v1', ...because), /docs\/v1 is back: build [0-9a-f]{16}, 2 rows/);
  t.match(await run('corpus', 'list'), /docs +v1 +ready/);
  t.equal(readdirSync(bundles).length, 1);
  t.match(await refused('restore', 'docs', ...because), /must be <corpus>\/<version>/);
});
