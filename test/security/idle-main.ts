import { connect, type Socket } from 'node:net';

/** Opens connections and says nothing on them: `idle-main <count> <port>…`. Prints how many stand; ends with its parent. */
const [count = '0', ...ports] = process.argv.slice(2);
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0';
const AT_ONCE = 200;

const open = (at: number): Promise<Socket | null> =>
  new Promise((resolve) => {
    const port = Number(ports[at % ports.length]);
    const socket = connect(port, '127.0.0.1', () => {
      // Every other one of the first port, which is gRPC's, speaks HTTP/2 before it falls silent.
      if (at % 4 === 0) socket.write(PREFACE, 'latin1');
      resolve(socket);
    });
    socket.on('error', () => resolve(null));
  });

const sockets: Socket[] = [];
for (let at = 0; at < Number(count); at += AT_ONCE) {
  const opened = await Promise.all(
    Array.from({ length: Math.min(AT_ONCE, Number(count) - at) }, (_, next) => open(at + next)),
  );
  sockets.push(...opened.filter((socket) => socket !== null));
}
process.stdout.write(`${JSON.stringify({ open: sockets.filter((socket) => !socket.destroyed).length })}\n`);
process.stdin.on('end', () => process.exit(0)).resume();
