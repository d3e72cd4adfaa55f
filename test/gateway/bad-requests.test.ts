import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import t from 'tap';
import { GRPC_CODES, REASONS, type Reason } from '../../src/errors.js';
import { badRequestCases, corpus, encode, MODEL } from './bad-request-cases.js';
import { DIMENSIONS } from './brute-force-service.js';
import { contract, type Gateway, LIMITS, type Outcome, startGateway } from './harness.js';

const CASES = badRequestCases({ corpus, model: MODEL, dimensions: DIMENSIONS, otherModel: 'words@2' });

const sendGrpc = (gateway: Gateway, message: object | Buffer): Promise<Outcome> =>
  Buffer.isBuffer(message) ? gateway.callRaw('Search', message) : gateway.call('Search', message);
const sendHttp = (gateway: Gateway, body: object | string | Buffer): Promise<Outcome> =>
  typeof body === 'string' || Buffer.isBuffer(body)
    ? gateway.postRaw('/v1/search', body)
    : gateway.post('/v1/search', body);

t.test('a bad request gets exactly its reason', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  for (const { name, reason, message, grpc, http } of CASES) {
    const entry = REASONS[reason];
    if (grpc !== undefined) {
      const outcome = await sendGrpc(gateway, grpc);
      t.equal(outcome.reason, reason, `grpc: ${name}: ${outcome.message}`);
      t.equal(outcome.status, GRPC_CODES[entry.grpc], `grpc: ${name}`);
      if (message !== undefined) t.match(outcome.message, message, `grpc: ${name}`);
    }
    if (http !== undefined) {
      const outcome = await sendHttp(gateway, http);
      t.equal(outcome.reason, reason, `http: ${name}: ${outcome.message}`);
      t.equal(outcome.status, entry.http, `http: ${name}`);
      if (message !== undefined) t.match(outcome.message, message, `http: ${name}`);
    }
  }
  const answer = await gateway.call('Search', { corpus, text: 'fish' });
  t.equal(answer.reason, 'OK', 'and the next good one is answered');
});

t.test('what UTF-8 allows is answered', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const LEGAL = {
    'U+FFFD itself': '\ufffd',
    'the last character': '\u{10ffff}',
    NUL: 'a\u0000b',
    emoji: '🐅',
  };
  for (const [name, text] of Object.entries(LEGAL)) {
    t.equal((await gateway.call('Search', { corpus, text })).reason, 'OK', `grpc: ${name}`);
    t.equal((await gateway.post('/v1/search', { corpus, text })).reason, 'OK', `http: ${name}`);
  }
  const escaped = '{"corpus":"animals","text":"\\ud83d\\udc05 \\\\ \\" {[ \\u007b"}';
  t.equal((await gateway.postRaw('/v1/search', escaped)).reason, 'OK', 'http: escapes, quotes and brackets');
});

t.test('a batch is refused as a whole for what is wrong with all of it', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const item = { corpus, text: 'fish' };
  const TABLE: readonly { name: string; reason: Reason; requests: object[] }[] = [
    { name: 'no items', reason: 'INVALID_ARGUMENT', requests: [] },
    {
      name: 'too many',
      reason: 'INVALID_ARGUMENT',
      requests: new Array(LIMITS.batchItemsMax + 1).fill(item),
    },
    { name: 'two corpora', reason: 'INVALID_ARGUMENT', requests: [item, { corpus: 'plants', text: 'rose' }] },
  ];
  for (const { name, reason, requests } of TABLE) {
    t.equal((await gateway.call('BatchSearch', { requests })).reason, reason, `grpc: ${name}`);
    t.equal((await gateway.post('/v1/search:batch', { requests })).reason, reason, `http: ${name}`);
  }
  const stranger = await gateway.post('/v1/search:batch', { requests: [item, { ...item, filter: 'x' }] });
  t.match(stranger, { reason: 'UNKNOWN_FIELD', details: { field: 'requests[1].filter' } });
});

t.test('an embedding is refused for its own reasons', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const TABLE: readonly { name: string; reason: Reason; request: object }[] = [
    { name: 'no model', reason: 'INVALID_ARGUMENT', request: { text: 'fish' } },
    { name: 'an unknown model', reason: 'UNKNOWN_MODEL', request: { model: 'words@9', text: 'fish' } },
    { name: 'no text', reason: 'EMPTY_QUERY', request: { model: MODEL, text: '' } },
  ];
  for (const { name, reason, request } of TABLE) {
    t.equal((await gateway.call('Embed', request)).reason, reason, `grpc: ${name}`);
    t.equal((await gateway.post('/v1/embed', request)).reason, reason, `http: ${name}`);
  }
  const role = contract
    .lookupType('switchyard.v1.EmbedRequest')
    .encode({ model: MODEL, text: 'x', input_role: 7 });
  t.equal((await gateway.callRaw('Embed', Buffer.from(role.finish()))).reason, 'INVALID_ARGUMENT');
  const word = await gateway.post('/v1/embed', { model: MODEL, text: 'x', input_role: 'passage' });
  t.match(word, { reason: 'INVALID_ARGUMENT', message: 'input_role must be one of query, document' });
  const priority = contract
    .lookupType('switchyard.v1.EmbedRequest')
    .encode({ model: MODEL, text: 'x', priority: 3 });
  t.equal((await gateway.callRaw('Embed', Buffer.from(priority.finish()))).reason, 'INVALID_ARGUMENT');
  const urgent = await gateway.post('/v1/search', { corpus, text: 'x', priority: 'shadow' });
  t.match(urgent, { reason: 'INVALID_ARGUMENT', message: 'priority must be one of live, bulk' });
});

t.test('a request beyond the size limit is refused, whatever its size', async (t) => {
  const gateway = await startGateway({ limits: { ...LIMITS, requestBytesMax: 10_000, textBytesMax: 5_000 } });
  t.teardown(() => gateway.close());
  const request = (bytes: number) => ({ corpus, text: 'x'.repeat(bytes) });
  const over = await gateway.call('Search', request(11_000));
  t.match(over, { reason: 'REQUEST_TOO_LARGE', status: GRPC_CODES.RESOURCE_EXHAUSTED });
  const farOver = await gateway.call('Search', request(50_000));
  t.equal(farOver.status, GRPC_CODES.RESOURCE_EXHAUSTED, 'the transport stops it while it arrives');
  const overHttp = await gateway.post('/v1/search', request(11_000));
  t.match(overHttp, { reason: 'REQUEST_TOO_LARGE', status: 413, message: /10000 bytes/ });
});

t.test('HTTP is refused with problem documents at every layer', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const good = JSON.stringify({ corpus, text: 'fish' });

  const plain = await gateway.postRaw('/v1/search', good, { 'content-type': 'text/plain' });
  t.match(plain, { reason: 'UNSUPPORTED_MEDIA_TYPE', status: 415 });
  const latin = await gateway.postRaw('/v1/search', good, {
    'content-type': 'application/json; charset=latin1',
  });
  t.match(latin, { reason: 'UNSUPPORTED_MEDIA_TYPE', status: 415 });
  const utf8 = await gateway.postRaw('/v1/search', good, {
    'content-type': 'application/json; charset=UTF-8',
  });
  t.equal(utf8.reason, 'OK');
  const zipped = await gateway.postRaw('/v1/search', good, { 'content-encoding': 'gzip' });
  t.match(zipped, { reason: 'UNSUPPORTED_ENCODING', status: 415 });
  t.match(await gateway.postRaw('/v1/searchXYZ', good), { reason: 'NOT_FOUND', status: 404 });
  t.match(
    await gateway.postRaw('/v1/nothing', '{'),
    { reason: 'NOT_FOUND', status: 404 },
    'the body is not read',
  );
  t.match(await gateway.postRaw('/%zz', good), { reason: 'NOT_FOUND' });
  t.match(await gateway.postRaw('/livez', good), { reason: 'METHOD_NOT_ALLOWED', status: 405 });
  t.match(await raw(gateway, 'GET', '/v1/search:batch'), { status: 405, allow: 'POST' });
  t.match(await raw(gateway, 'DELETE', '/v1/search'), { status: 405, allow: 'POST' });
  const giant = await raw(gateway, 'GET', '/livez', { 'x-giant': 'g'.repeat(20_000) });
  t.match(giant, { status: 431, reason: 'HEADERS_TOO_LARGE' });
  t.match(
    await garbage(gateway, 'NOT HTTP AT ALL\r\n\r\n'),
    /^HTTP\/1\.1 400 [\s\S]*"reason":"MALFORMED_REQUEST"/,
  );
  t.equal((await gateway.postRaw('/v1/search', good)).reason, 'OK');
});

t.test('a giant header over gRPC ends that call and nothing else', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const { Metadata } = await import('@grpc/grpc-js');
  const metadata = new Metadata();
  metadata.set('x-giant', 'g'.repeat(200_000));
  const code = await new Promise((resolve) => {
    gateway.client.makeUnaryRequest(
      '/switchyard.v1.SearchService/Search',
      (bytes: Buffer) => bytes,
      (bytes) => bytes,
      encode({ corpus, text: 'fish' }),
      metadata,
      { deadline: Date.now() + 5_000 },
      (error) => resolve(error?.code ?? 0),
    );
  });
  t.not(code, 0);
  t.equal((await gateway.call('Search', { corpus, text: 'fish' })).reason, 'OK');
});

t.test('memory stays flat under thousands of bad requests', async (t) => {
  const gateway = await startGateway();
  t.teardown(() => gateway.close());
  const small = CASES.filter(({ grpc, http }) => JSON.stringify([grpc, http]).length < 10_000);
  const round = async (): Promise<void> => {
    await Promise.all(
      small.flatMap(({ grpc, http }) => [
        ...(grpc === undefined ? [] : [sendGrpc(gateway, grpc)]),
        ...(http === undefined ? [] : [sendHttp(gateway, http)]),
      ]),
    );
  };
  for (let i = 0; i < 10; i++) await round();
  const warm = process.memoryUsage().rss;
  let sent = 0;
  for (let i = 0; i < 25; i++) {
    await round();
    sent += small.reduce((sum, { grpc, http }) => sum + (grpc ? 1 : 0) + (http === undefined ? 0 : 1), 0);
  }
  const grownMb = (process.memoryUsage().rss - warm) / 1e6;
  t.comment(`RSS grew by ${grownMb.toFixed(1)} MB over ${sent} requests, clients included`);
  t.ok(grownMb < 150, `grew by ${grownMb.toFixed(1)} MB`);
  t.equal(gateway.faces.inFlightCount, 0);
});

function raw(
  gateway: Gateway,
  method: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; allow: string | undefined; reason: unknown }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(gateway.url + path, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => {
        const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as { reason?: unknown };
        resolve({ status: response.statusCode ?? 0, allow: response.headers.allow, reason: body.reason });
      });
    });
    request.on('error', reject);
    request.end();
  });
}

function garbage(gateway: Gateway, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(gateway.faces.addresses.http.port, '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()));
    socket.end(bytes);
  });
}
