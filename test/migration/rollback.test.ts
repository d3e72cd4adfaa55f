import t, { type Test } from 'tap';
import { SilentProxy } from '../../bench/chaos/silent-proxy.js';
import { Checker } from '../../bench/judge/checker.js';
import { packageBinaries, startGivenServer } from '../../bench/rig/given-server.js';
import { startGatewayProcess } from '../control/processes.js';
import { builtBundle, builtBundles, CORPUS, makeYard, until } from '../control/yard.js';
import { type Confirmation, Confirmed } from './confirming.js';
import { JudgedLoad, type Seen } from './judged-load.js';

const QUERIES = [
  'a striped animal',
  'a bird',
  'some bread',
  'red wine',
  'a planet',
  'a bicycle',
  'a cobbler',
  'snow',
];
const IDS = Array.from({ length: 8 }, (_, at) => `d${at}`);
const TOP_K = 5;
/** The bound that is promised: no request that begins later is served by the new version. */
const BOUND_MS = 1_000;
/** On a machine where a request takes so long that this many take longer than that, it is as many of them. */
const BOUND_REQUESTS = 20;
const BATCH = 40;
/** Answers of each replica that are looked at behind the bound. */
const LOOKED_AT = 20;

const SETTINGS = {
  // A machine that others keep busy is not what is tested.
  SWITCHYARD_OVERLOAD__ENABLED: 'false',
  SWITCHYARD_MIRROR__NICENESS: '0',
  // Told by notification alone: polling would come after a minute.
  SWITCHYARD_ROUTER__POLL_INTERVAL_MS: '60000',
  SWITCHYARD_ROUTER__HEARTBEAT_INTERVAL_MS: '200',
  SWITCHYARD_MIGRATION__SAMPLE_INTERVAL_MS: '50',
  SWITCHYARD_MIGRATION__POLL_INTERVAL_MS: '100',
  SWITCHYARD_MIGRATION__SETTLE_TIMEOUT_MS: '2000',
};

t.test('two gateways under load go back to the old version', async (t) => {
  const server = await startGivenServer(t, await packageBinaries(t));
  const proxy = await SilentProxy.open(server.port);
  t.teardown(() => proxy.close());
  const yard = await makeYard(t, server.url());
  const { registry, varDir } = yard;
  const checker = await checkerOf({ v1: yard.fp16, v2: yard.int8 });
  const start = (databaseUrl: string, drive: boolean) =>
    startGatewayProcess(t, varDir, {
      ...SETTINGS,
      DATABASE_URL: databaseUrl,
      SWITCHYARD_MIGRATION__DRIVE: String(drive),
    });
  const throughProxy = server.url().replace(`:${server.port}/`, `:${proxy.port}/`);
  const [near, far] = await Promise.all([start(server.url(), true), start(throughProxy, false)]);
  const replicas = [near.http, far.http];
  const load = new JudgedLoad({
    checker,
    replicas,
    corpus: CORPUS,
    queries: QUERIES,
    topK: TOP_K,
    callers: 1,
  });
  t.teardown(() => load.stop());
  const confirmed = new Confirmed(near.admin);

  await t.test('the checker tells the versions’ answers apart', async (t) => {
    const builds = (await registry.builds.list({ corpus: CORPUS })).map(({ digest }) => digest.slice(0, 16));
    for (const text of QUERIES) {
      const response = await fetch(`${near.http}/v1/search`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ corpus: CORPUS, text, top_k: TOP_K }),
      });
      const answer = (await response.json()) as Parameters<Checker['verdict']>[1];
      const other = builds.find((build) => build !== answer.served_by.build) ?? '';
      t.equal(checker.verdict(text, answer), 'right', text);
      t.equal(checker.verdict(text, { ...answer, served_by: { build: other } }), 'mispaired', text);
    }
  });

  const returned = async (t: Test, where: Confirmation | 'complete') => {
    await confirmed.begin(t);
    await confirmed.goTo(t, where === 'complete' ? 'all' : where);
    if (where === 'complete') {
      await confirmed.command('promote');
      await confirmed.until('completed', ({ state }) => state === 'completed');
    }
    const inFlight = Promise.all(replicas.map((replica) => load.batch(replica, BATCH)));
    // A failure is seen when it is awaited; until then it must not count as unhandled.
    inFlight.catch(() => undefined);
    const commandMs = performance.now();
    const { status, body } = await confirmed.command('rollback');
    const answeredMs = performance.now();
    t.equal(status, 200, status === 200 ? 'the command is taken' : JSON.stringify(body));
    t.match(body, { state: 'rolled_back', weight: 0 }, 'the old version has everything');
    const batches = await inFlight;
    return { commandMs, answeredMs, revision: body.route_revision, batches: batches.flat() };
  };

  for (const [where, weight] of [
    ['shadow', 0],
    ['half', 5_000],
    ['all', 10_000],
  ] as const)
    await t.test(`from "${where}", where the new version has ${weight / 100} %`, async (t) => {
      const { commandMs, answeredMs, revision, batches } = await returned(t, where);
      const boundMs = boundOf(load);
      await untilAnswered(load, replicas, commandMs + boundMs);
      const seen = load.seen.filter(({ endedMs }) => endedMs > commandMs);
      judge(t, [...seen, ...batches], revision);
      const late = seen.filter(
        ({ startedMs, version }) => startedMs > commandMs + boundMs && version !== 'v1',
      );
      t.same(late, [], `nothing that began ${boundMs} ms after the command is served by the new version`);
      const last = Math.max(
        0,
        ...seen.filter(({ version }) => version === 'v2').map(({ startedMs }) => startedMs - commandMs),
      );
      t.comment(
        `the last request that the new version served began ${last.toFixed(0)} ms after the command, which took ${(answeredMs - commandMs).toFixed(0)} ms; ${batches.filter(({ endedMs }) => endedMs > answeredMs).length} of ${batches.length} batched ones were in flight`,
      );
      const ended = await confirmed.until('ended', ({ finished_at }) => finished_at !== null);
      t.same(ended.lagging, [], 'every replica followed');
      if (weight === 0) t.equal(ended.rollback_ms, null, 'it had served nothing');
      else t.ok((ended.rollback_ms ?? Number.POSITIVE_INFINITY) <= boundMs, `${ended.rollback_ms} ms`);
    });

  await t.test(
    'from a migration that completed: the old version is loaded first, and nothing fails',
    async (t) => {
      const { commandMs, revision, batches } = await returned(t, 'complete');
      for (const replica of replicas)
        await until(
          `${replica} serves it`,
          async () => load.since(replica, commandMs).at(-1)?.revision === revision,
        );
      const followedMs = performance.now();
      await untilAnswered(load, replicas, followedMs);
      judge(t, [...load.seen.filter(({ endedMs }) => endedMs > commandMs), ...batches], revision);
      for (const replica of replicas)
        t.same(versions(load.since(replica, followedMs)), ['v1'], 'the old version serves');
      await confirmed.until('ended', ({ finished_at }) => finished_at !== null);
    },
  );

  await t.test(
    'a replica that is cut off from the registry is named, and follows when it is back',
    async (t) => {
      await confirmed.begin(t);
      await confirmed.goTo(t, 'half');
      const cutOff = (await registry.gateways.list()).find(({ address }) => address === far.admin)?.gatewayId;
      t.type(cutOff, 'string');
      proxy.silence();
      const commandMs = performance.now();
      const { body } = await confirmed.command('rollback');
      const { route_revision: revision } = body;
      const ended = await confirmed.until('ended', ({ finished_at }) => finished_at !== null);
      t.match(ended, { state: 'rolled_back', lagging: [cutOff], rollback_ms: null });
      const boundMs = boundOf(load);
      await untilAnswered(load, replicas, commandMs + boundMs);
      t.same(versions(load.since(near.http, commandMs + boundMs)), ['v1'], 'the other followed');
      const stale = load.since(far.http, commandMs + boundMs);
      t.ok(
        stale.every((seen) => seen.revision < revision),
        'it serves what it last heard of',
      );
      t.same(versions(stale), ['v1', 'v2'], 'and says so with every answer');
      proxy.resume();
      await until('it follows', async () => load.since(far.http, commandMs).at(-1)?.revision === revision);
      const followedMs = performance.now();
      await untilAnswered(load, replicas, followedMs);
      t.same(versions(load.since(far.http, followedMs)), ['v1']);
      judge(
        t,
        load.seen.filter(({ endedMs }) => endedMs > commandMs),
        revision,
      );
    },
  );

  await load.stop();
  t.same(load.failures, [], 'no request failed');
  t.equal(
    load.seen.filter(({ verdict }) => verdict !== 'right').length,
    0,
    `all ${load.seen.length} answers are right`,
  );
});

/** By what a request took lately. */
function boundOf({ seen }: JudgedLoad): number {
  const took = seen.slice(-200).map(({ startedMs, endedMs }) => endedMs - startedMs);
  const median = took.sort((a, b) => a - b)[took.length >> 1] ?? 0;
  return Math.max(BOUND_MS, Math.round(BOUND_REQUESTS * median));
}

const versions = (seen: readonly Seen[]): readonly string[] =>
  [...new Set(seen.map(({ version }) => version))].sort();

/** Whatever the clock says: the return's revision serves the old version alone, and no replica goes back behind it. */
function judge(t: Test, seen: readonly Seen[], revision: number): void {
  t.same(
    seen.filter(({ verdict }) => verdict !== 'right'),
    [],
    `${seen.length} answers around the command are right, each of the version it names`,
  );
  t.same(
    seen.filter((one) => one.revision >= revision && one.version !== 'v1'),
    [],
    `nothing is served by the new version under revision ${revision}`,
  );
  const wentBack = seen.filter((one) =>
    seen.some(
      (other) =>
        other.replica === one.replica && other.endedMs < one.startedMs && other.revision > one.revision,
    ),
  );
  t.same(wentBack, [], 'what begins after an answer is never served by an older revision');
}

async function untilAnswered(
  load: JudgedLoad,
  replicas: readonly string[],
  startedMs: number,
): Promise<void> {
  for (const replica of replicas)
    await until(`${replica} answers`, async () => load.since(replica, startedMs).length >= LOOKED_AT);
}

async function checkerOf(models: Parameters<typeof builtBundles>[0]): Promise<Checker> {
  const checker = new Checker(TOP_K);
  const bundles = await builtBundles(models);
  for (const [version, model] of Object.entries(models))
    await checker.learn({ bundle: await builtBundle(bundles, version), model, ids: IDS }, QUERIES);
  return checker;
}
