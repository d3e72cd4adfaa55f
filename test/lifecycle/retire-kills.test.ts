import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
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
  what: 'archive' | 'retire',
  killAt: string | null,
): Promise<{ readonly sha256: string | null; readonly said: readonly string[] }> {
  const child = spawn(process.execPath, [CHILD, varDir, databaseUrlOf(registry), archives, what], {
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

const INSIDE_ARCHIVING = [
  `file ${rowsFileName(0)}`,
  `file ${ARCHIVED_INDEX_FILE}`,
  `file ${BUNDLE_MANIFEST_FILE}`,
  'recording',
  'recorded',
  'noting verified',
];

t.test('an archiving that is killed anywhere is done by the same command again', async (t) => {
  const yard = await yardOf(t);
  const expected = await undisturbed(t, yard);
  const place = path.join(yard.archives, 'docs_kb', 'v1', expected.digest.slice(0, 16));
  for (const killAt of INSIDE_ARCHIVING.filter((_point, at) => at % 2 === 0)) {
    const { sha256, said } = await run(yard, 'archive', killAt);
    t.equal(sha256, null, `killed at "${killAt}"`);
    t.equal(said.at(-1), killAt);
    t.equal(existsSync(path.join(place, 'archive.json')), said.includes('recording'), 'it is written last');
  }
  // Of a run that was killed within a file.
  writeFileSync(path.join(place, `${rowsFileName(0)}.4194303.part`), 'half');
  const { sha256 } = await run(yard, 'archive', null);
  t.equal(sha256, expected.sha256, 'the same archive');
  const files = Object.keys(
    (JSON.parse(readFileSync(path.join(place, 'archive.json'), 'utf8')) as { files: object }).files,
  );
  t.same(readdirSync(place).sort(), [...files, 'archive.json'].sort(), 'and nothing of the killed runs');
  t.same(readdirSync(path.join(yard.bundles, 'v1')), [expected.digest.slice(0, 16)], 'nor beside the bundle');
  t.match(await yard.registry.archives.list(V1), [{ sha256, verifiedAt: Date, deletedAt: null }]);
  t.equal((await yard.registry.archives.list(V1)).length, 1);
});

t.test('a retirement that is killed anywhere ends as one that nobody disturbed', async (t) => {
  const yard = await yardOf(t);
  const { registry, bundles, parts } = yard;
  const expected = await undisturbed(t, yard);
  await cutOver(yard);
  const copies = (): number => readdirSync(path.join(bundles, 'v1')).filter((name) => name[0] !== '.').length;
  for (const killAt of [
    'step drain',
    ...INSIDE_ARCHIVING,
    'step verify',
    'marking',
    'marked',
    'noting deleted',
  ]) {
    const { sha256, said } = await run(yard, 'retire', killAt);
    t.equal(sha256, null, `killed at "${killAt}"`);
    t.equal(said.at(-1), killAt);
    const { status } = await registry.corpusVersions.get(V1);
    const isMarked = killAt === 'marked' || killAt === 'noting deleted';
    t.equal(status === 'archived', isMarked, status);
    t.equal(copies(), killAt === 'noting deleted' ? 0 : 1, 'it is deleted last');
    if (isMarked) t.match(await registry.archives.list(V1), [{ verifiedAt: Date, deletedAt: null }]);
  }
  const { sha256 } = await run(yard, 'retire', null);
  t.equal(sha256, expected.sha256, 'the same archive');
  t.same(readdirSync(path.join(bundles, 'v1')), [], 'nothing is left of the serving copy');
  t.match(await registry.archives.list(V1), [{ sha256, verifiedAt: Date, deletedAt: Date }]);
  t.match(await registry.routes.get('docs_kb'), { targets: [{ version: 'v2' }] });
  const subject = 'corpus_version docs_kb/v1';
  const ends = (await registry.changes.list({ subject })).filter(
    ({ after }) => (after as { readonly status?: string }).status === 'archived',
  );
  t.equal(ends.length, 1, 'it was marked once');
  t.equal((await restoreVersion(V1, null, parts)).digest, expected.digest, 'and comes back whole');
});
