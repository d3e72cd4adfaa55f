import t, { type Test } from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { Registry } from '../../src/registry/registry.js';
import { onEachPostgres } from '../fixtures/each-postgres.js';
import { databaseUrlOf, startTestRegistry } from '../fixtures/postgres.js';
import {
  AUTHOR,
  active,
  draining,
  eventually,
  rawSession,
  readyVersion,
  recordBuild,
  refused,
  registerModel,
  shadow,
  violates,
} from './registry-fixtures.js';

const reasonOf = (error: unknown): string | undefined =>
  error instanceof SwitchyardError ? error.reason : undefined;

onEachPostgres(t, async (t, postgres) => {
  const registry = await startTestRegistry(t, { postgres });
  const raw = await rawSession(t, registry);
  const use = await registerModel(registry, 'use');
  const minilm = await registerModel(registry, 'minilm');
  let corpora = 0;
  /** A corpus of its own with v1 by one model and v2 by another; routed to v1 when asked. */
  const twoVersions = async (routed = true): Promise<string> => {
    const corpus = `corpus${++corpora}`;
    await readyVersion(registry, corpus, 'v1', use);
    await readyVersion(registry, corpus, 'v2', minilm);
    if (routed)
      await registry.routes.change({
        corpus,
        targets: [active('v1', 10_000)],
        expectedRevision: null,
        ...AUTHOR,
      });
    return corpus;
  };
  const statuses = async (corpus: string): Promise<string> =>
    (await registry.corpusVersions.list({ corpus })).map((v) => `${v.version} ${v.status}`).join(', ');

  await t.test('a route is made at revision 1 and resolves default builds', async (t) => {
    const corpus = await twoVersions(false);
    const route = await registry.routes.change({
      corpus,
      targets: [active('v1', 9_000), active('v2', 1_000)],
      expectedRevision: null,
      ...AUTHOR,
    });
    t.equal(route.revision, 1);
    t.same(await registry.routes.get(corpus), route, 'what is read back is what was answered');
    t.match(route.targets, [
      { version: 'v1', modelRef: 'use@1', fingerprint: use.fingerprint, weightBps: 9_000 },
      { version: 'v2', modelRef: 'minilm@1', fingerprint: minilm.fingerprint, weightBps: 1_000 },
    ]);
    t.ok((await registry.routes.list()).some((listed) => listed.corpus === corpus));
  });

  await t.test('statuses of versions follow from the route in the same transaction', async (t) => {
    const corpus = await twoVersions(false);
    t.equal(await statuses(corpus), 'v1 ready, v2 ready');
    const steps = [
      [[active('v1', 10_000), shadow('v2', 500)], 'v1 active, v2 ready'],
      [[active('v1', 5_000), active('v2', 5_000)], 'v1 active, v2 active'],
      [[draining('v1'), active('v2', 10_000)], 'v1 draining, v2 active'],
      [[active('v2', 10_000)], 'v1 ready, v2 active'],
    ] as const;
    for (const [index, [targets, expected]] of steps.entries()) {
      await registry.routes.change({
        corpus,
        targets,
        expectedRevision: index === 0 ? null : index,
        ...AUTHOR,
      });
      t.equal(await statuses(corpus), expected);
    }
    await registry.corpusVersions.archive({ corpus, version: 'v1' }, AUTHOR);
    await t.rejects(
      registry.routes.change({
        corpus,
        targets: [active('v1', 10_000)],
        expectedRevision: 4,
        ...AUTHOR,
      }),
      refused('STATUS_CONFLICT'),
      'an archived version takes no traffic',
    );
    await t.rejects(
      registry.routes.rollback({ corpus, toRevision: 1, expectedRevision: 4, ...AUTHOR }),
      refused('STATUS_CONFLICT'),
      'nor by a rollback',
    );
    await t.rejects(
      registry.corpusVersions.archive({ corpus, version: 'v2' }, AUTHOR),
      refused('STATUS_CONFLICT'),
      'what is routed is not archived',
    );
  });

  await t.test(
    'of two operators who change one route at once, one wins and the other learns the revision',
    async (t) => {
      const corpus = await twoVersions();
      for (let round = 1; round <= 5; round++) {
        const attempts = await Promise.allSettled(
          [2_000, 3_000, 4_000].map((weight) =>
            registry.routes.change({
              corpus,
              targets: [active('v1', 10_000 - weight), active('v2', weight)],
              expectedRevision: round,
              ...AUTHOR,
            }),
          ),
        );
        const won = attempts.filter((attempt) => attempt.status === 'fulfilled');
        const lost = attempts.filter((attempt) => attempt.status === 'rejected');
        t.equal(won.length, 1);
        for (const { reason } of lost)
          t.match(reason, { reason: 'REVISION_CONFLICT', details: { current_revision: String(round + 1) } });
        t.same(await registry.routes.get(corpus), won[0]?.value);
      }
    },
  );

  await t.test('of two who make one route at once, one wins', async (t) => {
    const corpus = await twoVersions(false);
    const attempts = await Promise.allSettled(
      ['v1', 'v2', 'v1'].map((version) =>
        registry.routes.change({
          corpus,
          targets: [active(version, 10_000)],
          expectedRevision: null,
          ...AUTHOR,
        }),
      ),
    );
    const reasons = attempts.map((attempt) =>
      attempt.status === 'fulfilled' ? 'won' : reasonOf(attempt.reason),
    );
    t.same(reasons.sort(), ['REVISION_CONFLICT', 'REVISION_CONFLICT', 'won']);
    t.equal((await registry.routes.get(corpus)).revision, 1);
  });

  await t.test('a rollback is a new revision with the targets and the salt of old', async (t) => {
    const corpus = await twoVersions();
    const first = await registry.routes.get(corpus);
    const change = {
      corpus,
      targets: [active('v2', 10_000)],
      expectedRevision: 1,
      actor: 'ann',
      reason: 'try v2',
    };
    await registry.routes.change(change);
    const back = await registry.routes.rollback({
      corpus,
      toRevision: 1,
      expectedRevision: 2,
      actor: 'ben',
      reason: 'v2 was worse',
    });
    t.same(back, { ...first, revision: 3 });
    t.match(await registry.routes.revisions(corpus), [
      {
        revision: 3,
        actor: 'ben',
        reason: 'v2 was worse',
        rolledBackTo: 1,
        after: first.targets,
        forced: false,
      },
      { revision: 2, actor: 'ann', reason: 'try v2', rolledBackTo: null, before: first.targets },
      { revision: 1, before: null, after: first.targets },
    ]);
    await t.rejects(registry.routes.rollback({ corpus, toRevision: 9, expectedRevision: 3, ...AUTHOR }), {
      reason: 'UNKNOWN_REVISION',
      message: /1\.\.3/,
    });
    await t.rejects(
      registry.routes.rollback({ corpus, toRevision: 1, expectedRevision: 2, ...AUTHOR }),
      refused('REVISION_CONFLICT'),
    );
  });

  await t.test('the audit cannot be changed, and no change escapes it', async (t) => {
    const corpus = await twoVersions();
    for (const statement of [
      `UPDATE route_revisions SET actor = 'nobody'`,
      'DELETE FROM route_revisions',
      'TRUNCATE route_revisions CASCADE',
      `UPDATE registry_changes SET actor = 'nobody'`,
      'DELETE FROM routes',
      `UPDATE routes SET revision = 2 WHERE corpus_name = '${corpus}'`,
      `UPDATE routes SET revision = 7 WHERE corpus_name = '${corpus}'`,
      `UPDATE routes SET salt = 'other' WHERE corpus_name = '${corpus}'`,
      `UPDATE route_targets SET weight_bps = 0 WHERE corpus_name = '${corpus}'`,
      `UPDATE route_targets SET tier = 'dram' WHERE corpus_name = '${corpus}'`,
      `DELETE FROM route_targets WHERE corpus_name = '${corpus}'`,
    ])
      await t.rejects(raw.query(statement), { code: /^23/ }, statement);
    await registry.routes.change({
      corpus,
      targets: [active('v1', 10_000), shadow('v2', 100)],
      expectedRevision: 1,
      ...AUTHOR,
    });
    await t.rejects(
      raw.query(`DELETE FROM route_targets WHERE corpus_name = '${corpus}' AND role = 'shadow'`),
      violates('route_audit_says_targets'),
      'a target that vanishes without a revision',
    );
    for (const author of [
      { actor: ' ', reason: 'why' },
      { actor: 'who', reason: '' },
    ])
      await t.rejects(
        registry.routes.change({ corpus, targets: [active('v1', 10_000)], expectedRevision: 2, ...author }),
        refused('INVALID_ARGUMENT'),
      );
    t.equal((await registry.routes.get(corpus)).revision, 2);
  });

  await t.test('a build is named by digest, by prefix, or not at all; nothing else is guessed', async (t) => {
    const corpus = await twoVersions();
    const second = await recordBuild(registry, corpus, 'v1', use.fingerprint, 'second');
    const pick = (build: string | null, revision: number) =>
      registry.routes.change({
        corpus,
        targets: [{ ...active('v1', 10_000), build }],
        expectedRevision: revision,
        ...AUTHOR,
      });
    t.equal((await pick(second.digest.slice(0, 16), 1)).targets[0]?.build, second.digest);
    t.not((await pick(null, 2)).targets[0]?.build, second.digest, 'the default is the first');
    for (const build of ['', second.digest.slice(0, 4), 'f'.repeat(64)])
      await t.rejects(pick(build, 3), refused('UNKNOWN_BUILD'), `build ${build}`);
    const other = await registry.builds.get({ corpus, version: 'v2' });
    await t.rejects(pick(other.digest, 3), refused('UNKNOWN_BUILD'), "another version's build");
  });

  await t.test('unknown names are refused by their own reasons', async (t) => {
    const corpus = await twoVersions(false);
    const change = { targets: [active('v1', 10_000)], expectedRevision: null, ...AUTHOR };
    await t.rejects(registry.routes.change({ ...change, corpus: 'corpus0' }), {
      reason: 'UNKNOWN_CORPUS',
      message: /corpus1/,
    });
    await t.rejects(registry.routes.change({ ...change, corpus, targets: [active('v9', 10_000)] }), {
      reason: 'UNKNOWN_CORPUS_VERSION',
      message: /v1, v2/,
    });
    await t.rejects(
      registry.routes.change({ ...change, corpus, expectedRevision: 3 }),
      refused('REVISION_CONFLICT'),
    );
    await t.rejects(registry.routes.get(corpus), refused('UNKNOWN_CORPUS'));
    t.equal(await registry.routes.find(corpus), null);
  });

  await t.test('weight waits for every live replica, and may always be taken away', async (t) => {
    await checkReadiness(t, registry, await twoVersions());
  });

  await t.test('the database refuses a route that reaches around the code', async (t) => {
    const corpus = await twoVersions();
    await registry.corpusVersions.begin({
      corpus,
      version: 'v3',
      fingerprint: use.fingerprint,
      storageUri: 'file:///x',
    });
    const insert = (version: string, digest: string, role: string, weight: number, mirror = 0): string => `
      BEGIN; INSERT INTO route_targets SELECT '${corpus}', 9, corpus_version_id, '${digest}', '${role}', ${weight}, 'ssd', ${mirror}
      FROM embedding_corpus_versions WHERE corpus_name = '${corpus}' AND label = '${version}'; COMMIT`;
    const v2 = (await registry.builds.get({ corpus, version: 'v2' })).digest;
    const v1 = (await registry.builds.get({ corpus, version: 'v1' })).digest;
    for (const [statement, constraint] of [
      [insert('v2', v2, 'active', 1), 'route_weights_total'],
      [insert('v2', v2, 'active', 0), 'route_audit_says_targets'],
      [insert('v2', v2, 'active', -1), 'route_targets_weight_range'],
      [insert('v2', v2, 'shadow', 1), 'route_targets_weight_only_active'],
      [insert('v2', v2, 'draining', 0, 1), 'route_targets_mirror_only_shadow'],
      [insert('v2', v2, 'shadow', 0, 10_001), 'route_targets_mirror_range'],
      [insert('v2', v1, 'shadow', 0), 'route_targets_once'],
      [insert('v3', v2, 'shadow', 0), 'route_targets_version_ready'],
      [insert('v2', v2, 'boss', 0), 'route_targets_role_known'],
    ] as const) {
      await t.rejects(raw.query(statement), violates(constraint), constraint);
      await raw.query('ROLLBACK');
    }
    t.equal(await statuses(corpus), 'v1 active, v2 ready, v3 building');
  });
});

async function checkReadiness(t: Test, registry: Registry, corpus: string): Promise<void> {
  const v1 = (await registry.builds.get({ corpus, version: 'v1' })).digest;
  const v2 = (await registry.builds.get({ corpus, version: 'v2' })).digest;
  const beat = (gatewayId: string, readyTargets: (typeof v1)[]) =>
    registry.gateways.heartbeat({
      gatewayId,
      address: '127.0.0.1:8081',
      appliedRevisions: { [corpus]: 1 },
      readyTargets,
      lastError: null,
    });
  const shift = (weight: number, expectedRevision: number, force = false) =>
    registry.routes.change({
      corpus,
      targets: [active('v1', 10_000 - weight), active('v2', weight)],
      expectedRevision,
      force,
      ...AUTHOR,
    });
  await beat('gateway-a', [v1, v2]);
  await beat('gateway-b', [v1]);
  await t.rejects(shift(1_000, 1), {
    reason: 'TARGET_NOT_READY',
    message: new RegExp(
      `gateway-b .*\`switchyard route preload ${corpus} v2 --build ${v2.slice(0, 12)}[0-9a-f]* --tier ssd --wait 120 --reason "[^"]+"\`.*--preload.*--force`,
    ),
    details: { replicas: 'gateway-b' },
  });
  t.equal((await shift(0, 1)).revision, 2, 'a target without weight may be placed, and so loaded');
  await beat('gateway-b', [v1, v2]);
  t.equal((await shift(1_000, 2)).revision, 3);
  await beat('gateway-b', [v1]);
  await t.rejects(shift(2_000, 3), refused('TARGET_NOT_READY'));
  t.equal((await shift(500, 3)).revision, 4, 'less weight needs nobody to be ready');
  t.equal((await shift(5_000, 4, true)).revision, 5, 'forced');
  t.equal((await registry.routes.revisions(corpus))[0]?.forced, true, 'and the audit says so');
  await registry.gateways.remove('gateway-b');
  t.equal((await shift(6_000, 5)).revision, 6, 'a replica that left does not count');
  t.match(await registry.gateways.list(), [{ gatewayId: 'gateway-a', alive: true, readyTargets: [v1, v2] }]);
  const strict = await startTestRegistry(t, { databaseUrl: databaseUrlOf(registry), gatewayAliveMsMax: 1 });
  await eventually('silence', async () => (await strict.gateways.list())[0]?.alive === false);
  await strict.close();
  await registry.gateways.remove('gateway-a');
}
