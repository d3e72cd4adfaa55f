import t from 'tap';
import { diffLines, planTargets, type RouteWords, routeWords } from '../../src/cli/route-plan.js';
import type { RouteView, TargetView } from '../../src/gateway/admin/views.js';

const view = (version: string, build: string, more: Partial<TargetView> = {}): TargetView => ({
  version,
  build,
  model: 'm@1',
  fingerprint: 'mf1_',
  role: 'active',
  weight: 10_000,
  tier: 'ssd',
  mirror_bps: 0,
  ...more,
});
const words = (more: Partial<RouteWords>): RouteWords => ({
  active: [],
  mirror: [],
  shadow: [],
  draining: [],
  tier: [],
  ...more,
});
const current: RouteView = {
  corpus: 'docs',
  revision: 3,
  replicas: [],
  targets: [
    view('v1', 'aaaaaaaaaaaaaaaa', { tier: 'dram' }),
    view('v2', 'bbbbbbbbbbbbbbbb', { role: 'shadow', weight: 0, mirror_bps: 700 }),
  ],
};

t.test('what is not said stays as it is', async (t) => {
  t.same(planTargets(words({ active: ['v1=9000', 'v2=1000'], shadow: ['v3'] }), current), [
    { version: 'v1', build: 'aaaaaaaaaaaaaaaa', role: 'active', weight: 9_000, tier: 'dram', mirror_bps: 0 },
    { version: 'v2', build: 'bbbbbbbbbbbbbbbb', role: 'active', weight: 1_000, tier: 'ssd', mirror_bps: 0 },
    { version: 'v3', role: 'shadow', weight: 0, tier: 'ssd', mirror_bps: 0 },
  ]);
  t.match(planTargets(words({ active: ['v1=10000'], shadow: ['v2'] }), current), [{}, { mirror_bps: 700 }]);
});

t.test('a mirrored share makes a shadow', async (t) => {
  t.match(planTargets(words({ active: ['v1=10000'], mirror: ['v2=10000'] }), current), [
    {},
    { version: 'v2', role: 'shadow', weight: 0, mirror_bps: 10_000 },
  ]);
  const both = planTargets(words({ active: ['v1=10000'], shadow: ['v2'], mirror: ['v2=5'] }), current);
  t.equal(both.length, 2, 'and one target when both are said');
});

t.test('a build, a tier and draining are said by name', async (t) => {
  t.same(
    planTargets(
      words({ active: ['v2:cccccccc=10000'], draining: ['v1'], tier: ['v1=ssd', 'v2=dram'] }),
      current,
    ),
    [
      { version: 'v2', build: 'cccccccc', role: 'active', weight: 10_000, tier: 'dram', mirror_bps: 0 },
      { version: 'v1', build: 'aaaaaaaaaaaaaaaa', role: 'draining', weight: 0, tier: 'ssd', mirror_bps: 0 },
    ],
  );
});

t.test('of several builds of a version the one in the same role is meant, and none is guessed', async (t) => {
  const shadow = view('v1', 'bbbbbbbbbbbbbbbb', { role: 'shadow', weight: 0, mirror_bps: 700 });
  const two = { ...current, targets: [shadow, view('v1', 'aaaaaaaaaaaaaaaa')] };
  t.match(planTargets(words({ active: ['v1=10000'], shadow: ['v1'] }), two), [
    { build: 'aaaaaaaaaaaaaaaa', role: 'active' },
    { build: 'bbbbbbbbbbbbbbbb', role: 'shadow', mirror_bps: 700 },
  ]);
  t.throws(() => planTargets(words({ draining: ['v1'] }), two), {
    reason: 'INVALID_ARGUMENT',
    message: /aaaaaaaaaaaaaaaa/,
  });
  t.match(planTargets(words({ draining: ['v1:aaaa'] }), two), [{ build: 'aaaa' }]);
});

t.test('what cannot be read is refused', async (t) => {
  for (const wrong of [
    { active: ['v1'] },
    { active: ['=1'] },
    { active: ['v1=1e3'] },
    { active: ['v1=-1'] },
    { active: ['v1=10%'] },
    { active: ['v1:=1'] },
    { active: ['v1=10000'], mirror: ['v2'] },
    { active: ['v1=10000'], tier: ['v1=tape'] },
    { active: ['v1=10000'], tier: ['v9=ssd'] },
  ])
    t.throws(
      () => planTargets(words(wrong), current),
      { name: 'SwitchyardError', reason: 'INVALID_ARGUMENT' },
      JSON.stringify(wrong),
    );
});

t.test('a diff shows what differs and nothing else', async (t) => {
  const after = [
    view('v1', 'aaaaaaaaaaaaaaaa', { tier: 'dram' }),
    view('v3', 'cccccccccccccccc', { role: 'draining', weight: 0 }),
  ];
  t.same(diffLines(current.targets, after), [
    '- v2 (build bbbbbbbbbbbbbbbb, m@1, ssd): shadow, mirrored 7 %',
    '+ v3 (build cccccccccccccccc, m@1, ssd): draining',
  ]);
  t.same(diffLines(current.targets, current.targets), []);
});

t.test('the words of a route say that route again', async (t) => {
  const shadow = (version: string, build: string, mirror_bps: number) =>
    view(version, build, { role: 'shadow', weight: 0, mirror_bps });
  const routes: readonly (readonly TargetView[])[] = [
    current.targets,
    [view('v1', 'aaaaaaaaaaaaaaaa', { weight: 9_000 }), view('v2', 'bbbbbbbbbbbbbbbb', { weight: 1_000 })],
    [
      view('v1', 'aaaaaaaaaaaaaaaa'),
      shadow('v1', 'bbbbbbbbbbbbbbbb', 1_000),
      shadow('v3', 'cccccccccccccccc', 0),
    ],
    [view('v1', 'aaaaaaaaaaaaaaaa'), view('v1', 'bbbbbbbbbbbbbbbb', { role: 'draining', weight: 0 })],
  ];
  for (const targets of routes) {
    const route = { ...current, targets };
    const said = {
      active: [] as string[],
      mirror: [] as string[],
      shadow: [] as string[],
      draining: [] as string[],
    };
    const rest = [...routeWords(route)];
    for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
      const option = /^--(mirror|shadow|draining)$/.exec(word)?.[1] as keyof typeof said | undefined;
      said[option ?? 'active'].push(option === undefined ? word : (rest.shift() ?? ''));
    }
    const planned = planTargets(words(said), route);
    const key = ({ build, role, weight, tier, mirror_bps }: (typeof planned)[number]) =>
      [build, role, weight, tier, mirror_bps].join(' ');
    t.same(planned.map(key).sort(), targets.map(key).sort());
  }
});
