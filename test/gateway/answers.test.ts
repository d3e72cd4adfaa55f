import t from 'tap';
import { DIMENSIONS } from './brute-force-service.js';
import { f32le, type Outcome, startGateway } from './harness.js';

const hitsOf = (outcome: Outcome): { id: string }[] => outcome.body.hits as { id: string }[];
const ids = (outcome: Outcome): string[] => hitsOf(outcome).map((hit) => hit.id);
const MODEL = 'words@1';
const vector = Array.from({ length: DIMENSIONS }, (_, i) => Math.sin(i + 1));

t.test('the faces answer over both protocols', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());

  t.test('a text finds its document, and the answer names what served it', async (t) => {
    const request = { corpus: 'animals', text: 'a big cat with stripes', top_k: 3, with_document: true };
    const overGrpc = await gateway.call('Search', request);
    const overHttp = await gateway.post('/v1/search', request);
    for (const outcome of [overGrpc, overHttp]) {
      t.equal(outcome.reason, 'OK');
      t.equal(ids(outcome)[0], 'tiger');
      t.equal(ids(outcome).length, 3);
      t.match(outcome.body.served_by, {
        corpus_version: 'v1',
        build: 'd'.repeat(16),
        model: MODEL,
        route_revision: 7,
        result_cache: 'MISS',
      });
    }
    t.match(overGrpc.body, {
      served_by: { tier: 'DRAM' },
      timings: { queue_us: 2, encode_us: 20, search_us: 30 },
    });
    t.match(overHttp.body, {
      served_by: { tier: 'dram' },
      timings: { queue_us: 2, encode_us: 20, search_us: 30 },
    });
    const [grpcHit] = overGrpc.body.hits as { document: { title: string; attributes_json: string } }[];
    t.match(grpcHit?.document, { title: 'tiger', attributes_json: '{"row":0}' });
    const [httpHit] = overHttp.body.hits as { document: unknown }[];
    t.match(httpHit?.document, { title: 'tiger', attributes: { row: 0 } });
  });

  t.test('every spelling of a vector gives the same hits', async (t) => {
    const base = { corpus: 'animals', model: MODEL, top_k: 5 };
    const bytes = f32le(vector);
    const outcomes = [
      await gateway.call('Search', { ...base, vector: { values: vector } }),
      await gateway.call('Search', { ...base, vector: { f32le: bytes } }),
      await gateway.post('/v1/search', { ...base, vector }),
      await gateway.post('/v1/search', { ...base, vector: { f32le: bytes.toString('base64') } }),
    ];
    for (const outcome of outcomes) {
      t.equal(outcome.reason, 'OK', outcome.message);
      t.same(ids(outcome), ids(outcomes[0] as Outcome));
    }
    t.notOk(
      hitsOf(outcomes[2] as Outcome).some((hit) => 'document' in hit),
      'no documents unless asked for',
    );
  });

  t.test('a request is live unless it says that it is bulk', async (t) => {
    const search = { corpus: 'animals', text: 'fish' };
    const embed = { model: 'words@1', text: 'fish' };
    for (const [method, path, request] of [
      ['Search', '/v1/search', search],
      ['Embed', '/v1/embed', embed],
    ] as const) {
      await gateway.call(method, request);
      t.equal(gateway.service.lastPriority, 'live');
      await gateway.call(method, { ...request, priority: 'PRIORITY_BULK' });
      t.equal(gateway.service.lastPriority, 'bulk');
      await gateway.post(path, request);
      t.equal(gateway.service.lastPriority, 'live');
      await gateway.post(path, { ...request, priority: 'bulk' });
      t.equal(gateway.service.lastPriority, 'bulk');
    }
  });

  t.test('without top_k ten documents come back', async (t) => {
    t.equal(ids(await gateway.call('Search', { corpus: 'animals', text: 'fish' })).length, 10);
    t.equal(ids(await gateway.post('/v1/search', { corpus: 'animals', text: 'fish' })).length, 10);
  });

  t.test('a batch answers every item or its error, in order', async (t) => {
    const requests = [
      { corpus: 'animals', text: 'a horse with stripes', top_k: 1 },
      { corpus: 'animals', text: 'fish', top_k: 0 },
      { corpus: 'animals', text: 'fish', model: 'words@9' },
      { corpus: 'animals', text: 'an insect that makes honey', top_k: 1 },
    ];
    const overGrpc = await gateway.call('BatchSearch', { requests });
    const overHttp = await gateway.post('/v1/search:batch', { requests });
    for (const outcome of [overGrpc, overHttp]) {
      const items = outcome.body.items as {
        response?: { hits: { id: string }[] };
        error?: { reason: string };
      }[];
      t.same(
        items.map((item) => item.error?.reason ?? item.response?.hits[0]?.id),
        ['zebra', 'INVALID_ARGUMENT', 'UNKNOWN_MODEL', 'bee'],
      );
    }
  });

  t.test('a batch of refused items reaches no service', async (t) => {
    const before = gateway.service.callCount;
    const outcome = await gateway.post('/v1/search:batch', { requests: [{ corpus: 'animals', text: ' ' }] });
    t.match(outcome.body, { items: [{ error: { reason: 'EMPTY_QUERY' } }] });
    t.equal(gateway.service.callCount, before);
  });

  t.test('an embedding is the same over both protocols, and fits a search', async (t) => {
    const request = { model: MODEL, text: 'a fish with many teeth' };
    const overGrpc = await gateway.call('Embed', { ...request, input_role: 'QUERY' });
    const overHttp = await gateway.post('/v1/embed', { ...request, input_role: 'query' });
    const bytes = overGrpc.body.f32le as Buffer;
    const values = overHttp.body.vector as number[];
    t.same(f32le(values), bytes);
    t.match(overHttp.body, { model: MODEL, dimensions: DIMENSIONS, token_count: 5, truncated: false });
    t.match(overGrpc.body, { model: MODEL, dimensions: DIMENSIONS, token_count: 5, truncated: false });
    const found = await gateway.post('/v1/search', {
      corpus: 'animals',
      model: MODEL,
      vector: values,
      top_k: 1,
    });
    t.same(ids(found), ['shark']);
  });

  t.test('a request id comes back when it is valid, else a fresh one', async (t) => {
    const ask = async (id: string): Promise<string | null> => {
      const response = await fetch(`${gateway.url}/livez`, { headers: { 'x-request-id': id } });
      return response.headers.get('x-request-id');
    };
    t.equal(await ask('trace-17'), 'trace-17');
    t.match(await ask('has space'), /^[0-9a-f]{12}-[0-9a-z]+$/);
    const refused = await gateway.post('/v1/search', {}, { 'x-request-id': 'trace-18' });
    t.equal(refused.body.instance, 'trace-18');
  });

  t.test('every request is counted with its outcome', async (t) => {
    gateway.counted.length = 0;
    await gateway.call('Search', { corpus: 'animals', text: 'fish' });
    await gateway.post('/v1/search', { corpus: 'animals', text: '' });
    await gateway.postRaw('/v1/search:batch', '{');
    await gateway.callRaw('Embed', Buffer.from([0xff]));
    t.same(gateway.counted, [
      { protocol: 'grpc', operation: 'search', outcome: 'OK' },
      { protocol: 'http', operation: 'search', outcome: 'EMPTY_QUERY' },
      { protocol: 'http', operation: 'batch_search', outcome: 'MALFORMED_REQUEST' },
      { protocol: 'grpc', operation: 'embed', outcome: 'MALFORMED_REQUEST' },
    ]);
  });

  t.test('the cause of an internal error is logged and not sent', async (t) => {
    gateway.service.failure = new Error('disk sector 9 is on fire');
    t.teardown(() => {
      gateway.service.failure = null;
    });
    gateway.logged.length = 0;
    const request = { corpus: 'animals', text: 'the text of the query' };
    const outcomes = [await gateway.call('Search', request), await gateway.post('/v1/search', request)];
    for (const outcome of outcomes) {
      t.equal(outcome.reason, 'INTERNAL');
      t.notMatch(JSON.stringify(outcome), /sector/);
    }
    const causes = gateway.logged.filter((line) => line.includes('disk sector 9'));
    t.equal(causes.length, 2);
    for (const [at, outcome] of outcomes.entries())
      t.match(causes[at], outcome.requestId, 'under the id that the client was told');
    t.notMatch(gateway.logged.join(), /the text of the query/);
  });
});
