import { createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { downloadWatcher } from '../../src/cli/download-watcher.js';
import { GatewayClient } from '../../src/cli/gateway-client.js';

/** The address of something that is no gateway and does this with whoever connects. */
async function listening(t: Test, greet: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined));
    greet(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

t.test('where nobody listens, commands go to the registry themselves', async (t) => {
  const url = await listening(t, () => {});
  const { port } = new URL(url);
  const free = createServer();
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
  const { port: gone } = free.address() as { port: number };
  await new Promise((resolve) => free.close(resolve));
  t.not(gone, Number(port));
  t.equal(await new GatewayClient(`http://127.0.0.1:${gone}`).getIfRunning('/livez'), null);
});

t.test('what listens and is no answering gateway is not passed by', async (t) => {
  const cases: readonly (readonly [string, (socket: Socket) => void, RegExp])[] = [
    ['it hangs', () => {}, /nothing within 0\.3 s/],
    ['it hangs up', (socket) => socket.destroy(), /does not answer as a gateway does \(\w+\)/],
    ['it asks for TLS', (socket) => socket.end(Buffer.from([21, 3, 1, 0, 2, 2, 70])), /does not answer/],
    [
      'it is another server',
      (socket) => socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno'),
      /answered 404, and not as a Switchyard gateway does/,
    ],
  ];
  for (const [name, greet, message] of cases)
    await t.rejects(
      new GatewayClient(await listening(t, greet)).getIfRunning('/livez', 300),
      { name: 'SwitchyardError', message },
      name,
    );
});

t.test('a download shows a line for a small file, and progress with an ETA for a large one', async (t) => {
  const said: string[] = [];
  const write = t.capture(process.stderr, 'write', (text: unknown) => {
    said.push(String(text));
    return true;
  });
  const watcher = downloadWatcher(false);
  watcher.onDownload('config.json', 100, 612);
  watcher.onDownload('config.json', 612, 612);
  watcher.onDownload('tokenizer.json', 10, undefined);
  watcher.onDownload('model.onnx', 20_000_000, 90_000_000);
  watcher.onDownload('model.onnx', 90_000_000, 90_000_000);
  watcher.stop();
  downloadWatcher(true).onDownload('model.onnx', 1, 90_000_000);
  write.restore();
  t.same(said, [
    'downloading config.json (612 B)\n',
    'downloading tokenizer.json\n',
    'downloading model.onnx: 90/90 MB, ETA 0 s\n',
  ]);
});
