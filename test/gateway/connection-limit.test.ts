import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { loadConfig } from '../../src/config/load.js';
import {
  ConnectionLimit,
  connectionsMax,
  type ListenerConnections,
} from '../../src/gateway/connection-limit.js';
import { until } from '../process/wait.js';
import { startGateway } from './harness.js';

t.test('clients get a share of the files that may be open, however many are configured', (t) => {
  t.same(connectionsMax(null, 10_000), { publicListeners: 3_500, adminListeners: 500 });
  t.same(connectionsMax(100, 10_000), { publicListeners: 100, adminListeners: 500 });
  t.same(connectionsMax(1_000_000, 10_000), { publicListeners: 3_500, adminListeners: 500 });
  t.same(connectionsMax(null, 1_048_576), { publicListeners: 367_001, adminListeners: 1_024 });
  t.ok(connectionsMax(null).publicListeners > 0, 'of this process');
  t.end();
});

t.test('beyond its limit a listener hangs up, and counts what it did', async (t) => {
  const limit = new ConnectionLimit(2);
  const server = createServer();
  limit.apply(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  const sockets: Socket[] = [];
  const open = (): Socket => {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    sockets.push(socket);
    return socket;
  };
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const first = open();
  open();
  await until('two are open', () => limit.counts.open === 2);
  await once(open(), 'close');
  t.same(limit.counts, { open: 2, dropped: 1 });
  first.destroy();
  await until('one went', () => limit.counts.open === 1);
  open();
  await until('and another came', () => limit.counts.open === 2);
  t.equal(limit.counts.dropped, 1);
});

t.test(
  'a listener at localhost is one socket, with its limit on it, however many addresses the name has',
  async (t) => {
    const names = ['grpc', 'http', 'admin_http', 'admin_grpc'];
    const { listen } = loadConfig({
      file: null,
      env: {},
      cwd: t.testdir({}),
      overrides: Object.fromEntries(
        names.flatMap((name) => [
          [`listen.${name}.host`, 'localhost'],
          [`listen.${name}.port`, 0],
        ]),
      ),
    });
    const counts = new Map<string, () => ListenerConnections>();
    const gateway = await startGateway({
      listen,
      connectionsMax: 2,
      onConnections: (name, count) => counts.set(name, count),
    });
    t.teardown(() => gateway.close());
    for (const { port } of Object.values(gateway.faces.addresses)) {
      const other = connect(port, '::1');
      const [error] = (await once(other, 'error')) as [NodeJS.ErrnoException];
      t.match(
        error.code,
        /ECONNREFUSED|EADDRNOTAVAIL|EAFNOSUPPORT/,
        'nobody listens at another of its addresses',
      );
    }
    const { http } = gateway.faces.addresses;
    const sockets = [1, 2, 3].map(() => connect(http.port, '127.0.0.1').on('error', () => undefined));
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
    });
    await until('the third is hung up on', () => counts.get('http')?.().dropped === 1);
    t.equal(counts.get('http')?.().open, 2);
  },
);
