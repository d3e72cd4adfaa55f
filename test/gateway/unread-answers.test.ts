import { once } from 'node:events';
import t from 'tap';
import { SERVER_TLS } from '../fixtures/server-tls.js';
import { until } from '../process/wait.js';
import { bearer, KEYED_LISTENERS, makeKey, ringOf } from '../security/keys.js';
import { framed, Http2Client, MB, openHttp, requestOf } from '../security/unread-clients.js';
import { startGateway } from './harness.js';
import { LargeService } from './large-service.js';

t.test('what waits to leave over HTTP is counted in bytes, not in characters', async (t) => {
  const text = '虎'.repeat(8 * MB);
  let unread = (): number => 0;
  const service = new LargeService(text);
  const gateway = await startGateway({
    service,
    unread: { connectionBytesMax: 16 * MB, bytesMax: 128 * MB, sendTimeoutMs: 60_000 },
    onUnread: (bytes) => {
      unread = bytes;
    },
  });
  t.teardown(() => gateway.close());
  const asked = { corpus: 'animals', text: 'fish', top_k: 1, with_document: true };
  const { body } = await gateway.post('/v1/search', asked);
  const [hit] = body.hits as { readonly document: { readonly text: string } }[];
  t.ok(hit?.document.text === text, 'it comes as it is');
  const deaf = await openHttp(gateway.faces.addresses.http.port, false);
  t.teardown(() => void deaf.destroy());
  deaf.pause();
  deaf.write(requestOf(1) + requestOf(1, { with_document: false }));
  await until('both were asked, and one is held', () => service.callCount === 3 && unread() > 0);
  t.ok(unread() > 24 * MB, `${unread()} bytes`);
  let said = '';
  deaf.setEncoding('latin1').on('data', (chunk: string) => {
    said = said.slice(-1_000) + chunk;
  });
  deaf.resume();
  await until('the other is refused', () => said.includes('ANSWERS_UNREAD'));
  t.match(said, /HTTP\/1\.1 429/);
});

for (const scheme of ['http', 'https'])
  t.test(
    `over ${scheme}, connections from one port to two addresses are not taken for each other`,
    async (t) => {
      const key = makeKey();
      let open = (): number => 0;
      const gateway = await startGateway({
        listen: {
          ...KEYED_LISTENERS,
          grpc: {
            ...KEYED_LISTENERS.grpc,
            host: '0.0.0.0',
            ...(scheme === 'https' ? { tls: SERVER_TLS } : { allowPlaintext: true }),
          },
        },
        keys: ringOf([key]),
        unread: { connectionBytesMax: 4_096, bytesMax: 1_000_000, sendTimeoutMs: 60_000 },
        onConnections: (listener, counts) => {
          if (listener === 'grpc') open = () => counts().open;
        },
      });
      t.teardown(() => gateway.close());
      const { port } = gateway.faces.addresses.grpc;
      const ask = (client: Http2Client, top_k: number) =>
        client.call(
          framed('switchyard.v1.SearchRequest', {
            corpus: 'animals',
            text: 'fish',
            top_k,
            with_document: true,
          }),
          '/switchyard.v1.SearchService/Search',
          true,
          bearer(key.token),
        );
      const connectTo = async (address: string, localPort?: number): Promise<Http2Client> => {
        const from = { localAddress: '127.0.0.1', ...(localPort === undefined ? {} : { localPort }) };
        const client = new Http2Client(`${scheme}://${address}:${port}`, 0, from);
        t.teardown(() => client.session.destroy());
        await once(client.session, 'connect');
        return client;
      };
      const first = await connectTo('127.0.0.1');
      const second = await connectTo('127.0.0.2', first.session.socket?.localPort);
      await until('both are there', () => open() === 2);
      const answered = ask(first, 1);
      await until('the first is answered', () => answered.headers[':status'] === '200');
      second.session.destroy();
      await until('the second is gone', () => open() === 1);
      const calls = Array.from({ length: 20 }, () => ask(first, 24));
      const refused = () => calls.filter(({ headers }) => headers['grpc-status'] === '8');
      await until('all are answered', () => calls.every(({ headers }) => headers[':status'] === '200'));
      await until('what is too much is refused', () => refused().length > 15);
      t.match(refused()[0]?.headers['grpc-message'], /were not read, must be <= 4096/);
    },
  );

t.test('answers to holders of keys are found below the guard of gRPC, and counted', async (t) => {
  const key = makeKey();
  const gateway = await startGateway({
    listen: KEYED_LISTENERS,
    keys: ringOf([key]),
    unread: { connectionBytesMax: 4_096, bytesMax: 1_000_000, sendTimeoutMs: 60_000 },
  });
  t.teardown(() => gateway.close());
  const deaf = new Http2Client(`http://${gateway.grpcAddress}`, 0);
  t.teardown(() => deaf.session.destroy());
  const body = framed('switchyard.v1.SearchRequest', {
    corpus: 'animals',
    text: 'fish',
    top_k: 24,
    with_document: true,
  });
  const path = '/switchyard.v1.SearchService/Search';
  const calls = Array.from({ length: 20 }, () => deaf.call(body, path, true, bearer(key.token)));
  const refused = () => calls.filter(({ headers }) => headers['grpc-status'] === '8');
  await until('what is too much is refused', () => refused().length > 15);
  t.match(refused()[0]?.headers['grpc-message'], /were not read, must be <= 4096/);
  t.ok(gateway.counted.some(({ outcome }) => outcome === 'ANSWERS_UNREAD'));
});

t.test('answers of a few bytes are counted with what they cost beside them', async (t) => {
  const gateway = await startGateway({
    unread: { connectionBytesMax: 65_536, bytesMax: 1_000_000, sendTimeoutMs: 60_000 },
  });
  t.teardown(() => gateway.close());
  const deaf = new Http2Client(`http://${gateway.grpcAddress}`, 0);
  t.teardown(() => deaf.session.destroy());
  const check = Buffer.alloc(5);
  const calls = Array.from({ length: 50 }, () => deaf.call(check, '/grpc.health.v1.Health/Check'));
  const reset = () => calls.filter(({ stream, headers }) => stream.closed || headers['grpc-status'] === '8');
  await until('what is too much is refused', () => reset().length > 40);
  t.ok(calls.length - reset().length > 5, 'and others wait to be read');
});
