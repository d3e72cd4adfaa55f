import { appendFileSync, readFileSync } from 'node:fs';
import { appendFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { MigrationView } from '../../src/gateway/admin/migration-views.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { parseWatermark } from '../../src/lifecycle/source/watermark.js';
import { createLogger } from '../../src/telemetry/log.js';
import { modelRef } from '../../src/vocabulary.js';
import { switchyard } from '../control/processes.js';
import { AUTHOR, CORPUS, makeYard, until } from '../control/yard.js';
import { textsOf } from '../lifecycle/reembed-rig.js';
import { adminUrl, ask, Load, untilMigration } from './migrating.js';

const change = (id: string, version: number, text: string | null): string =>
  `${JSON.stringify(text === null ? { id, version, deleted: true } : { id, version, text })}\n`;

t.test('a version that is built from a feed is frozen where the feed was', async (t) => {
  const yard = await makeYard(t);
  const sources = path.join(yard.varDir, 'sources');
  const feed = path.join(sources, 'docs.jsonl');
  await mkdir(sources);
  const first = [
    'a cat',
    'a bird',
    'some bread',
    'red wine',
    'a planet',
    'a bicycle',
    'a cobbler',
    'snow',
    'tea',
  ];
  await writeFile(feed, first.map((text, at) => change(`d${at}`, 1, text)).join('') + change('d8', 2, null));
  const config = yard.config();
  const gateway = await startGateway(
    {
      ...config,
      mirror: { ...config.mirror, niceness: 0 },
      reembed: { ...config.reembed, niceness: 0 },
      migration: { ...config.migration, sampleIntervalMs: 50, pollIntervalMs: 100 },
    },
    createLogger(process.env.LOG ?? 'silent'),
  );
  t.teardown(() => gateway.close());
  const admin = adminUrl(gateway);
  const migrations = `${admin}/v1/migrations/${CORPUS}`;
  const { host, port } = gateway.addresses.http;
  const load = new Load(`http://${host}:${port}`, CORPUS, first, 1);
  t.teardown(() => load.stop());
  const plan = (source: string, lagMax: number | null): string =>
    JSON.stringify({
      steps: [
        { build: { source, model: modelRef(yard.int8.manifest), quantization: 'f32' } },
        { verify: { source_lag_documents_max: lagMax } },
        { shadow: { duration_s: 0, compared_min: 1, timeout_s: 600 } },
        { analysis: { shadow: { compared_min: 1, failed_share_max: 1 }, interval_s: 0.05 } },
        { pause: {} },
        { set_weight: { weight: 10_000 } },
        { complete: {} },
      ],
    });
  const start = (to_version: string, source: string, lagMax: number | null = 1) =>
    ask<MigrationView>(migrations, 'POST', { to_version, plan: plan(source, lagMax), ...AUTHOR });

  await t.test('a source outside the folder of sources is not read', async (t) => {
    t.equal((await start('v8', '../docs.jsonl')).status, 200);
    const view = await untilMigration(admin, CORPUS, 'paused', ({ state }) => state === 'paused');
    t.match(view, { cause: 'failure', why: /INVALID_(INPUT_FILE|ARGUMENT)/ });
    t.equal((await ask(`${migrations}:abort`, 'POST', AUTHOR)).status, 200);
    await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
  });

  await t.test(
    'its updates stop at the watermark, and status says how far the source is ahead',
    async (t) => {
      t.equal((await start('v9', 'docs.jsonl')).status, 200);
      const waiting = await untilMigration(admin, CORPUS, 'waits', ({ state }) => state === 'paused');
      t.match(waiting, { cause: 'plan', updates_stopped: true, source_lag_documents: 0 }, waiting.why ?? '');
      t.type(waiting.watermark, 'string');
      const version = await yard.registry.corpusVersions.get({ corpus: CORPUS, version: 'v9' });
      t.equal(version.totalEmbeddings, 8, 'what was deleted in the feed is not in it');
      await appendFile(feed, change('d0', 2, 'a dog') + change('d1', 2, null) + change('d9', 1, 'coffee'));
      t.match((await ask<MigrationView>(migrations)).body, { source_lag_documents: 3 });
      const shown = await switchyard(yard.varDir, 'migrate', 'status', CORPUS, '--admin-port', portOf(admin));
      t.match(
        shown.stdout,
        /updates of v9 have stopped at .*; the source is 3 documents ahead/,
        shown.stderr,
      );
      t.match(shown.stdout, /shortest time to roll back: at once/);
    },
  );

  await t.test('cutover is refused while the source is further ahead than the plan allows', async (t) => {
    await ask(`${migrations}:promote`, 'POST', AUTHOR);
    const refused = await untilMigration(admin, CORPUS, 'refused', ({ state, cause }) => {
      return state === 'paused' && cause === 'failure';
    });
    t.match(refused.why, /the source is 3 documents ahead of docs\/v9, at most 1 may be missing/);
    t.equal(refused.weight, 0);
    await ask(`${migrations}:abort`, 'POST', AUTHOR);
    const ended = await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
    t.match(ended, { state: 'aborted', rollback_ms: null });
  });

  await t.test(
    'what is written all the while is in it up to its watermark, and status says the rest',
    async (t) => {
      const busy = path.join(sources, 'busy.jsonl');
      await writeFile(busy, first.map((text, at) => change(`d${at}`, 1, text)).join(''));
      let round = 1;
      const writing = setInterval(() => {
        round++;
        const changed = change(`d${round % 8}`, round, `changed in round ${round}`);
        const passing = change(`x${round >> 1}`, round, round % 2 === 0 ? 'comes and goes' : null);
        appendFileSync(busy, changed + passing);
      }, 20);
      t.equal((await start('v7', 'busy.jsonl', null)).status, 200);
      await untilMigration(admin, CORPUS, 'waits', ({ state }) => state === 'paused').finally(() =>
        clearInterval(writing),
      );
      const { body: waiting } = await ask<MigrationView>(migrations);
      t.match(waiting, { cause: 'plan', updates_stopped: true }, waiting.why ?? '');
      const { offset } = parseWatermark(waiting.watermark ?? '');
      const all = readFileSync(busy);
      const read = linesOf(all.subarray(0, offset));
      t.ok(read.length > first.length, `${read.length - first.length} lines came while it was built`);
      const living = new Map<string, string>();
      for (const { id, text = null } of read) {
        if (text === null) living.delete(id);
        else living.set(id, text);
      }
      const build = await yard.registry.builds.get({ corpus: CORPUS, version: 'v7' }, null);
      t.same(await textsOf(await readBundle(fileURLToPath(build.bundleUri))), living);
      t.equal(waiting.source_lag_documents, new Set(linesOf(all.subarray(offset)).map(({ id }) => id)).size);
      await ask(`${migrations}:abort`, 'POST', AUTHOR);
      await untilMigration(admin, CORPUS, 'ended', ({ finished_at }) => finished_at !== null);
    },
  );

  await t.test('each that ended left its report', async (t) => {
    const { value: reports } = await until('both reports are there', async () => {
      const names = (await readdir(path.join(yard.varDir, 'reports'))).filter(
        (name) => !name.endsWith('.tmp'),
      );
      return names.length === 6 ? names : null;
    });
    for (const to of ['v7', 'v8', 'v9'])
      for (const ending of ['html', 'md'])
        t.ok(
          reports.some((name) => name.endsWith(`-v1-${to}.${ending}`)),
          `${to} ${ending}`,
        );
    const listed = await switchyard(yard.varDir, 'migrate', 'list', '--json', '--admin-port', portOf(admin));
    t.match(JSON.parse(listed.stdout), [{ to_version: 'v7' }, { to_version: 'v9' }, { to_version: 'v8' }]);
  });

  await load.stop();
  t.same(load.failures, []);
});

const linesOf = (bytes: Buffer): readonly { readonly id: string; readonly text?: string }[] =>
  bytes
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

const portOf = (admin: string): string => new URL(admin).port;
