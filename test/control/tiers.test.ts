import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { silentLog } from '../fixtures/postgres.js';
import { routeOf, search, send, target, urlOf } from './http.js';
import { CORPUS, makeYard, sleep, until } from './yard.js';

const WAIT_MS = 60_000;

/** Another text in every request, so that no cache answers for the index. */
function keepAsking(http: string, ask: string) {
  let isStopped = false;
  const refused: string[] = [];
  const tiers = new Set<string>();
  const work = (async () => {
    for (let at = 0; !isStopped; at++) {
      const { status, body } = await search(http, { text: `${ask} ${at}` });
      if (status === 200) tiers.add((body.served_by as { tier: string }).tier);
      else refused.push(`${status} ${body.reason}`);
      await sleep(5);
    }
  })();
  return {
    refused,
    tiers,
    stop: async () => {
      isStopped = true;
      await work;
    },
  };
}

t.test('tiers of a target', async (t) => {
  const memory = mkdtempSync('/dev/shm/switchyard-test-');
  t.teardown(() => rmSync(memory, { recursive: true, force: true }));
  const yard = await makeYard(t);
  const builds = await yard.registry.builds.list({ corpus: CORPUS });
  const filesOf = (label: string): Record<string, { bytes: number }> => {
    const build = builds.find(({ version }) => version === label);
    if (build === undefined) throw new Error(`${label} has no build`);
    return (build.manifest as { files: Record<string, { bytes: number }> }).files;
  };
  const bytes = filesOf('v1')['index.usearch']?.bytes ?? 0;
  const config = { ...yard.config(), tiers: { memoryDir: memory, dramBytesMax: bytes + 100 } };
  const gateway = await startGateway(config, silentLog);
  t.teardown(() => gateway.close());
  const admin = urlOf(gateway.addresses.adminHttp);
  const http = urlOf(gateway.addresses.http);
  const changed = async (method: string, path: string, body: Record<string, unknown>) => {
    const { revision } = await routeOf(admin, CORPUS);
    return send(
      `${admin}/v1/routes/${CORPUS}${path}`,
      method,
      { ...body, reason: 'a test' },
      { 'if-match': `"${revision}"` },
    );
  };
  const put = (targets: unknown, more: Record<string, unknown> = {}) =>
    changed('PUT', '', { targets, ...more });
  const rollback = (to_revision: number, more: Record<string, unknown> = {}) =>
    changed('POST', ':rollback', { to_revision, ...more });
  const untilTier = (tier: string) =>
    until(
      `answers from ${tier}`,
      async () => {
        const { body } = await search(http, { text: `which tier ${Math.random()}` });
        return (body.served_by as { tier: string }).tier === tier;
      },
      WAIT_MS,
    );
  const root = path.join(memory, `switchyard-${process.getuid?.()}`);

  await t.test('promotion and demotion under load fail no request', async (t) => {
    const load = ['alpha', 'beta'].map((ask) => keepAsking(http, ask));
    for (const tier of ['dram', 'ssd', 'dram']) {
      t.equal((await put([target('v1', 10_000, { tier })])).status, 200);
      await untilTier(tier);
    }
    for (const { stop } of load) await stop();
    for (const { refused, tiers } of load) {
      t.same(refused, []);
      t.same([...tiers].sort(), ['dram', 'ssd']);
    }
    t.equal(readdirSync(root).filter((name) => name.endsWith('.holder')).length, 1, 'one copy is held');
  });

  await t.test('metrics name each index with its tier, where it lies and what it takes', async (t) => {
    const text = await (await fetch(`${admin}/metrics`)).text();
    const labels = 'corpus="docs",version="v1",build="[0-9a-f]{16}",tier="dram",placement="memory"';
    t.match(text, new RegExp(`^switchyard_index_resident_bytes\\{${labels}\\} ${bytes}$`, 'm'));
    t.match(text, new RegExp(`^switchyard_index_file_bytes\\{${labels}\\} [1-9]`, 'm'));
    t.match(text, new RegExp(`^switchyard_dram_bytes_used ${bytes}$`, 'm'));
    t.match(text, /^switchyard_search_major_faults\{tier="ssd"\} \d+$/m);
    t.notMatch(text, /^switchyard_index_major_faults_total\{.*placement="memory"/m, 'memory has none');
  });

  await t.test('and those of shadows, which are mapped from disk by a process of their own', async (t) => {
    const shadow = { role: 'shadow', mirror_bps: 10_000 };
    t.equal((await put([target('v1', 10_000, { tier: 'dram' }), target('v2', 0, shadow)])).status, 200);
    const shadowBytes = Object.values(filesOf('v2')).reduce((sum, { bytes }) => sum + bytes, 0);
    const labels = 'corpus="docs",version="v2",build="[0-9a-f]{16}",tier="ssd",placement="process"';
    const line = (name: string, value: string) =>
      new RegExp(`^switchyard_index_${name}\\{${labels}\\} ${value}$`, 'm');
    const metrics = async () => (await fetch(`${admin}/metrics`)).text();
    const isThere = line('file_bytes', String(shadowBytes));
    await until('the shadow is open', async () => isThere.test(await metrics()), WAIT_MS);
    t.match(await metrics(), line('major_faults_total', '\\d+'));
    t.match(await metrics(), line('resident_bytes', '\\d+'));
  });

  await t.test('what does not fit into the memory budget is refused, by how much', async (t) => {
    const refused = {
      status: 507,
      body: { reason: 'MEMORY_BUDGET', detail: /[0-9]+ are missing: serve it from ssd/ },
    };
    const { paths } = (await send(`${admin}/openapi.json`, 'GET')).body as unknown as {
      paths: Record<string, Record<string, { responses: Record<string, unknown> }>>;
    };
    for (const [address, method] of [
      ['/v1/routes/{corpus}', 'put'],
      ['/v1/routes/{corpus}:rollback', 'post'],
      ['/v1/corpora/{corpus}/desired-targets', 'post'],
    ] as const)
      t.ok(paths[address]?.[method]?.responses['507'], `the OpenAPI of ${address} says so`);
    const { revision } = await routeOf(admin, CORPUS);
    const both = [target('v1', 5_000, { tier: 'dram' }), target('v2', 5_000, { tier: 'dram' })];
    t.match(await put(both), refused);
    t.equal((await routeOf(admin, CORPUS)).revision, revision);
    const desired = `${admin}/v1/corpora/${CORPUS}/desired-targets`;
    t.match(await send(desired, 'POST', { version: 'v2', tier: 'dram', reason: 'a test' }), refused);
    t.equal((await send(desired, 'POST', { version: 'v2', tier: 'ssd', reason: 'a test' })).status, 200);

    const forced = await put(both, { force: true });
    t.equal(forced.status, 200, 'force leaves the check out');
    const back = await rollback(revision);
    t.equal(back.status, 200, 'back to what is held is never refused');
    t.match(
      await rollback(Number(forced.body.revision)),
      refused,
      'nor is a rollback a way around the budget',
    );
    t.equal((await routeOf(admin, CORPUS)).revision, back.body.revision, 'nothing was recorded');
    t.match(await rollback(99), { status: 404, body: { reason: 'UNKNOWN_REVISION' } });
    t.equal((await rollback(Number(forced.body.revision), { force: true })).status, 200);
    t.equal((await rollback(revision)).status, 200);
    t.equal((await search(http)).status, 200);
  });

  await t.test('nothing stays in memory when the gateway is gone', async (t) => {
    await gateway.close();
    t.same(readdirSync(root), []);
  });
});
