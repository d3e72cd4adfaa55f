import t from 'tap';
import { SwitchyardError } from '../../src/errors.js';
import type { SearchCall } from '../../src/router/query.js';
import { createCachingRig } from './caching.js';
import { createGate, createRig, route, textCall, V1, vectorCall } from './harness.js';
import { embedText, target } from './small-engines.js';

const bulk = (text: string, over: Partial<SearchCall> = {}): SearchCall =>
  textCall(text, { priority: 'bulk', ...over });

t.test('a request takes the lane of its priority in the encoder and in the search workers', async (t) => {
  const rig = createRig();
  await rig.router.apply(route(1, [target(V1, 'active', 10_000)]));
  const lanes: string[] = [];
  rig.engines.conditions.onEncode = async (_, { lane }) => void lanes.push(`encode ${lane}`);
  rig.engines.conditions.onSearch = async (_, { lane }) => void lanes.push(`search ${lane}`);
  await rig.router.search(textCall('owl'));
  await rig.router.search(bulk('owl'));
  await rig.router.search(vectorCall(embedText('alpha', 'owl'), { model: 'alpha@1', priority: 'bulk' }));
  const embed = { model: 'alpha@1', text: 'owl', role: 'query', deadlineAtMs: Infinity } as const;
  await rig.router.embed({ ...embed, priority: 'bulk' });
  await rig.router.embed({ ...embed, priority: 'live' });
  t.same(lanes, [
    'encode live',
    'search live',
    'encode bulk',
    'search bulk',
    'search bulk',
    'encode bulk',
    'encode live',
  ]);
  await rig.router.close();
});

t.test('a batch encodes its live texts apart from its bulk ones', async (t) => {
  const rig = createRig();
  await rig.router.apply(route(1, [target(V1, 'active', 10_000)]));
  const runs: string[] = [];
  rig.engines.conditions.onEncode = async (_, { lane, texts }) => void runs.push(`${lane} ${texts}`);
  const outcomes = await rig.router.batchSearch([
    textCall('owl'),
    bulk('dog'),
    textCall('cat'),
    bulk('hare'),
  ]);
  t.same(
    outcomes.filter((outcome) => outcome instanceof Error),
    [],
  );
  t.same(runs.sort(), ['bulk dog,hare', 'live owl,cat']);
  await rig.router.close();
});

t.test('a live question does not wait for an equal one of bulk work, and both fill one entry', async (t) => {
  const rig = createCachingRig();
  await rig.router.apply(route(1, [target(V1, 'active', 10_000)]));
  const gate = createGate();
  rig.engines.conditions.onSearch = async (_, { lane }) => (lane === 'bulk' ? gate.opened : undefined);
  const slow = rig.router.search(bulk('owl'));
  const live = await rig.router.search(textCall('owl'));
  t.equal(live.servedBy.resultCache, 'MISS');
  gate.open();
  t.same((await slow).hits, live.hits);
  const again = await rig.router.search(bulk('owl'));
  t.equal(again.servedBy.resultCache, 'HIT', 'priority is no part of the question');
  t.notOk(again instanceof SwitchyardError);
  await rig.router.close();
});
