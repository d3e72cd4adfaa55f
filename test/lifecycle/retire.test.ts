import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { ConsumerDeadlines } from '../../src/gateway/wiring/consumer-deadlines.js';
import { readBundle } from '../../src/index/read-bundle.js';
import { splitArchiveUri } from '../../src/lifecycle/archive/archive-name.js';
import { archiveVersion, restoreVersion } from '../../src/lifecycle/archive/archive-version.js';
import { registryRecords } from '../../src/lifecycle/build-records.js';
import { rebuildCorpus } from '../../src/lifecycle/rebuild.js';
import { retirementBlockers } from '../../src/lifecycle/retire/blockers.js';
import { deleteLeftCopies } from '../../src/lifecycle/retire/left-copies.js';
import { retireVersion } from '../../src/lifecycle/retire/retire-version.js';
import { RetirementRunner } from '../../src/lifecycle/retire/retirement-runner.js';
import type { Registry } from '../../src/registry/registry.js';
import { Metrics } from '../../src/telemetry/metrics.js';
import { type Digest, digestPrefix } from '../../src/vocabulary.js';
import { until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { damageObject, startS3, TEST_BUCKET } from '../fixtures/s3.js';
import { failureOf, temporaryFolder } from '../index/corpus.js';
import { requestOf } from './reembed-rig.js';
import { AUTHOR, cutOver, V1, type Yard, yardOf } from './retire-rig.js';

const kinds = async ({ records }: Yard, quietDays = 7): Promise<string[]> =>
  (await retirementBlockers(V1, quietDays, records)).map(({ kind }) => kind);

/** Six days before the deadline of the one consumer, then a day after it. */
async function deadlinesOf(t: Test, registry: Registry): Promise<void> {
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
  let nowMs = Date.parse('2027-01-25');
  const metrics = new Metrics();
  const deadlines = new ConsumerDeadlines({
    metrics,
    registry: () => registry,
    warnDays: 14,
    log,
    nowMs: () => nowMs,
  });
  await deadlines.settled();
  const said = async (): Promise<string> =>
    /^switchyard_consumer_deadline_seconds\{.*service="ranker".*\} (\S+)$/m.exec(await metrics.text())?.[1] ??
    '';
  t.equal(await said(), String(6 * 86_400));
  t.match(lines, [/"service":"ranker","team":"search".*its deadline is near/]);
  deadlines.look();
  await deadlines.settled();
  t.equal(lines.length, 1, 'once a day');
  nowMs = Date.parse('2027-02-01');
  deadlines.look();
  await deadlines.settled();
  t.equal(await said(), String(-86_400));
  t.match(lines[1], /its deadline has passed/);
  await deadlines.close();
  await metrics.close();
}

t.test('what serves, what consumers depend on and what keys search is not retired', async (t) => {
  const yard = await yardOf(t);
  const { registry, archives, bundles, parts } = yard;
  t.same(await kinds(yard), ['serving']);
  await cutOver(yard);
  t.same(await kinds(yard), [], 'a draining version may go');
  const consumer = await registry.consumers.add(
    {
      ...V1,
      serviceName: 'ranker',
      teamOwner: 'search',
      migrationDeadline: new Date('2027-01-31'),
      usesScoreThresholds: true,
    },
    AUTHOR,
  );
  t.equal(consumer.usesScoreThresholds, true);
  await registry.traffic.add([
    { ...V1, keyName: 'ranker', kind: 'pinned', requests: 2 },
    { ...V1, keyName: 'stray', kind: 'pinned', requests: 1 },
    { ...V1, keyName: 'stray', kind: 'pinned', requests: 4 },
    { corpus: 'docs_kb', version: 'v9', keyName: 'x', kind: 'split', requests: 4 },
  ]);
  await deadlinesOf(t, registry);
  t.match(await registry.traffic.list({ corpus: 'docs_kb', days: 1 }), [
    { version: 'v1', keyName: 'ranker', requests: 2, isRegistered: true },
    { version: 'v1', keyName: 'stray', requests: 5, isRegistered: false },
  ]);
  t.same(await kinds(yard), ['consumer', 'traffic', 'traffic']);
  const request = { ...V1, to: archives, quietDays: 7 };
  t.match(await failureOf(retireVersion(request, parts)), {
    reason: 'VERSION_IN_USE',
    message: /ranker of team search has not migrated \(deadline 2027-01-31\).*key stray searched it 5 times/,
  });
  t.same(readdirSync(archives), [], 'nothing was archived');
  t.ok(existsSync(path.join(bundles, 'v1')));
  await registry.consumers.setMigrated(consumer.consumerId, true, AUTHOR);
  t.match(await failureOf(retireVersion(request, parts)), { details: { blockers: 'traffic' } });
  t.equal((await registry.corpusVersions.get(V1)).status, 'draining');
  const s3 = await startS3(t);
  const atS3 = { ...parts, config: { ...parts.config, archive: { ...parts.config.archive, s3 } } };
  const to = `s3://${TEST_BUCKET}/old`;
  const { uri } = await archiveVersion(V1, to, atS3);
  await damageObject(s3, `old/${splitArchiveUri(uri).name}/rows-00000.parquet`);
  t.match(await failureOf(restoreVersion(V1, null, atS3)), {
    reason: 'CORRUPT_ARCHIVE',
    message: /rows-00000\.parquet .* archive the version again/,
  });
  await retireVersion({ ...request, to, quietDays: 0 }, atS3);
  t.equal((await registry.corpusVersions.get(V1)).status, 'archived');
  const { defaultBuild } = await registry.corpusVersions.get(V1);
  t.equal((await restoreVersion(V1, null, atS3)).digest, defaultBuild, 'archiving it again mended it');
});

t.test(
  'retiring drains, archives, verifies and deletes, in that order; restoring brings it back',
  async (t) => {
    const yard = await yardOf(t);
    const { registry, archives, bundles, parts, records } = yard;
    await cutOver(yard);
    const { defaultBuild } = await registry.corpusVersions.get(V1);
    // Of a gateway with a bundles folder of its own.
    const elsewhere = temporaryFolder(t);
    cpSync(parts.config.bundlesDir, elsewhere, { recursive: true });
    const tidied = () => deleteLeftCopies(registry, elsewhere, silentLog);
    t.same(await tidied(), [], 'nothing is retired yet');
    const steps: [string, boolean, string][] = [];
    const archive = await retireVersion(
      { ...V1, to: archives, quietDays: 0 },
      {
        ...parts,
        onStep: (step) => steps.push([step, readdirSync(path.join(bundles, 'v1')).length > 0, step]),
      },
    );
    t.same(
      steps.map(([step, isThere]) => [step, isThere]),
      [
        ['drain', true],
        ['archive', true],
        ['verify', true],
        ['delete', false],
      ],
    );
    t.match(archive, { build: defaultBuild, deletedAt: Date, verifiedAt: Date, restoredAt: null });
    t.same(readdirSync(path.join(bundles, 'v1')), []);
    t.same(
      (await registry.routes.get('docs_kb')).targets.map(({ version }) => version),
      ['v2'],
    );
    const audit = (await registry.changes.list({ subject: 'corpus_version docs_kb/v1' })).map(
      ({ after }) => after as { step?: string; status?: string; archive?: string },
    );
    t.match(audit, [
      { step: 'deleted' },
      { status: 'archived' },
      { step: 'verified' },
      { archive: archive.uri },
    ]);
    t.same(await tidied(), ['docs_kb/v1'], 'the copies elsewhere go too');
    t.same(readdirSync(path.join(elsewhere, 'docs_kb', 'v1')), []);
    t.equal(readdirSync(path.join(elsewhere, 'docs_kb', 'v2')).length, 1, 'and no other version');
    t.match(
      await retireVersion({ ...V1, to: archives, quietDays: 0 }, parts),
      { uri: archive.uri },
      'again it changes nothing',
    );
    await t.test('its texts are embedded again out of the archive', async (t) => {
      const { sourceFile: _none, ...request } = requestOf('', { version: 'v3', reuse: false });
      const { bundle: again, embedding } = await rebuildCorpus(
        { ...request, from: { kind: 'archive', uri: archive.uri } },
        {
          config: parts.config,
          records: registryRecords(registry, parts.config.bundlesDir),
          log: silentLog,
          events: { onCounted: () => undefined, onDocuments: () => undefined, onPhase: () => undefined },
          signal: parts.signal,
        },
      );
      t.match(embedding, { documents: 60, encoded: 60 });
      t.match(
        again.manifest.source,
        { watermark: /^feed1:/, feed: 'feed.jsonl' },
        'where the archived one was',
      );
      t.same(readdirSync(path.join(bundles, 'v3')), [again.digest.slice(0, 16)]);
    });
    // A restore that goes on right now: its bundle is there before that is written down.
    const restored = path.join(elsewhere, 'docs_kb', 'v1', digestPrefix(defaultBuild as Digest));
    mkdirSync(restored);
    t.same(await tidied(), []);
    t.ok(existsSync(restored), 'what was written since then stays');
    const said = path.join(fileURLToPath(archive.uri), 'archive.json');
    const text = readFileSync(said, 'utf8');
    writeFileSync(said, text.replace(/"writer": "[^"]+"/, '"writer": "somebody"'));
    t.match(await failureOf(restoreVersion(V1, null, parts)), {
      reason: 'CORRUPT_ARCHIVE',
      message: /archive\.json .* is not the one that was recorded/,
    });
    t.equal((await registry.corpusVersions.get(V1)).status, 'archived');
    t.same(readdirSync(path.join(bundles, 'v1')), [], 'nothing came of it');
    writeFileSync(said, text);
    const bundle = await restoreVersion(V1, null, parts);
    t.equal(bundle.digest, defaultBuild);
    t.equal((await registry.corpusVersions.get(V1)).status, 'ready');
    t.match(await records.archives(V1), [{ restoredAt: Date }]);
    await readBundle(path.join(bundles, 'v1', bundle.digest.slice(0, 16)));
    const again = await retireVersion({ ...V1, to: archives, quietDays: 0 }, parts);
    t.equal((await registry.corpusVersions.get(V1)).status, 'archived');
    t.same(readdirSync(path.join(bundles, 'v1')), []);
    t.equal(again.uri, archive.uri);
  },
);

t.test(
  'a retirement that dies after any step goes on, and nothing is deleted before it was verified',
  async (t) => {
    const yard = await yardOf(t);
    const { registry, archives, bundles, parts } = yard;
    await cutOver(yard);
    const request = { ...V1, to: archives, quietDays: 0 };
    for (const fatal of ['drain', 'archive', 'verify']) {
      await t.rejects(
        retireVersion(request, {
          ...parts,
          onStep: (step) => {
            if (step === fatal) throw new Error(`died after ${step}`);
          },
        }),
        { message: `died after ${fatal}` },
      );
      t.equal(readdirSync(path.join(bundles, 'v1')).length, 1, 'the serving copy is there');
    }
    // Dies when the version is marked and nothing deleted.
    const { records } = parts;
    await t.rejects(
      retireVersion(request, {
        ...parts,
        records: {
          ...records,
          markArchived: async (name) => {
            await records.markArchived(name);
            throw new Error('died after it was marked');
          },
        },
      }),
      { message: 'died after it was marked' },
    );
    t.equal((await registry.corpusVersions.get(V1)).status, 'archived');
    t.equal(readdirSync(path.join(bundles, 'v1')).length, 1);
    const steps: string[] = [];
    const onStep = (step: string): void => void steps.push(step);
    t.match(await retireVersion(request, { ...parts, onStep }), { deletedAt: Date });
    t.same(steps, ['delete'], 'the one step that was left is logged');
    t.same(readdirSync(path.join(bundles, 'v1')), []);
    await t.test('a gateway that goes on behind it keeps the steps that were written down', async (t) => {
      const { retirementId } = await registry.retirements.start(
        V1,
        { place: archives, quietDays: 0 },
        AUTHOR,
      );
      t.ok(await registry.retirements.takeLease(retirementId, 'gone', 60_000));
      const done = ['drain', 'archive', 'verify'].map((step) => ({
        step,
        detail: 'before',
        at: '2026-11-26',
      }));
      await registry.retirements.note(retirementId, 'gone', { steps: done, why: null });
      await registry.retirements.releaseLease(retirementId, 'gone');
      const { config } = parts;
      const runner = new RetirementRunner({
        registry: () => registry,
        gatewayId: 'next',
        config,
        log: silentLog,
      });
      t.teardown(() => runner.close());
      const { value } = await until('it is over', async () => {
        const latest = await registry.retirements.latest(V1);
        return latest.finishedAt === null ? null : latest;
      });
      t.match(value, { state: 'completed', steps: [...done, { step: 'delete' }] });
    });
    t.equal((await restoreVersion(V1, null, parts)).manifest.document_count, 60);
  },
);

t.test('a version that was marked archived by hand keeps its bundles', async (t) => {
  const yard = await yardOf(t);
  const { registry, archives, bundles, parts } = yard;
  const { revision } = await registry.routes.get('docs_kb');
  await registry.routes.change({
    corpus: 'docs_kb',
    targets: [{ version: 'v2', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 }],
    expectedRevision: revision,
    force: true,
    ...AUTHOR,
  });
  await registry.corpusVersions.archive(V1, AUTHOR);
  t.match(await failureOf(retireVersion({ ...V1, to: archives, quietDays: 0 }, parts)), {
    reason: 'STATUS_CONFLICT',
  });
  t.equal(readdirSync(path.join(bundles, 'v1')).length, 1);
  t.match(await failureOf(restoreVersion(V1, null, parts)), { reason: 'UNKNOWN_ARCHIVE' });
  const { uri } = await archiveVersion(V1, archives, parts);
  t.match(await failureOf(registry.archives.note(uri, 'deleted', AUTHOR)), {
    reason: 'STATUS_CONFLICT',
    message: /was not verified/,
  });
  t.match(await failureOf(registry.archives.note('file:///nowhere', 'verified', AUTHOR)), {
    reason: 'UNKNOWN_ARCHIVE',
  });
});
