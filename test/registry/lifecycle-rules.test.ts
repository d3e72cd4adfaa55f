import t from 'tap';
import { onEachPostgres } from '../fixtures/each-postgres.js';
import { startTestRegistry } from '../fixtures/postgres.js';
import {
  AUTHOR,
  active,
  bundleManifest,
  digestOf,
  modelManifest,
  rawSession,
  readyVersion,
  recordBuild,
  refused,
  registerModel,
  violates,
} from './registry-fixtures.js';

onEachPostgres(t, async (t, postgres) => {
  const registry = await startTestRegistry(t, { postgres });
  const raw = await rawSession(t, registry);
  const { models, corpusVersions, builds, consumers, changes } = registry;
  const minilm = await registerModel(registry, 'minilm');
  const use = await registerModel(registry, 'use');
  const at = (corpus: string, version = 'v1') => ({ corpus, version });
  const statusOf = async (corpus: string, version = 'v1') =>
    (await corpusVersions.get(at(corpus, version))).status;

  await t.test('registering a model again changes nothing but where it lies', async (t) => {
    t.same(await registerModel(registry, 'minilm'), minilm);
    const moved = await models.register({
      manifest: modelManifest('minilm'),
      artifactUri: 'file:///elsewhere',
    });
    t.same(moved, { ...minilm, artifactUri: 'file:///elsewhere' });
    const many = await Promise.all(Array.from({ length: 8 }, () => registerModel(registry, 'race')));
    t.equal(new Set(many.map(({ modelId }) => modelId)).size, 1, 'also by eight at once');
    t.equal((await models.list()).length, 3);
  });

  await t.test('a name@version and a fingerprint belong together forever', async (t) => {
    const base = modelManifest('minilm');
    for (const manifest of [
      { ...base, fingerprint: modelManifest('other').fingerprint },
      { ...base, fingerprint: use.fingerprint },
      { ...base, version: '2' },
      { ...base, dimensions: 512 },
      { ...base, metric: 'dot' as const },
    ])
      await t.rejects(models.register({ manifest, artifactUri: 'file:///x' }), {
        ...refused('ALREADY_EXISTS'),
        message: /minilm@1/,
      });
    const advice = (manifest: typeof base, message: RegExp) =>
      t.rejects(models.register({ manifest, artifactUri: 'file:///x' }), { message });
    await advice({ ...base, version: '2' }, /use the registered name/);
    await advice({ ...base, fingerprint: modelManifest('other').fingerprint }, /another version/);
    for (const column of [
      `model_name = 'x'`,
      `model_version = '2'`,
      'dimensions = 1',
      `similarity_metric = 'l2'`,
      `fingerprint = 'mf1_${'0'.repeat(32)}'`,
      `manifest = '{}'`,
    ])
      await t.rejects(
        raw.query(`UPDATE embedding_models SET ${column} WHERE model_name = 'minilm'`),
        violates('model_identity_fixed'),
      );
    await t.rejects(raw.query('DELETE FROM embedding_models'), violates('model_kept'));
    await t.rejects(
      models.register({ manifest: { ...base, fingerprint: 'mf1_x' as never }, artifactUri: 'x' }),
      refused('INVALID_MODEL'),
    );
  });

  await t.test('probes are stored and come back as they were', async (t) => {
    const vector = Float32Array.from({ length: 384 }, (_, index) => Math.fround(Math.sin(index)));
    await models.register({
      manifest: modelManifest('probed'),
      artifactUri: 'file:///p',
      probes: [
        { role: 'query', text: 'a cat', vector },
        { role: 'document', text: 'ein Käfer 🪲', vector },
      ],
    });
    t.same(await models.probes('probed@1'), [
      { role: 'query', text: 'a cat', vector },
      { role: 'document', text: 'ein Käfer 🪲', vector },
    ]);
    await t.rejects(
      raw.query(`UPDATE embedding_model_probes SET text = 'x'`),
      violates('model_probes_fixed'),
    );
    await t.rejects(raw.query('DELETE FROM embedding_model_probes'), violates('model_probes_fixed'));
  });

  await t.test('a model is found by name@version or fingerprint, and near misses are named', async (t) => {
    t.equal((await models.resolve('use@1')).modelId, use.modelId);
    t.equal((await models.resolve(use.fingerprint)).modelId, use.modelId);
    await t.rejects(models.resolve('minilm@2'), { ...refused('UNKNOWN_MODEL'), message: /minilm@1/ });
    await t.rejects(models.resolve(`x'; DROP TABLE builds; --`), refused('UNKNOWN_MODEL'));
  });

  await t.test('a version is ready only when a build of its own model is recorded', async (t) => {
    await corpusVersions.begin({ ...at('docs'), fingerprint: minilm.fingerprint, storageUri: 'file:///d' });
    t.equal(await statusOf('docs'), 'building');
    for (const status of ['ready', 'active', 'draining'])
      await t.rejects(
        raw.query(`UPDATE embedding_corpus_versions SET status = '${status}' WHERE corpus_name = 'docs'`),
        violates('version_ready_needs_build'),
      );
    const right = bundleManifest('docs', 'v1', minilm.fingerprint);
    const record = (manifest: typeof right) =>
      builds.record({ bundle: { digest: digestOf('wrong'), manifest }, uri: 'file:///b' });
    await t.rejects(
      record({ ...right, model: { fingerprint: use.fingerprint } }),
      refused('FINGERPRINT_MISMATCH'),
    );
    await t.rejects(record({ ...right, full_dimensions: 512 }), refused('CORRUPT_BUNDLE'));
    await t.rejects(record({ ...right, metric: 'dot' }), refused('CORRUPT_BUNDLE'));
    await t.rejects(record({ ...right, version: 'v7' }), refused('UNKNOWN_CORPUS_VERSION'));
    const insert = (manifest: object) =>
      raw.query(
        `INSERT INTO builds (digest, corpus_version_id, bundle_uri, manifest)
         SELECT $1, corpus_version_id, 'x', $2 FROM embedding_corpus_versions WHERE corpus_name = 'docs'`,
        [digestOf('raw'), JSON.stringify(manifest)],
      );
    await t.rejects(
      insert({ ...right, model: { fingerprint: use.fingerprint } }),
      violates('build_matches_model'),
    );
    await t.rejects(insert({}), violates('build_matches_model'));
    await t.rejects(insert({ ...right, corpus: 'other' }), violates('build_matches_version'));
    const first = await recordBuild(registry, 'docs', 'v1', minilm.fingerprint, 'first');
    t.match(await corpusVersions.get(at('docs')), {
      status: 'ready',
      defaultBuild: first.digest,
      totalEmbeddings: 1_000,
      indexUri: first.bundleUri,
      documentTemplate: right.document_template,
      qualityMetrics: { recall_at_10: { value: 0.99 } },
    });
    await t.rejects(
      record({ ...right, document_template: 'other' }),
      refused('CORRUPT_BUNDLE'),
      'one template for all builds',
    );
    await t.rejects(raw.query(`UPDATE builds SET manifest = '{}'`), violates('build_fixed'));
    await t.rejects(raw.query('DELETE FROM builds'), violates('build_kept'));
  });

  await t.test('a failed build is noted, and the version begun again', async (t) => {
    const begin = { ...at('retry'), fingerprint: minilm.fingerprint, storageUri: 'file:///r' };
    await corpusVersions.begin(begin);
    t.match(await corpusVersions.fail(at('retry'), 'the disk was full'), {
      status: 'building',
      failure: { why: 'the disk was full' },
    });
    t.match(await corpusVersions.begin(begin), { status: 'building', failure: null });
    await t.rejects(corpusVersions.begin({ ...begin, fingerprint: use.fingerprint }), {
      ...refused('ALREADY_EXISTS'),
      message: /model/,
    });
    await t.rejects(corpusVersions.begin({ ...begin, corpus: 'No Corpus' }), refused('INVALID_ARGUMENT'));
    await t.rejects(
      corpusVersions.begin({ ...begin, fingerprint: modelManifest('none').fingerprint }),
      refused('UNKNOWN_MODEL'),
    );
    await t.rejects(corpusVersions.get(at('nodocs')), { ...refused('UNKNOWN_CORPUS'), message: /docs/ });
  });

  await t.test('more builds, one default', async (t) => {
    const second = await recordBuild(registry, 'docs', 'v1', minilm.fingerprint, 'second');
    t.equal(second.isDefault, false);
    t.same(
      (await builds.list(at('docs'))).map(({ isDefault }) => isDefault),
      [true, false],
    );
    const chosen = await builds.setDefault(at('docs'), second.digest.slice(0, 16), AUTHOR);
    t.ok(chosen.isDefault);
    t.equal((await builds.get(at('docs'))).digest, second.digest);
    t.match((await changes.list({ subject: 'corpus_version docs/v1' }))[0], {
      actor: 'tester',
      after: { default_build: second.digest },
    });
    await t.rejects(builds.get(at('docs'), 'abcdef0123456789'), refused('UNKNOWN_BUILD'));
  });

  await t.test('active and draining are not set, they follow from routes', async (t) => {
    const set = (status: string) =>
      raw.query(`UPDATE embedding_corpus_versions SET status = '${status}' WHERE corpus_name = 'docs'`);
    await t.rejects(set('active'), violates('version_status_follows_route'));
    await t.rejects(set('draining'), violates('version_status_follows_route'));
    await t.rejects(set('building'), violates('version_status_path'));
    await registry.routes.change({
      corpus: 'docs',
      targets: [active('v1', 10_000)],
      expectedRevision: null,
      ...AUTHOR,
    });
    t.equal(await statusOf('docs'), 'active');
    t.equal((await models.resolve('minilm@1')).status, 'active', 'what serves is no longer in staging');
    t.match((await changes.list({ subject: 'model minilm@1' }))[0], {
      ...AUTHOR,
      before: { status: 'staging' },
      after: { status: 'active' },
    });
    await t.rejects(set('ready'), violates('version_status_follows_route'));
    await t.rejects(set('archived'), violates('version_archived_not_routed'));
    await t.rejects(
      raw.query(`UPDATE embedding_corpus_versions SET model_id = '${use.modelId}'`),
      violates('version_identity_fixed'),
    );
    await t.rejects(
      raw.query(`UPDATE embedding_corpus_versions SET label = 'v9' WHERE corpus_name = 'docs'`),
      violates('version_identity_fixed'),
    );
    await t.rejects(raw.query('DELETE FROM embedding_corpus_versions'), { name: 'error', code: /^23/ });
  });

  await t.test('a model with live versions cannot be archived; an archived one is final', async (t) => {
    const old = await registerModel(registry, 'old');
    await readyVersion(registry, 'olddocs', 'v1', old);
    t.match(await models.setStatus('old@1', 'active', AUTHOR), { status: 'active', deprecatedAt: null });
    t.type((await models.setStatus('old@1', 'deprecated', AUTHOR)).deprecatedAt, Date);
    await t.rejects(models.setStatus('old@1', 'archived', AUTHOR), {
      ...refused('STATUS_CONFLICT'),
      message: /olddocs\/v1/,
    });
    const archive = `UPDATE embedding_models SET status = 'archived' WHERE model_name = 'old'`;
    await t.rejects(raw.query(archive), violates('model_has_live_versions'));
    await corpusVersions.archive(at('olddocs'), AUTHOR);
    t.equal((await models.setStatus('old@1', 'archived', AUTHOR)).status, 'archived');
    await t.rejects(models.setStatus('old@1', 'active', AUTHOR), refused('STATUS_CONFLICT'));
    await t.rejects(
      raw.query(
        `UPDATE embedding_models SET status = 'staging' WHERE model_name = 'use'; ${archive.replace('archived', 'active')}`,
      ),
      violates('model_status_path'),
    );
    await t.rejects(
      corpusVersions.begin({ ...at('newdocs'), fingerprint: old.fingerprint, storageUri: 'x' }),
      refused('STATUS_CONFLICT'),
    );
    await t.rejects(
      recordBuild(registry, 'olddocs', 'v1', old.fingerprint, 'late'),
      refused('STATUS_CONFLICT'),
    );
    await t.rejects(
      corpusVersions.begin({ ...at('olddocs'), fingerprint: old.fingerprint, storageUri: 'x' }),
      refused('STATUS_CONFLICT'),
    );
    t.match(
      (await changes.list({ subject: 'model old@1' })).map(({ after }) => after),
      [{ status: 'archived' }, { status: 'deprecated' }, { status: 'active' }, { status: 'staging' }],
    );
    await t.rejects(
      models.setStatus('use@1', 'active', { actor: '', reason: 'x' }),
      refused('INVALID_ARGUMENT'),
    );
    t.equal((await models.resolve('use@1')).status, 'staging', 'no change without its audit row');
  });

  await t.test('unknown statuses, metrics and forms are refused by the tables', async (t) => {
    for (const statement of [
      `UPDATE embedding_models SET status = 'live'`,
      'UPDATE embedding_models SET status = NULL',
      `UPDATE embedding_corpus_versions SET status = 'live'`,
      `INSERT INTO gateways VALUES ('g', 'a', now(), now(), '[]', '[]')`,
      `INSERT INTO gateways VALUES ('g', 'a', now(), now(), '{}', '{}')`,
    ])
      await t.rejects(raw.query(statement), { name: 'error', code: /^23/ }, statement);
  });

  await t.test('consumers', async (t) => {
    const deadline = new Date('2027-01-31T00:00:00Z');
    const input = { ...at('docs'), serviceName: 'search-ui', teamOwner: 'web', migrationDeadline: deadline };
    const added = await consumers.add(input, AUTHOR);
    t.match(added, { serviceName: 'search-ui', migrated: false, migrationDeadline: deadline });
    t.same(await consumers.add(input, AUTHOR), added);
    await t.rejects(consumers.add({ ...input, teamOwner: 'other' }, AUTHOR), refused('ALREADY_EXISTS'));
    await t.rejects(consumers.add({ ...input, serviceName: '' }, AUTHOR), refused('INVALID_ARGUMENT'));
    await t.rejects(consumers.add({ ...input, version: 'v9' }, AUTHOR), refused('UNKNOWN_CORPUS_VERSION'));
    t.ok((await consumers.setMigrated(added.consumerId, true, AUTHOR)).migrated);
    await t.rejects(consumers.setMigrated('nobody', true, AUTHOR), refused('UNKNOWN_CONSUMER'));
    t.same(
      (await consumers.list({ corpus: 'docs' })).map(({ migrated }) => migrated),
      [true],
    );
  });

  await t.test(
    'desired targets are loaded before they are routed, and leave with their version',
    async (t) => {
      const { desiredTargets } = registry;
      await readyVersion(registry, 'next', 'v1', use);
      const target = { ...at('next'), build: null, tier: 'dram' as const };
      const added = await desiredTargets.add(target, AUTHOR);
      t.match(added, { corpus: 'next', version: 'v1', modelRef: 'use@1', tier: 'dram' });
      t.match(await desiredTargets.add({ ...target, tier: 'ssd' }, AUTHOR), { tier: 'ssd' });
      t.equal((await desiredTargets.list({ corpus: 'next' })).length, 1);
      await desiredTargets.remove(target, AUTHOR);
      t.same(await desiredTargets.list({ corpus: 'next' }), []);
      await desiredTargets.add(target, AUTHOR);
      await corpusVersions.archive(at('next'), AUTHOR);
      t.same(await desiredTargets.list({ corpus: 'next' }), []);
      await t.rejects(desiredTargets.add(target, AUTHOR), refused('STATUS_CONFLICT'));
    },
  );

  await t.test('what a driver does counts until its migration went on', async (t) => {
    const { desiredTargets, migrations } = registry;
    await readyVersion(registry, 'moved', 'v1', use);
    const names = { corpus: 'moved', fromVersion: 'v1', toVersion: 'v2' };
    const words = { plan: {}, state: { kind: 'running' }, event: { kind: 'started' } };
    const { migrationId, sequence } = await migrations.start({ ...names, ...words }, AUTHOR);
    const during = { migrationId, sequence };
    const target = { ...at('moved'), build: null, tier: 'ssd' as const };
    t.match(await desiredTargets.add(target, AUTHOR, during), { tier: 'ssd' });
    await desiredTargets.remove(target, AUTHOR);
    const word = { ...words, ...AUTHOR, migrationId, leaseToken: null, isFinished: false, route: null };
    await migrations.advance({ ...word, expectedSequence: sequence });
    await t.rejects(desiredTargets.add(target, AUTHOR, during), refused('STATUS_CONFLICT'));
    t.same(await desiredTargets.list({ corpus: 'moved' }), []);
    await t.rejects(corpusVersions.archive(at('moved'), AUTHOR, during), refused('STATUS_CONFLICT'));
    t.equal((await corpusVersions.get(at('moved'))).status, 'ready');
    const now = { migrationId, sequence: sequence + 1 };
    t.match(await corpusVersions.archive(at('moved'), AUTHOR, now), { status: 'archived' });
    const unlessArchived = { version: 'v1', refusal: 'it is archived' };
    await t.rejects(migrations.advance({ ...word, expectedSequence: now.sequence, unlessArchived }), {
      ...refused('STATUS_CONFLICT'),
      message: 'it is archived',
    });
  });

  await t.test('archiving a version and routing it at once cannot both happen', async (t) => {
    for (let round = 0; round < 8; round++) {
      const corpus = `duel${round}`;
      await readyVersion(registry, corpus, 'v1', use);
      const [archived, routed] = await Promise.allSettled([
        corpusVersions.archive(at(corpus), AUTHOR),
        registry.routes.change({
          corpus,
          targets: [active('v1', 10_000)],
          expectedRevision: null,
          ...AUTHOR,
        }),
      ]);
      t.not(archived.status, routed.status, `${archived.status}, ${routed.status}`);
      t.equal(await statusOf(corpus), archived.status === 'fulfilled' ? 'archived' : 'active');
    }
  });
});
