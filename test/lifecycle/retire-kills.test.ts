import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { ownSpace } from '../../src/files/owner.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { archiveBundle } from '../../src/lifecycle/archive/archive.js';
import {
  ARCHIVED_INDEX_FILE,
  BUNDLE_MANIFEST_FILE,
  rowsFileName,
} from '../../src/lifecycle/archive/archive-manifest.js';
import { restoreVersion } from '../../src/lifecycle/archive/archive-version.js';
import { openArchiveStore } from '../../src/lifecycle/archive/store.js';
import { databaseUrlOf } from '../fixtures/postgres.js';
import { temporaryFolder } from '../index/corpus.js';
import { cutOver, V1, type Yard, yardOf } from './retire-rig.js';

const CHILD = fileURLToPath(new URL('./retire-child.js', import.meta.url));

/** Runs it in a process of its own, which is killed when it says `killAt`. The SHA-256 of its archive, if it came so far. */
async function run(
  { varDir, registry, archives }: Yard,
  killAt: string | null,
): Promise<{ readonly sha256: string | null; readonly said: readonly string[] }> {
  const child = spawn(process.execPath, [CHILD, varDir, databaseUrlOf(registry), archives], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, HOLD_AT: killAt ?? '' },
  });
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    if (line === killAt) child.kill('SIGKILL');
  }
  const sha256 = /^done (\w+)$/.exec(said.at(-1) ?? '')?.[1] ?? null;
  return { sha256, said };
}

/** What an archive of the version is when nobody disturbs it. */
async function undisturbed(t: Parameters<typeof temporaryFolder>[0], { bundles, parts }: Yard) {
  const folder = path.join(bundles, 'v1');
  const bundle = await readBundle(path.join(folder, readdirSync(folder)[0] ?? ''));
  const store = await openArchiveStore(temporaryFolder(t), parts.config.archive.s3);
  const { sha256 } = await archiveBundle(bundle, store, {}, parts.signal);
  return { sha256, digest: bundle.digest };
}

/** Where a migration's driver is killed in the same work is migration/kills.test.ts; each file of an archive is here alone. */
const KILLS = [
  'step drain',
  `file ${rowsFileName(0)}`,
  `file ${ARCHIVED_INDEX_FILE}`,
  `file ${BUNDLE_MANIFEST_FILE}`,
  'recording',
  'step verify',
];

t.test('a retirement that is killed anywhere ends as one that nobody disturbed', async (t) => {
  const yard = await yardOf(t);
  const { registry, bundles, parts } = yard;
  const expected = await undisturbed(t, yard);
  await cutOver(yard);
  const place = path.join(yard.archives, 'docs_kb', 'v1', expected.digest.slice(0, 16));
  for (const killAt of KILLS) {
    const { sha256, said } = await run(yard, killAt);
    t.equal(sha256, null, `killed at "${killAt}"`);
    t.equal(said.at(-1), killAt);
    t.equal(existsSync(path.join(place, 'archive.json')), said.includes('recording'), 'it is written last');
    t.not((await registry.corpusVersions.get(V1)).status, 'archived');
    const copies = readdirSync(path.join(bundles, 'v1')).filter((name) => name[0] !== '.');
    t.same(copies, [expected.digest.slice(0, 16)], 'nothing was deleted');
  }
  // Of a run that was killed within a file.
  const dead = `4194303-1-${await ownSpace()}-${'0'.repeat(12)}`;
  writeFileSync(path.join(place, `${rowsFileName(0)}.${dead}.part`), 'half');
  const { sha256 } = await run(yard, null);
  t.equal(sha256, expected.sha256, 'the same archive');
  const files = Object.keys(
    (JSON.parse(readFileSync(path.join(place, 'archive.json'), 'utf8')) as { files: object }).files,
  );
  t.same(readdirSync(place).sort(), [...files, 'archive.json'].sort(), 'and nothing of the killed runs');
  t.same(readdirSync(path.join(bundles, 'v1')), [], 'nothing is left of the serving copy');
  const archives = await registry.archives.list(V1);
  t.match(archives, [{ sha256, verifiedAt: Date, deletedAt: Date }]);
  t.equal(archives.length, 1);
  t.match(await registry.routes.get('docs_kb'), { targets: [{ version: 'v2' }] });
  const subject = 'corpus_version docs_kb/v1';
  const ends = (await registry.changes.list({ subject })).filter(
    ({ after }) => (after as { readonly status?: string }).status === 'archived',
  );
  t.equal(ends.length, 1, 'it was marked once');
  t.equal((await restoreVersion(V1, null, parts)).digest, expected.digest, 'and comes back whole');
});
