import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t from 'tap';
import { ConnectionLimit, connectionsMax } from '../../src/gateway/connection-limit.js';
import { until } from '../process/wait.js';

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
