import t from 'tap';
import {
  compilePlan,
  DEFAULT_PLAN,
  planDocument,
  readPlan,
  shortestSeconds,
  stepName,
} from '../../src/lifecycle/migration/plan.js';

const refusal = (reason: string, message: RegExp) => ({ reason, message });

const READY = [{ verify: {} }, { shadow: {} }, { analysis: { shadow: {} } }];
const END = [{ analysis: { error_rate: {} } }, { set_weight: { weight: 10_000 } }, { complete: {} }];

t.test(
  'the default plan is the four phases, and asks a person before the first and the last weight',
  async (t) => {
    const { steps } = readPlan(null);
    t.same(
      steps.map(({ kind }) => kind),
      'build verify shadow analysis set_weight analysis pause set_weight analysis set_weight analysis pause set_weight analysis complete retire'.split(
        ' ',
      ),
    );
    t.same(
      steps.flatMap((step) => (step.kind === 'set_weight' ? [step.options.weight] : [])),
      [100, 1_000, 5_000, 10_000],
    );
    t.equal(shortestSeconds(readPlan(null), 0), 600 + 4 * 300);
    t.equal(stepName(steps[4] as (typeof steps)[number]), 'set_weight 1 %');
  },
);

t.test('YAML and JSON say the same, every default is filled in, and the document reads back', async (t) => {
  const yaml = readPlan(`
steps:
  - verify: {}
  - shadow: { mirror_bps: 5000 }
  - analysis: { shadow: {} }
  - set_weight: { weight: 10000 }
  - complete: {}
`);
  const json = readPlan(
    JSON.stringify({
      steps: [
        { verify: {} },
        { shadow: { mirror_bps: 5_000 } },
        { analysis: { shadow: {} } },
        { set_weight: { weight: 10_000 } },
        { complete: {} },
      ],
    }),
  );
  t.same(yaml, json);
  t.match(yaml.steps[1], { kind: 'shadow', options: { mirror_bps: 5_000, compared_min: 500 } });
  t.same(compilePlan(planDocument(yaml)), yaml);
  t.same(compilePlan(planDocument(compilePlan(DEFAULT_PLAN))), compilePlan(DEFAULT_PLAN));
});

/** Each plan breaks one rule; the message names step and limit. */
const BAD: readonly { readonly name: string; readonly steps: unknown; readonly says: RegExp }[] = [
  { name: 'no steps', steps: [], says: /0 steps; must be 1\.\.64/ },
  { name: 'an unknown step', steps: [{ leap: {} }], says: /step 1 is leap; must be one of build/ },
  { name: 'two kinds in one', steps: [{ pause: {}, verify: {} }], says: /step 1 must be one of/ },
  { name: 'an unknown option', steps: [{ pause: { hours: 1 } }], says: /step 1: pause\.hours/ },
  { name: 'weight 0', steps: [...READY, { set_weight: { weight: 0 } }], says: /minimum 1/ },
  { name: 'weight above all', steps: [...READY, { set_weight: { weight: 10_001 } }], says: /maximum 10000/ },
  {
    name: 'weight without a gate',
    steps: [{ verify: {} }, { shadow: {} }, { set_weight: { weight: 100 } }],
    says: /step 3 \(set_weight\): an analysis comes between 0 and 100/,
  },
  {
    name: 'two weights behind one gate',
    steps: [...READY, { set_weight: { weight: 100 } }, { set_weight: { weight: 200 } }],
    says: /between 100 and 200/,
  },
  {
    name: 'falling weights',
    steps: [
      ...READY,
      { set_weight: { weight: 200 } },
      { analysis: { error_rate: {} } },
      { set_weight: { weight: 100 } },
    ],
    says: /weight 100 must be > 200/,
  },
  { name: 'shadow unverified', steps: [{ shadow: {} }], says: /verify comes before shadow/ },
  { name: 'build after verify', steps: [{ verify: {} }, { build: {} }], says: /build comes before verify/ },
  { name: 'an empty analysis', steps: [{ verify: {} }, { analysis: {} }], says: /at least one of golden/ },
  {
    name: 'served traffic before any',
    steps: [...READY, { analysis: { error_rate: {} } }],
    says: /error_rate is of served traffic/,
  },
  {
    name: 'mirrored reads after the first weight',
    steps: [...READY, { set_weight: { weight: 100 } }, { analysis: { shadow: {} } }],
    says: /check shadow before it/,
  },
  {
    name: 'longer than it may take',
    steps: [{ verify: {} }, { shadow: { duration_s: 10, timeout_s: 5 } }],
    says: /duration_s 10 must be <= timeout_s 5/,
  },
  { name: 'no end', steps: READY, says: /ends without complete/ },
  {
    name: 'complete too early',
    steps: [...READY, { set_weight: { weight: 100 } }, { complete: {} }],
    says: /before complete is 100/,
  },
  {
    name: 'steps after complete',
    steps: [...READY, { set_weight: { weight: 10_000 } }, { complete: {} }, { pause: {} }],
    says: /only retire/,
  },
  { name: 'retire first', steps: [...READY, { retire: {} }], says: /complete comes before retire/ },
];

t.test('a plan that breaks a rule is refused, naming step and limit', async (t) => {
  for (const { name, steps, says } of BAD)
    t.throws(() => compilePlan({ steps }), refusal('INVALID_PLAN', says), name);
  t.throws(() => readPlan('steps: [}'), refusal('INVALID_PLAN', /neither YAML nor JSON/));
  for (const text of ['steps: *hunter2', 'steps: &a [*a]', '- !hunter2 x', 'steps: [{ build: "hunter2 }]'])
    t.throws(() => readPlan(text), refusal('INVALID_PLAN', /^(?!.*hunter2).*neither YAML nor JSON/s), text);
  t.throws(() => readPlan('steps: []\nmore: 1'), refusal('INVALID_PLAN', /no key more/));
  t.throws(
    () => readPlan(`steps: [] # ${'x'.repeat(70_000)}`),
    refusal('INVALID_PLAN', /bytes; must be <= 65536/),
  );
  t.doesNotThrow(() => compilePlan({ steps: [...READY, { set_weight: { weight: 1 } }, ...END] }));
});
