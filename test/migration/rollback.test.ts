import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { SilentProxy } from '../../bench/chaos/silent-proxy.js';
import { Checker } from '../../bench/judge/checker.js';
import { processTree } from '../../bench/load/process-cpu.js';
import { packageBinaries, startGivenServer } from '../../bench/rig/given-server.js';
import type { MigrationEventView, MigrationView } from '../../src/gateway/admin/migration-views.js';
import { STEP_KINDS } from '../../src/lifecycle/migration/plan-schema.js';
import { modelRef } from '../../src/vocabulary.js';
import { startGatewayProcess } from '../control/processes.js';
import { AUTHOR, builtBundle, builtBundles, CORPUS, makeYard, until } from '../control/yard.js';
import { wordNetGlosses } from '../fixtures/glosses.js';
import { DriverProcess } from './drivers.js';
import { ASKING, behind, EVERYWHERE, IN_PAUSE, RETIRING, STEPS, type Where } from './everywhere.js';
import { JudgedLoad } from './judged-load.js';
import { boundOf, judge, untilAnswered, untilServed, versions } from './judging.js';
import { ask, askOnce, untilMigration } from './migrating.js';

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
const V1 = { corpus: CORPUS, version: 'v1' };
const BATCH = 40;
/** Of a build that takes longer than a command. */
const GLOSSES = 2_000;

const SETTINGS = {
  // A machine that others keep busy is not what is tested.
  SWITCHYARD_OVERLOAD__ENABLED: 'false',
  SWITCHYARD_MIRROR__NICENESS: '0',
  // Told by notification alone: polling would come after a minute.
  SWITCHYARD_ROUTER__POLL_INTERVAL_MS: '60000',
  SWITCHYARD_ROUTER__HEARTBEAT_INTERVAL_MS: '200',
  SWITCHYARD_MIGRATION__SAMPLE_INTERVAL_MS: '50',
  SWITCHYARD_MIGRATION__DRIVE: 'false',
};
const LEASE_MS = 1_500;
const SETTLE_MS = 2_000;

t.test('two gateways under load go back to the old version', async (t) => {
  const server = await startGivenServer(t, await packageBinaries(t));
  const proxy = await SilentProxy.open(server.port);
  t.teardown(() => proxy.close());
  const yard = await makeYard(t, server.url());
  const { registry, varDir } = yard;
  const checker = await checkerOf({ v1: yard.fp16, v2: yard.int8 });
  const throughProxy = server.url().replace(`:${server.port}/`, `:${proxy.port}/`);
  const [near, far] = await Promise.all(
    [server.url(), throughProxy].map((databaseUrl) =>
      startGatewayProcess(t, varDir, { ...SETTINGS, DATABASE_URL: databaseUrl }),
    ),
  );
  if (near === undefined || far === undefined) throw new Error('two were started');
  const driver = new DriverProcess(t, {
    ...{ varDir, databaseUrl: server.url(), url: near.http },
    ...{ leaseMs: LEASE_MS, settleMs: SETTLE_MS },
  });
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
  const migrations = `${near.admin}/v1/migrations/${CORPUS}`;
  const ended = () =>
    untilMigration(near.admin, CORPUS, 'ended', ({ finished_at, state }) => {
      return finished_at !== null && state !== 'completed';
    });
  const start = async (t: Test, to_version: string, steps: readonly object[]): Promise<void> => {
    const plan = JSON.stringify({ steps });
    const { status, body } = await ask(migrations, 'POST', { to_version, plan, ...AUTHOR });
    t.equal(status, 200, status === 200 ? 'started' : JSON.stringify(body));
  };
  const deletedArchives = async () =>
    (await registry.archives.list(V1)).filter(({ deletedAt }) => deletedAt !== null);
  /** Of requests that were under way, those that the revision of before answered when the command was in force. */
  let answeredByOld = 0;

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

  /** The command, while requests are under way. What was answered around it is right, and none of it failed. */
  const command = async (t: Test, verb: Where['verb']) => {
    const batches = Promise.all(replicas.map((replica) => load.batch(replica, BATCH)));
    // A failure is seen when it is awaited; until then it must not count as unhandled.
    batches.catch(() => undefined);
    const { value } = await until('the command is answered', async () => {
      const commandMs = performance.now();
      const answered = await askOnce<MigrationView>(`${migrations}:${verb}`, 'POST', AUTHOR);
      // Not taken: the registry could not be reached in time.
      return answered.status === 503 ? null : { ...answered, commandMs };
    });
    const { status, body, commandMs } = value;
    const answeredMs = performance.now();
    t.equal(status, 200, status === 200 ? 'the command is taken' : JSON.stringify(body));
    const state = verb === 'abort' ? 'aborted' : 'rolled_back';
    t.match(body, { state, weight: 0 }, 'the old version has everything');
    const around = [...(await batches).flat(), ...load.seen].filter(({ endedMs }) => endedMs > commandMs);
    const inFlight = around.filter(({ startedMs }) => startedMs < commandMs);
    t.ok(inFlight.length > 0, `${inFlight.length} requests were in flight at the command`);
    const revision = body.route_revision;
    answeredByOld += inFlight.filter((one) => one.endedMs > answeredMs && one.revision < revision).length;
    judge(t, around, revision);
    return { commandMs, revision };
  };

  /** Every replica reaches the registry: within the bound the old version serves alone. */
  const followed = async (t: Test, { commandMs, revision }: { commandMs: number; revision: number }) => {
    const boundMs = boundOf(load);
    await untilAnswered(load, replicas, commandMs + boundMs);
    const after = load.seen.filter(({ startedMs }) => startedMs > commandMs);
    const late = after.filter(({ startedMs, version }) => {
      return startedMs > commandMs + boundMs && version !== 'v1';
    });
    t.same(late, [], `nothing that began ${boundMs} ms after the command is served by the new version`);
    judge(t, after, revision);
    for (const replica of replicas) {
      const last = load.since(replica, commandMs).findLast(({ version }) => version === 'v2');
      if (last !== undefined)
        t.comment(`last served by the new version ${(last.startedMs - commandMs).toFixed(0)} ms after it`);
    }
    return boundMs;
  };

  await t.test('from the middle of build, which ends', async (t) => {
    const source = 'glosses.jsonl';
    const glosses = await wordNetGlosses(GLOSSES);
    await mkdir(path.join(varDir, 'sources'));
    await writeFile(
      path.join(varDir, 'sources', source),
      glosses.map((text, at) => `${JSON.stringify({ id: `d${at}`, text })}\n`).join(''),
    );
    const inBuild = { event: 1, at: 'progress documents embedded', nth: 1, when: 'after' } as const;
    const isThere = driver.driveUntil(inBuild);
    const [, ...rest] = STEPS;
    await start(t, 'v3', [{ build: { model: modelRef(yard.int8.manifest), source } }, ...rest]);
    await isThere;
    t.ok(processTree(driver.child.pid ?? 0).length > 1, 'a process of its own embeds');
    await command(t, 'abort');
    t.match(await ended(), { state: 'aborted', step: 1, weight: 0, rollback_ms: null, lagging: [] });
    await until('it is gone', async () => processTree(driver.child.pid ?? 0).length === 1);
    t.match(await registry.corpusVersions.get({ corpus: CORPUS, version: 'v3' }), {
      status: 'building',
      defaultBuild: null,
    });
    driver.goOn();
  });

  t.same(
    new Set(['build', ...EVERYWHERE.map(({ step }) => step)]),
    new Set(STEP_KINDS),
    'and from the middle of every kind of step',
  );
  for (const { step, weight, verb, isReleased, steps = STEPS, ...point } of EVERYWHERE)
    await t.test(`from the middle of ${step}, where the new version has ${weight / 100} %`, async (t) => {
      const isThere = driver.driveUntil(point);
      await start(t, 'v2', steps);
      await isThere;
      const view = (await ask<MigrationView>(migrations)).body;
      const at = view.steps[(view.step ?? 0) - 1]?.name ?? '';
      t.match({ ...view, at }, { state: 'running', weight, at: new RegExp(`^${step}`) });
      if (weight > 0) await untilServed(load, replicas, 'v2');
      const told = await command(t, verb);
      if (isReleased) {
        // What the driver had in hand meets the return.
        driver.goOn();
        await untilServed(load, replicas, 'v1', told.revision);
        await untilAnswered(load, replicas, performance.now());
        judge(
          t,
          load.seen.filter(({ startedMs }) => startedMs > told.commandMs),
          told.revision,
        );
        t.match(await ended(), { state: 'rolled_back', lagging: [] });
      } else {
        const boundMs = await followed(t, told);
        const view = await ended();
        t.same(view.lagging, [], 'every replica followed');
        if (weight === 0) t.equal(view.rollback_ms, null, 'it had served nothing');
        else t.ok((view.rollback_ms ?? Number.POSITIVE_INFINITY) <= boundMs, `${view.rollback_ms} ms`);
      }
      // Nobody waited for what the driver had in hand; it comes to its end now, and to nothing.
      if (point.at === ASKING.at) await driver.goOnUntilAnswered();
      else driver.goOn();
      await untilAnswered(load, replicas, performance.now());
      const { body } = await ask<{ events: readonly MigrationEventView[] }>(`${migrations}/events`);
      const after = body.events.slice(point.event).map(({ event }) => event);
      // Where nothing was placed and nothing asked to load, there is nobody to wait for.
      t.same(after, step === 'verify' ? [verb] : [verb, 'settled']);
      t.same(await registry.desiredTargets.list({ corpus: CORPUS }), [], 'nothing is to be loaded any more');
      t.match(await registry.routes.get(CORPUS), { revision: told.revision });
      t.not((await registry.corpusVersions.get({ corpus: CORPUS, version: 'v1' })).status, 'archived');
    });

  await t.test('an abort keeps the old version that a driver is about to take out of service', async (t) => {
    const isThere = driver.driveUntil(RETIRING);
    await start(t, 'v2', STEPS);
    await isThere;
    const aborted = await ask<MigrationView>(`${migrations}:abort`, 'POST', AUTHOR);
    t.match(aborted, { status: 200, body: { state: 'completed', weight: 10_000 } }, 'the new version serves');
    await driver.goOnUntilAnswered();
    t.not((await registry.corpusVersions.get(V1)).status, 'archived');
    const told = await command(t, 'rollback');
    await untilServed(load, replicas, 'v1', told.revision);
    t.match(await ended(), { state: 'rolled_back', lagging: [] });
    t.same(await deletedArchives(), []);
  });

  await t.test('from one that completed: the old version is loaded first, and nothing fails', async (t) => {
    await driver.drive(null);
    await start(
      t,
      'v2',
      STEPS.filter((step) => !('retire' in step)),
    );
    await untilMigration(near.admin, CORPUS, 'completed', ({ state }) => state === 'completed');
    await untilServed(load, replicas, 'v2');
    t.match(await ask(`${migrations}:abort`, 'POST', AUTHOR), { status: 409 }, 'there is nothing to abort');
    const told = await command(t, 'rollback');
    await untilServed(load, replicas, 'v1', told.revision);
    const followedMs = performance.now();
    await untilAnswered(load, replicas, followedMs);
    for (const replica of replicas)
      t.same(versions(load.since(replica, followedMs)), ['v1'], 'the old version serves');
    t.match(await ended(), { state: 'rolled_back', lagging: [] });
  });

  await t.test(
    'a replica that is cut off from the registry is named, and follows when it is back',
    async (t) => {
      const isThere = driver.driveUntil(behind(IN_PAUSE, 'migrations.now'));
      await start(t, 'v2', STEPS);
      await isThere;
      await untilServed(load, replicas, 'v2');
      const cutOff = (await registry.gateways.list()).find(({ address }) => address === far.admin)?.gatewayId;
      t.type(cutOff, 'string');
      proxy.silence();
      const { commandMs, revision } = await command(t, 'rollback');
      t.match(await ended(), { state: 'rolled_back', lagging: [cutOff], rollback_ms: null });
      const boundMs = boundOf(load);
      await untilAnswered(load, replicas, commandMs + boundMs);
      t.same(versions(load.since(near.http, commandMs + boundMs)), ['v1'], 'the other followed');
      // Half of its requests each: sooner or later it serves by either.
      const staleOf = () => load.since(far.http, commandMs + boundMs);
      await until('it serves what it last heard of', async () => versions(staleOf()).length === 2);
      const stale = staleOf();
      t.ok(
        stale.every((seen) => seen.revision < revision),
        'it serves what it last heard of',
      );
      t.same(versions(stale), ['v1', 'v2'], 'and says so with every answer');
      proxy.resume();
      await untilServed(load, replicas, 'v1', revision);
      const followedMs = performance.now();
      await untilAnswered(load, replicas, followedMs);
      t.same(versions(load.since(far.http, followedMs)), ['v1']);
      judge(
        t,
        load.seen.filter(({ endedMs }) => endedMs > commandMs),
        revision,
      );
      driver.goOn();
    },
  );

  await t.test('one that is archived already is past an abort: what is left is finished', async (t) => {
    const isThere = driver.driveUntil({ ...RETIRING, when: 'after' });
    await start(t, 'v2', STEPS);
    await isThere;
    const refused = await ask<{ detail: string }>(`${migrations}:abort`, 'POST', AUTHOR);
    t.equal(refused.status, 409);
    t.match(refused.body.detail, /docs\/v1 is archived.*is being finished.*restore docs\/v1/);
    t.match(await ask(migrations), { body: { state: 'running' } });
    driver.goOn();
    await untilMigration(near.admin, CORPUS, 'completed', ({ state }) => state === 'completed');
    t.equal((await deletedArchives()).length, 1);
  });

  t.equal(await driver.stop(), 0);
  await load.stop();
  t.ok(answeredByOld > 0, `${answeredByOld} requests that a command overtook were answered as they began`);
  t.same(load.failures, [], 'no request failed');
  t.equal(
    load.seen.filter(({ verdict }) => verdict !== 'right').length,
    0,
    `all ${load.seen.length} answers are right`,
  );
});

async function checkerOf(models: Parameters<typeof builtBundles>[0]): Promise<Checker> {
  const checker = new Checker(TOP_K);
  const bundles = await builtBundles(models);
  for (const [version, model] of Object.entries(models))
    await checker.learn({ bundle: await builtBundle(bundles, version), model, ids: IDS }, QUERIES);
  return checker;
}
