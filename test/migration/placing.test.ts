import t from 'tap';
import {
  divergence,
  startingTarget,
  targetsFor,
  weightOfOthers,
} from '../../src/lifecycle/migration/placing.js';
import type { Facts, Placement } from '../../src/lifecycle/migration/state.js';
import type { Route, RouteTarget } from '../../src/registry/route.js';
import type { Digest, Fingerprint, Revision } from '../../src/vocabulary.js';

const digest = (letter: string): Digest => letter.repeat(64) as Digest;
const target = (version: string, build: string, more: Partial<RouteTarget> = {}): RouteTarget => ({
  version,
  build: digest(build),
  fingerprint: `mf1_${'0'.repeat(32)}` as Fingerprint,
  modelRef: 'm@1',
  role: 'active',
  weightBps: 0,
  tier: 'ssd',
  mirrorBps: 0,
  bundleUri: 'file:///x',
  ...more,
});
const routeOf = (...targets: readonly RouteTarget[]): Route => ({
  corpus: 'docs',
  revision: 4 as Revision,
  salt: 's',
  targets,
});
const OLD = target('v1', 'a', { weightBps: 10_000, tier: 'dram' });
const FLOOR = target('v1', 'c', { role: 'shadow', mirrorBps: 1_000 });
const OTHER = target('v0', 'd', { role: 'draining' });
const VERSIONS = { corpus: 'docs', fromVersion: 'v1', toVersion: 'v2' };
const facts = (more: Partial<Facts> = {}): Facts => ({
  from: { build: digest('a'), tier: 'dram' },
  placement: { kind: 'untouched' },
  hadWeight: false,
  routeRevision: 4,
  isRouteLost: false,
  verified: { build: digest('b'), watermark: null },
  measuredFrom: '2026-11-26T00:00:00.000Z',
  gate: null,
  ...more,
});
const said = (placement: Placement, given: Facts, route: Route): readonly string[] =>
  targetsFor(placement, given, VERSIONS, route).map(
    ({ version, build, role, weightBps, mirrorBps, tier }) =>
      `${version}:${build?.[0]} ${role} ${weightBps} ${mirrorBps} ${tier}`,
  );

const KEPT = ['v1:c shadow 0 1000 ssd', 'v0:d draining 0 0 ssd'];
/** What each placement makes of a route with a noise floor and a version of somebody else's. */
const PLACEMENTS: readonly (readonly [Placement, Partial<Facts>, readonly string[]])[] = [
  [{ kind: 'shadow', mirrorBps: 500 }, {}, ['v1:a active 10000 0 dram', 'v2:b shadow 0 500 dram', ...KEPT]],
  [
    { kind: 'shadow', mirrorBps: 500, build: digest('e') },
    { verified: null },
    ['v1:a active 10000 0 dram', 'v2:e shadow 0 500 dram', ...KEPT],
  ],
  [{ kind: 'weighted', weightBps: 100 }, {}, ['v1:a active 9900 0 dram', 'v2:b active 100 0 dram', ...KEPT]],
  [
    { kind: 'weighted', weightBps: 10_000 },
    {},
    ['v1:a draining 0 0 dram', 'v2:b active 10000 0 dram', ...KEPT],
  ],
  [{ kind: 'released' }, { hadWeight: true }, ['v2:b active 10000 0 dram', 'v0:d draining 0 0 ssd']],
  [{ kind: 'restored' }, {}, ['v1:a active 10000 0 dram', ...KEPT]],
  [
    { kind: 'restored' },
    { hadWeight: true },
    ['v1:a active 10000 0 dram', 'v2:b draining 0 0 dram', ...KEPT],
  ],
  // The build that had weight drains, also when another one was verified since, or none.
  [
    { kind: 'restored' },
    { hadWeight: true, served: digest('e'), verified: null },
    ['v1:a active 10000 0 dram', 'v2:e draining 0 0 dram', ...KEPT],
  ],
];

t.test('a placement changes the two versions and leaves everything else where it is', async (t) => {
  for (const [placement, more, expected] of PLACEMENTS)
    t.same(said(placement, facts(more), routeOf(OLD, FLOOR, OTHER)), expected, placement.kind);
});

t.test('going back, the old version gets all weight, whoever else was given some', async (t) => {
  const third = target('v3', 'f', { weightBps: 5_000 });
  const split = routeOf({ ...OLD, weightBps: 3_000 }, target('v2', 'b', { weightBps: 2_000 }), third, FLOOR);
  const weighted = facts({ placement: { kind: 'weighted', weightBps: 4_000 }, hadWeight: true });
  const back = [
    'v1:a active 10000 0 dram',
    'v2:b draining 0 0 dram',
    'v3:f draining 0 0 ssd',
    'v1:c shadow 0 1000 ssd',
  ];
  t.same(said({ kind: 'restored' }, weighted, split), back);
  t.equal(weightOfOthers(weighted, VERSIONS, split), 'v3 5000');
  t.match(
    divergence(weighted, VERSIONS, split),
    /revision 4, where v3 5000 basis points are neither.*`switchyard route set docs`, then resume; or abort, which gives v1 everything/,
  );
  const movedOn = routeOf({ ...third, weightBps: 10_000 });
  const released = facts({ placement: { kind: 'released' }, hadWeight: true });
  t.same(said({ kind: 'restored' }, released, movedOn), back.slice(0, 3), 'after it completed');
  t.equal(weightOfOthers(weighted, VERSIONS, routeOf(OLD, FLOOR, OTHER)), null);
});

t.test('a tier or another version is no divergence; a weight, a role or a build is', async (t) => {
  const weighted = facts({ placement: { kind: 'weighted', weightBps: 2_000 } });
  const old = target('v1', 'a', { weightBps: 8_000 });
  const fresh = target('v2', 'b', { weightBps: 2_000 });
  t.equal(divergence(weighted, VERSIONS, routeOf(old, fresh)), null);
  t.equal(divergence(weighted, VERSIONS, routeOf(old, { ...fresh, tier: 'dram' }, FLOOR, OTHER)), null);
  t.match(
    divergence(weighted, VERSIONS, routeOf({ ...old, weightBps: 7_000 }, { ...fresh, weightBps: 3_000 })),
    /revision 4 with v1.* 7000, v2.* 3000; the migration left it with v1.* 8000, v2.* 2000/,
  );
  t.match(divergence(weighted, VERSIONS, routeOf(old, { ...fresh, build: digest('e') })), /v2:eeee/);
  t.match(divergence(weighted, VERSIONS, routeOf({ ...old, weightBps: 10_000 })), /left it with/);
});

t.test('a migration starts where one target has all weight', async (t) => {
  t.equal(startingTarget(routeOf(OLD, FLOOR), 'v2').build, OLD.build);
  const halves = routeOf({ ...OLD, weightBps: 5_000 }, target('v3', 'f', { weightBps: 5_000 }));
  t.throws(() => startingTarget(halves, 'v2'), { reason: 'STATUS_CONFLICT', message: /v1 5000 \+ v3 5000/ });
  t.throws(() => startingTarget(routeOf(OLD), 'v1'), {
    reason: 'STATUS_CONFLICT',
    message: /all weight already/,
  });
});
