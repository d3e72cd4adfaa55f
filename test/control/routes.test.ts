import t from 'tap';
import { startGateway } from '../../src/gateway/gateway.js';
import { silentLog } from '../fixtures/postgres.js';
import { routeOf, search, send, target, urlOf } from './http.js';
import { CORPUS, makeYard, until } from './yard.js';

t.test('operators and one gateway', async (t) => {
  const yard = await makeYard(t);
  const gateway = await startGateway(yard.config(), silentLog);
  t.teardown(() => gateway.close());
  const admin = urlOf(gateway.addresses.adminHttp);
  const http = urlOf(gateway.addresses.http);
  const address = `${admin}/v1/routes/${CORPUS}`;
  const put = (targets: unknown, revision: number, more: Record<string, unknown> = {}) =>
    send(address, 'PUT', { targets, reason: 'a test', ...more }, { 'if-match': `"${revision}"` });

  await t.test('a route shows its targets, its replicas and its revision as ETag', async (t) => {
    const answer = await send(address, 'GET');
    t.equal(answer.status, 200);
    t.equal(answer.etag, '"1"');
    t.match(answer.body, {
      corpus: CORPUS,
      revision: 1,
      targets: [
        { version: 'v1', weight: 10_000, role: 'active', fingerprint: yard.fp16.manifest.fingerprint },
      ],
    });
    const { value } = await until('the heartbeat', async () => {
      const route = await routeOf(admin, CORPUS);
      return route.replicas.length === 1 && route.replicas[0]?.lagging === false && route;
    });
    t.match(value.replicas, [
      {
        gateway_id: gateway.gatewayId,
        address: admin,
        applied_revision: 1,
        missing_builds: [],
        last_error: null,
      },
    ]);
    t.match((await send(`${admin}/v1/routes`, 'GET')).body, { routes: [{ corpus: CORPUS }] });
    t.match(await send(`${admin}/v1/routes/nothing`, 'GET'), {
      status: 404,
      body: { reason: 'UNKNOWN_CORPUS' },
    });
  });

  await t.test('a change must say what it is based on', async (t) => {
    const body = { targets: [target('v1', 10_000)], reason: 'a test' };
    const cases = [
      [{}, 428, 'PRECONDITION_REQUIRED'],
      [{ 'if-match': '*' }, 400, 'INVALID_ARGUMENT'],
      [{ 'if-match': '1' }, 400, 'INVALID_ARGUMENT'],
      [{ 'if-match': 'W/"1"' }, 400, 'INVALID_ARGUMENT'],
      [{ 'if-match': '"1", "2"' }, 400, 'INVALID_ARGUMENT'],
      [{ 'if-none-match': '"1"' }, 400, 'INVALID_ARGUMENT'],
      [{ 'if-match': '"1"', 'if-none-match': '*' }, 400, 'INVALID_ARGUMENT'],
      [{ 'if-none-match': '*' }, 412, 'REVISION_CONFLICT'],
      [{ 'if-match': '"0"' }, 412, 'REVISION_CONFLICT'],
      [{ 'if-match': '"7"' }, 412, 'REVISION_CONFLICT'],
    ] as const;
    for (const [headers, status, reason] of cases) {
      const answer = await send(address, 'PUT', body, headers);
      t.match(answer, { status, body: { reason } }, JSON.stringify(headers));
      if (status === 412) t.equal(answer.etag, '"1"', 'the current revision comes along');
    }
    t.equal((await routeOf(admin, CORPUS)).revision, 1);
  });

  await t.test('what is malformed is refused and changes nothing', async (t) => {
    const good = target('v1', 10_000);
    const cases: readonly (readonly [string, unknown, string])[] = [
      ['no reason', { targets: [good] }, 'INVALID_ARGUMENT'],
      ['a blank reason', { targets: [good], reason: ' ' }, 'INVALID_ARGUMENT'],
      ['an unknown field', { targets: [good], reason: 'x', revision: 3 }, 'UNKNOWN_FIELD'],
      ['an unknown field of a target', { targets: [{ ...good, wieght: 1 }], reason: 'x' }, 'UNKNOWN_FIELD'],
      ['no tier', { targets: [{ ...good, tier: undefined }], reason: 'x' }, 'INVALID_ARGUMENT'],
      ['an unknown role', { targets: [{ ...good, role: 'primary' }], reason: 'x' }, 'INVALID_ARGUMENT'],
      ['a weight of text', { targets: [{ ...good, weight: '1' }], reason: 'x' }, 'INVALID_ARGUMENT'],
      ['half a basis point', { targets: [{ ...good, weight: 9_999.5 }], reason: 'x' }, 'INVALID_ROUTE'],
      ['weights that do not sum', { targets: [target('v1', 9_000)], reason: 'x' }, 'INVALID_ROUTE'],
      ['no targets', { targets: [], reason: 'x' }, 'INVALID_ROUTE'],
      ['an unknown version', { targets: [target('v9', 10_000)], reason: 'x' }, 'UNKNOWN_CORPUS_VERSION'],
      ['an unknown build', { targets: [{ ...good, build: 'ffffffffff' }], reason: 'x' }, 'UNKNOWN_BUILD'],
      ['a NUL', { targets: [{ ...good, version: '\u0000' }], reason: '\u0000' }, 'UNKNOWN_CORPUS_VERSION'],
      ['no object', [], 'MALFORMED_REQUEST'],
    ];
    for (const [name, body, reason] of cases)
      t.match((await send(address, 'PUT', body, { 'if-match': '"1"' })).body, { reason }, name);
    t.match(await send(`${admin}/v1/routes/a%00b`, 'GET'), { status: 400 }, 'a NUL in the address');
    t.match(await send(address, 'POST', {}), { status: 405, body: { allow: 'GET, HEAD, PUT' } });
    t.match(await send(`${address}:rollback`, 'GET'), { status: 405, body: { allow: 'POST' } });
    t.match(await send(`${address}?x=1`, 'GET'), { status: 400, body: { reason: 'UNKNOWN_FIELD' } });
    for (const elsewhere of [`${address}:rollbackX`, `${address}:other`, `${address}/x`, `${admin}/v1/route`])
      t.match(await send(elsewhere, 'POST', {}), { status: 404, body: { reason: 'NOT_FOUND' } }, elsewhere);
    t.equal((await routeOf(admin, CORPUS)).revision, 1);
  });

  await t.test('weight on what a replica has not loaded is refused, and works after a preload', async (t) => {
    const split = [target('v1', 9_000), target('v2', 1_000)];
    const refused = await put(split, 1);
    t.match(refused, { status: 409, body: { reason: 'TARGET_NOT_READY', replicas: gateway.gatewayId } });
    t.match(refused.body.detail, gateway.gatewayId, 'the replica is named');
    const desired = `${admin}/v1/corpora/${CORPUS}/desired-targets`;
    const preload = await send(desired, 'POST', { version: 'v2', tier: 'ssd', reason: 'soon' });
    t.match(preload, { status: 200, body: { version: 'v2', fingerprint: yard.int8.manifest.fingerprint } });
    await until('the preload', async () => {
      const { body } = await send(desired, 'GET');
      const [first] = body.desired_targets as { ready: string[]; waiting: string[] }[];
      return first?.ready.includes(gateway.gatewayId);
    });
    const changed = await put(split, 1, { actor: 'ann' });
    t.match(changed, { status: 200, etag: '"2"', body: { revision: 2 } });
    await until('the revision', async () => (await search(http)).body.served_by, 1);
    await until(
      'the new revision serves',
      async () => ((await search(http)).body.served_by as { route_revision: number }).route_revision === 2,
    );
    const gone = await send(`${desired}/v2?reason=done`, 'DELETE');
    t.equal(gone.status, 204);
    t.match(await send(`${desired}/v2`, 'DELETE'), { status: 400, body: { reason: 'INVALID_ARGUMENT' } });
    t.match((await send(`${admin}/v1/changes?limit=1`, 'GET')).body, {
      changes: [{ actor: 'admin', reason: 'done', subject: `desired_target ${CORPUS}/v2` }],
    });
  });

  await t.test('a raw vector of a model of the same dimensions goes to its own model alone', async (t) => {
    const vector = Array.from({ length: 384 }, (_, at) => Math.sin(at));
    const own = await search(http, { text: undefined, vector, model: yard.int8.manifest.fingerprint });
    t.match(own, { status: 200, body: { served_by: { corpus_version: 'v2' } } });
    await put([target('v1', 10_000)], 2);
    await until(
      'v2 is out',
      async () => ((await search(http)).body.served_by as { route_revision: number }).route_revision === 3,
    );
    const works = { models: 'all-minilm-l6-v2@1-fp16', fingerprints: yard.fp16.manifest.fingerprint };
    const refused = [
      [{}, 400, 'MODEL_REQUIRED'],
      [{ model: 'nobody@1' }, 404, 'UNKNOWN_MODEL'],
      [{ model: yard.int8.manifest.fingerprint }, 409, 'MODEL_MISMATCH'],
    ] as const;
    for (const [model, status, reason] of refused) {
      const answer = await search(http, { text: undefined, vector, ...model });
      t.match(answer, { status, body: { reason, ...works } }, reason);
      t.match(answer.body.detail, /all-minilm-l6-v2@1-fp16/, 'and says which model would work');
    }
  });

  await t.test('of two operators one wins, and the other is shown the current revision', async (t) => {
    const attempts = await Promise.all(
      ['ann', 'bob'].map((actor) =>
        send(
          address,
          'PUT',
          { targets: [target('v1', 10_000)], reason: actor },
          { 'if-match': '"3"', 'x-switchyard-actor': actor },
        ),
      ),
    );
    t.same(attempts.map(({ status }) => status).sort(), [200, 412]);
    const lost = attempts.find(({ status }) => status === 412);
    t.match(lost, { etag: '"4"', body: { reason: 'REVISION_CONFLICT', current_revision: '4' } });
  });

  await t.test(
    'a rollback is a new revision, and history says who, when, why, before and after',
    async (t) => {
      const rollback = (body: unknown, revision: number) =>
        send(`${address}:rollback`, 'POST', body, { 'if-match': `"${revision}"` });
      t.match(await rollback({ to_revision: 99, reason: 'x' }, 4), {
        status: 404,
        body: { reason: 'UNKNOWN_REVISION' },
      });
      t.match(await rollback({ to_revision: 2, reason: 'x' }, 3), { status: 412, etag: '"4"' });
      t.match(await send(`${address}:rollback`, 'POST', { to_revision: 2, reason: 'x' }), { status: 428 });
      // v2 was closed when it left the route, so it has to be loaded again, or the change to be forced.
      const back = await rollback({ to_revision: 2, reason: 'it was better', actor: 'cleo', force: true }, 4);
      t.match(back, {
        status: 200,
        etag: '"5"',
        body: { revision: 5, targets: [{ weight: 9_000 }, { weight: 1_000 }] },
      });
      const { body } = await send(`${address}/revisions`, 'GET');
      t.match(body.revisions, [
        {
          revision: 5,
          actor: 'cleo',
          reason: 'it was better',
          forced: true,
          rolled_back_to: 2,
          before: [{ version: 'v1', weight: 10_000 }],
          after: [
            { version: 'v1', weight: 9_000 },
            { version: 'v2', weight: 1_000 },
          ],
        },
        { revision: 4, forced: false, rolled_back_to: null },
        { revision: 3, actor: 'admin' },
        { revision: 2, actor: 'ann' },
        { revision: 1, before: null },
      ]);
      t.equal(((await send(`${address}/revisions?limit=2`, 'GET')).body.revisions as unknown[]).length, 2);
      t.equal((await send(`${address}/revisions?limit=0`, 'GET')).status, 400);
    },
  );
});
