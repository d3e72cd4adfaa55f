import fc from 'fast-check';
import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { RouteTargetInput } from '../../src/registry/route.js';
import { type VersionOnOffer, validateRoute } from '../../src/registry/route-rules.js';
import type { Tier } from '../../src/vocabulary.js';
import { onEachPostgres } from '../fixtures/each-postgres.js';
import { startTestRegistry } from '../fixtures/postgres.js';
import {
  AUTHOR,
  active,
  digestOf,
  draining,
  fingerprintOf,
  rawSession,
  readyVersion,
  recordBuild,
  refused,
  registerModel,
  shadow,
} from './registry-fixtures.js';

const offer = (version: string, status: VersionOnOffer['status'] = 'ready'): VersionOnOffer => ({
  version,
  status,
  fingerprint: fingerprintOf(version),
  modelRef: `model-${version}@1`,
  defaultBuild: digestOf(`${version} first`),
  builds: ['first', 'second'].map((build) => ({
    digest: digestOf(`${version} ${build}`),
    bundleUri: `file:///${version}/${build}`,
  })),
});
const OFFERS = [
  offer('v1'),
  offer('v2', 'active'),
  offer('v3', 'draining'),
  offer('v4', 'archived'),
  offer('v5', 'building'),
];

const anyTarget: fc.Arbitrary<RouteTargetInput> = fc.record({
  version: fc.constantFrom('v1', 'v2', 'v3'),
  build: fc.constant(null),
  role: fc.constantFrom('active' as const, 'active' as const, 'shadow' as const, 'draining' as const),
  weightBps: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(0, 0, 1, 2_500, 5_000, 7_500, 9_999, 10_000) },
    fc.constantFrom(-1, 10_001, 0.5, Number.NaN, Number.POSITIVE_INFINITY),
  ),
  tier: fc.constantFrom<Tier>('dram', 'ssd'),
  mirrorBps: fc.constantFrom(0, 0, 0, 100, 10_000, 10_001, -5),
});

/** Right by construction: some active targets that share 10 000, the others shadow or draining. */
const rightRoute: fc.Arbitrary<readonly RouteTargetInput[]> = fc
  .record({
    order: fc.shuffledSubarray(['v1', 'v2', 'v3'], { minLength: 1 }),
    activeCount: fc.integer({ min: 1, max: 3 }),
    cut: fc.integer({ min: 0, max: 10_000 }),
    mirrorBps: fc.integer({ min: 0, max: 10_000 }),
    isShadow: fc.boolean(),
  })
  .map(({ order, activeCount, cut, mirrorBps, isShadow }) =>
    order.map((version, index) => {
      if (index >= activeCount) return isShadow ? shadow(version, mirrorBps) : draining(version);
      const actives = Math.min(activeCount, order.length);
      if (index > 1) return active(version, 0);
      return active(version, actives === 1 ? 10_000 : index === 0 ? cut : 10_000 - cut);
    }),
  );

/** Any targets, right ones, and right ones with one replaced by any. */
const anyRoute: fc.Arbitrary<readonly RouteTargetInput[]> = fc.oneof(
  fc.array(anyTarget, { maxLength: 4 }),
  rightRoute,
  fc
    .tuple(rightRoute, fc.nat(), anyTarget)
    .map(([route, index, target]) => route.with(index % route.length, target)),
);

/** The rules once more, written from their words and not from the code. */
function isRight(targets: readonly RouteTargetInput[]): boolean {
  const whole = (value: number) =>
    [...'0123456789'].includes(String(value)[0] ?? '') && value % 1 === 0 && value <= 10_000;
  let total = 0;
  let actives = 0;
  const names: string[] = [];
  for (const target of targets) {
    if (!whole(target.weightBps) || !whole(target.mirrorBps)) return false;
    if (target.role === 'active') {
      actives += 1;
      total += target.weightBps;
    } else if (target.weightBps > 0) return false;
    if (target.role !== 'shadow' && target.mirrorBps > 0) return false;
    if (names.includes(target.version)) return false;
    names.push(target.version);
  }
  return actives > 0 && total === 10_000;
}

t.test('a route is accepted exactly when it keeps every rule', async (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(anyRoute, (targets) => {
      try {
        const route = validateRoute('docs', targets, OFFERS);
        accepted++;
        return isRight(targets) && route.every((target, index) => target.version === targets[index]?.version);
      } catch (error) {
        return error instanceof SwitchyardError && error.reason === 'INVALID_ROUTE' && !isRight(targets);
      }
    }),
    { numRuns: 5_000 },
  );
  t.ok(accepted > 1_000, `${accepted} of 5 000 were valid: both sides were tried`);
});

t.test('every refusal has its reason and says what would work', async (t) => {
  const cases: readonly (readonly [string, readonly RouteTargetInput[], string, RegExp])[] = [
    ['no target', [], 'INVALID_ROUTE', /0 targets; must be 1\.\.64/],
    ['too many', Array.from({ length: 65 }, () => active('v1', 0)), 'INVALID_ROUTE', /1\.\.64/],
    ['nothing active', [shadow('v1', 0)], 'INVALID_ROUTE', /no target is active/],
    ['a sum that is short', [active('v1', 9_999)], 'INVALID_ROUTE', /sum to 9999 \(v1 9999\); must be 10000/],
    [
      'weight on a shadow',
      [active('v1', 10_000), { ...shadow('v2', 0), weightBps: 1 }],
      'INVALID_ROUTE',
      /only active/,
    ],
    [
      'a mirror on an active target',
      [{ ...active('v1', 10_000), mirrorBps: 1 }],
      'INVALID_ROUTE',
      /only shadow/,
    ],
    ['the same build twice', [active('v1', 10_000), draining('v1')], 'INVALID_ROUTE', /twice/],
    ['an archived version', [active('v4', 10_000)], 'STATUS_CONFLICT', /archived/],
    ['a version that is building', [active('v5', 10_000)], 'STATUS_CONFLICT', /building/],
    ['an unknown version', [active('v9', 10_000)], 'UNKNOWN_CORPUS_VERSION', /it has v1, v2/],
    [
      'an unknown build',
      [{ ...active('v1', 10_000), build: '0'.repeat(16) }],
      'UNKNOWN_BUILD',
      /it has [0-9a-f]{16}/,
    ],
  ];
  for (const [name, targets, reason, message] of cases)
    t.throws(
      () => validateRoute('docs', targets, OFFERS),
      { name: 'SwitchyardError', reason, message },
      name,
    );
  const both = [active('v1', 10_000), { ...shadow('v1', 100), build: digestOf('v1 second').slice(0, 8) }];
  t.match(
    validateRoute('docs', both, OFFERS),
    [
      { build: digestOf('v1 first'), fingerprint: fingerprintOf('v1'), bundleUri: 'file:///v1/first' },
      { build: digestOf('v1 second') },
    ],
    'two builds of one version may stand in one route',
  );
});

onEachPostgres(t, async (t, postgres) => {
  const registry = await startTestRegistry(t, { postgres });
  const raw = await rawSession(t, registry);
  const model = await registerModel(registry, 'm');
  const ids = new Map<string, string>();
  for (const version of ['v1', 'v2', 'v3']) {
    await readyVersion(registry, 'docs', version, model);
    await recordBuild(registry, 'docs', version, model.fingerprint, 'second');
    ids.set(version, (await registry.corpusVersions.get({ corpus: 'docs', version })).corpusVersionId);
  }
  const digest = (version: string) => digestOf(`docs/${version}/first`);
  /** What psql would do for a new corpus's first revision, without the code's checks; rolled back in any case. */
  const databaseAccepts = async (targets: readonly RouteTargetInput[]): Promise<boolean> => {
    const after = targets.map((target) => ({
      version: target.version,
      build: digest(target.version),
      role: target.role,
      weight_bps: target.weightBps,
      tier: target.tier,
      mirror_bps: target.mirrorBps,
    }));
    try {
      await raw.query('BEGIN');
      await raw.query(
        `INSERT INTO route_revisions (corpus_name, revision, actor, reason, forced, after) VALUES ('docs', 1, 'a', 'b', false, $1)`,
        [JSON.stringify({ targets: after })],
      );
      await raw.query(`INSERT INTO routes VALUES ('docs', 1, 'salt')`);
      for (const [position, target] of targets.entries())
        await raw.query('INSERT INTO route_targets VALUES ($1, $2, $3, $4, $5, $6, $7, $8)', [
          ...['docs', position, ids.get(target.version), digest(target.version)],
          ...[target.role, target.weightBps, target.tier, target.mirrorBps],
        ]);
      await raw.query('SET CONSTRAINTS ALL IMMEDIATE');
      return true;
    } catch (error) {
      if (!/^(23|22)/.test((error as { code?: string }).code ?? '')) throw error;
      return false;
    } finally {
      await raw.query('ROLLBACK');
    }
  };
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(anyRoute, async (targets) => {
      const accepts = await databaseAccepts(targets);
      if (accepts) accepted++;
      return accepts === isRight(targets);
    }),
    { numRuns: 300 },
  );
  t.ok(accepted > 30, `${accepted} of 300 were accepted`);
  await t.rejects(
    registry.routes.change({ corpus: 'docs', targets: [active('v1', 1)], expectedRevision: null, ...AUTHOR }),
    refused('INVALID_ROUTE'),
  );
});
