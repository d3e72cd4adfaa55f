import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import t from 'tap';
import { mintKey } from '../../src/gateway/auth/api-key.js';
import { contract } from '../gateway/harness.js';
import { type CollectedSpan, startCollector } from './collector.js';
import { startGatewayProcess } from './processes.js';
import { CORPUS, makeYard, mirrorToV2, until } from './yard.js';

const TEXT = 'a zebra-marker-4711 with stripes';
const MARKER = 'zebra-marker-4711';
const { token: KEY } = mintKey();
/** The part that nobody may know. */
const SECRET = KEY.slice(16);
const AUTHORIZATION = `Bearer ${KEY}`;
const PARENT_TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT_SPAN = 'b7ad6b7169203331';

const tracing = (endpoint: string, more: Readonly<Record<string, string>> = {}) => ({
  SWITCHYARD_TRACING__ENABLED: 'true',
  SWITCHYARD_TRACING__SAMPLE_BPS: '0',
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
  OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
  OTEL_BSP_SCHEDULE_DELAY: '50',
  ...more,
});

async function search(http: string, body: object, headers: Readonly<Record<string, string>> = {}) {
  const response = await fetch(`${http}/v1/search`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ corpus: CORPUS, ...body }),
  });
  return { response, body: (await response.json()) as { query_id?: string; served_by?: { build: string } } };
}

function searchGrpc(address: string, metadata: Metadata): Promise<Metadata> {
  const client = new Client(address, credentials.createInsecure());
  const identity = (bytes: Buffer): Buffer => bytes;
  const message = Buffer.from(
    contract.lookupType('switchyard.v1.SearchRequest').encode({ corpus: CORPUS, text: 'a bird' }).finish(),
  );
  return new Promise<Metadata>((resolve, reject) => {
    let initial = new Metadata();
    const call = client.makeUnaryRequest(
      '/switchyard.v1.SearchService/Search',
      identity,
      identity,
      message,
      metadata,
      { deadline: Date.now() + 60_000 },
      (error: ServiceError | null) => {
        client.close();
        if (error === null) resolve(initial);
        else reject(error);
      },
    );
    call.on('metadata', (given: Metadata) => {
      initial = given;
    });
  });
}

t.test('a traced query shows pick, cache, encode with its run, search and mirror', async (t) => {
  const yard = await makeYard(t);
  await mirrorToV2(yard);
  const collector = await startCollector(t);
  const gateway = await startGatewayProcess(t, yard.varDir, tracing(collector.url));
  await until('the shadow is ready', async () => {
    const { targets } = (await (await fetch(`${gateway.admin}/v1/status`)).json()) as {
      targets: { state: string }[];
    };
    return targets.length === 2 && targets.every(({ state }) => state === 'ready');
  });

  t.equal((await search(gateway.http, { text: 'untraced' })).response.headers.get('traceresponse'), null);
  const headers = {
    traceparent: `00-${PARENT_TRACE}-${PARENT_SPAN}-01`,
    tracestate: 'vendor=of-its-own',
    'x-request-id': 'request-of-the-client',
    authorization: AUTHORIZATION,
  };
  const { response, body } = await search(
    gateway.http,
    { text: TEXT, affinity_key: `key ${MARKER}` },
    headers,
  );
  t.equal(response.status, 200);
  t.match(response.headers.get('traceresponse'), new RegExp(`^00-${PARENT_TRACE}-[0-9a-f]{16}-01$`));
  t.equal(response.headers.get('x-request-id'), 'request-of-the-client');

  const ofTrace = (): CollectedSpan[] => collector.spans().filter(({ traceId }) => traceId === PARENT_TRACE);
  await until('all spans arrived', async () => {
    const names = ofTrace().map(({ name }) => name);
    return names.includes('mirror') && names.includes('http search');
  });
  const spans = ofTrace();
  const named = (name: string): CollectedSpan[] => spans.filter((span) => span.name === name);
  const [root] = named('http search');
  const [pick] = named('pick');
  const [mirror] = named('mirror');
  t.equal(root?.parentSpanId, PARENT_SPAN);
  t.match(root?.attributes, {
    'switchyard.query_id': body.query_id,
    'switchyard.request_id': 'request-of-the-client',
    'switchyard.corpus_version': 'v1',
    'switchyard.build': body.served_by?.build,
  });
  t.match(pick?.attributes, { 'switchyard.by': 'affinity_key', 'switchyard.mirrors': 1 });
  t.equal(pick?.parentSpanId, root?.spanId);
  t.same(
    named('cache')
      .filter(({ parentSpanId }) => parentSpanId === root?.spanId)
      .map(({ attributes }) => [attributes['switchyard.cache.kind'], attributes['switchyard.cache.outcome']])
      .sort(),
    [
      ['embedding', 'miss'],
      ['result', 'miss'],
    ],
  );
  t.match(mirror?.attributes, { 'switchyard.outcome': 'compared', 'switchyard.corpus_version': 'v2' });
  for (const [name, below] of [
    ['encode', root],
    ['encode', mirror],
    ['search', root],
    ['search', mirror],
  ] as const)
    t.equal(
      named(name).filter(({ parentSpanId }) => parentSpanId === below?.spanId).length,
      1,
      `${name} below ${below?.name}`,
    );
  const runs = collector.spans().filter(({ name }) => name === 'encode_batch');
  for (const encode of named('encode')) {
    const run = runs.find(({ spanId }) => spanId === encode.links[0]?.spanId);
    t.ok(run !== undefined && run.traceId !== PARENT_TRACE, 'linked to a run in a trace of its own');
    t.match(run?.attributes, {
      'switchyard.texts': 1,
      'switchyard.lane': encode.attributes['switchyard.lane'],
    });
  }
  for (const span of spans) t.ok(span.endNs >= span.startNs, `${span.name} ends after it began`);
  t.ok(spans.filter(({ name }) => name !== 'mirror').every(({ failed }) => !failed));

  await t.test('what was remembered says so, and a refusal says why', async (t) => {
    const [again, refused] = ['1'.repeat(32), '2'.repeat(32)];
    await search(gateway.http, { text: TEXT }, { traceparent: `00-${again}-${PARENT_SPAN}-01` });
    await search(
      gateway.http,
      { text: TEXT, model: 'no@1' },
      { traceparent: `00-${refused}-${PARENT_SPAN}-01`, authorization: AUTHORIZATION },
    );
    const spansOf = (id: string) => collector.spans().filter(({ traceId }) => traceId === id);
    await until('both are there', async () => spansOf(again).length > 1 && spansOf(refused).length > 0);
    t.match(spansOf(again).find(({ name }) => name === 'cache')?.attributes, {
      'switchyard.cache.kind': 'result',
      'switchyard.cache.outcome': 'memory',
    });
    t.notOk(
      spansOf(again).some(
        ({ name, parentSpanId }) =>
          name === 'encode' &&
          parentSpanId === spansOf(again).find((span) => span.name === 'http search')?.spanId,
      ),
    );
    const root = spansOf(refused).find(({ name }) => name === 'http search');
    t.equal(root?.failed, true);
    t.match(String(root?.attributes['error.type']), /^[A-Z_]+$/);
  });

  await t.test('gRPC takes the context from metadata and gives it back', async (t) => {
    const trace = '3'.repeat(32);
    const metadata = new Metadata();
    metadata.set('traceparent', `00-${trace}-${PARENT_SPAN}-01`);
    metadata.set('x-request-id', 'over-grpc');
    metadata.set('authorization', AUTHORIZATION);
    const told = await searchGrpc(gateway.grpc, metadata);
    t.match(String(told.get('traceresponse')[0]), new RegExp(`^00-${trace}-`));
    t.same(told.get('x-request-id'), ['over-grpc']);
    const { value } = await until('its span arrived', async () =>
      collector.spans().find(({ name, traceId }) => name === 'grpc search' && traceId === trace),
    );
    t.match(value, { parentSpanId: PARENT_SPAN, attributes: { 'rpc.system': 'grpc' } });
    t.same((await searchGrpc(gateway.grpc, new Metadata())).get('traceresponse'), []);
  });

  t.equal(await gateway.stop(), 0);
  t.match(collector.resources()[0], { 'service.name': 'switchyard', 'service.instance.id': /-/ });
  const sent = Buffer.concat(collector.bodies.map(({ bytes }) => bytes)).toString('utf8');
  t.notOk(sent.includes(MARKER), 'neither the text nor the affinity key is in a span');
  t.notOk(sent.includes(SECRET), 'nor the key that a client sent');
  t.notOk(sent.includes(yard.varDir), 'nor is the command line');
});

t.test('traces are protobuf by default, sampled by share, and never more than the limit', async (t) => {
  const yard = await makeYard(t);
  const collector = await startCollector(t);
  const gateway = await startGatewayProcess(
    t,
    yard.varDir,
    tracing(collector.url, {
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      SWITCHYARD_TRACING__SAMPLE_BPS: '10000',
      SWITCHYARD_TRACING__TRACES_PER_S_MAX: '1',
    }),
  );
  const { response } = await search(gateway.http, { text: TEXT }, { authorization: AUTHORIZATION });
  const traceId = response.headers.get('traceresponse')?.split('-')[1] ?? '';
  t.match(traceId, /^[0-9a-f]{32}$/, 'it began a trace of its own');
  const answers = await Promise.all(
    Array.from({ length: 40 }, () => search(gateway.http, { text: 'a cat' })),
  );
  t.ok(answers.some((answer) => answer.response.headers.get('traceresponse') === null));
  const metrics = await (await fetch(`${gateway.admin}/metrics`)).text();
  t.match(metrics, /^switchyard_traces_total\{outcome="over_limit"\} [1-9]/m);
  await gateway.stop();
  const [body] = collector.bodies;
  t.equal(body?.contentType, 'application/x-protobuf');
  t.ok(
    collector.bodies.some(({ bytes }) => bytes.includes(Buffer.from(traceId, 'hex'))),
    'the trace was sent',
  );
  for (const secret of [MARKER, SECRET])
    t.notOk(collector.bodies.some(({ bytes }) => bytes.includes(secret)));
});

t.test('a collector that is not there costs traces and nothing else', async (t) => {
  const yard = await makeYard(t);
  const gateway = await startGatewayProcess(
    t,
    yard.varDir,
    tracing('http://127.0.0.1:9', {
      SWITCHYARD_TRACING__SAMPLE_BPS: '10000',
      OTEL_EXPORTER_OTLP_TIMEOUT: '200',
    }),
  );
  for (let at = 0; at < 20; at++)
    t.equal((await search(gateway.http, { text: `${at}` })).response.status, 200);
  t.equal(await gateway.stop(), 0);
});

t.test('without tracing nothing of the SDK is loaded', async (t) => {
  const script = `
    const { createRequire } = await import('node:module');
    const { openTracing } = await import(${JSON.stringify(new URL('../../src/gateway/wiring/tracing.js', import.meta.url).href)});
    await import(${JSON.stringify(new URL('../../src/gateway/gateway.js', import.meta.url).href)});
    const off = await openTracing({ tracing: { enabled: false } }, 'id', null);
    const loaded = Object.keys(createRequire(${JSON.stringify(fileURLToPath(import.meta.url))}).cache);
    console.log(JSON.stringify({ off, all: loaded.length, otel: loaded.filter((file) => file.includes('@opentelemetry')) }));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  const { off, all, otel } = JSON.parse(stdout) as { off: null; all: number; otel: string[] };
  t.equal(off, null);
  t.ok(all > 50, `${all} modules were loaded`);
  // prom-client has the interfaces of the API, which do nothing by themselves.
  t.same(
    otel.filter((file) => !file.includes('@opentelemetry/api/')),
    [],
  );
});
