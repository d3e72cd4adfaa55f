import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { type ClientHttp2Stream, connect as connectHttp2, constants } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { sleep, until } from '../control/yard.js';
import { searchClient } from '../fixtures/grpc-client.js';

const IDLE_CONNECTIONS = 10_000;
/** Of a process that has few. */
const OPEN_FILES = 500;
const SEARCH = { corpus: 'animals', text: 'a fish', top_k: 1 };
const MB = 1_048_576;

/** A process with so many open files, or as many as this machine lets it have. */
function startProcess(
  file: string,
  args: readonly string[] = [],
  openFiles = '"$(ulimit -Hn)"',
): ChildProcess {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const line = `ulimit -n ${openFiles}; exec "$@"`;
  return spawn('env', ['-u', 'NODE_OPTIONS', 'sh', '-c', line, 'sh', process.execPath, script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
}

const firstLine = (child: ChildProcess): Promise<Record<string, number>> =>
  new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.includes('\n')) resolve(JSON.parse(text) as Record<string, number>);
    });
    child.once('close', (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });

const residentBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;

/** What either side may have, this process's hard limit being theirs. */
const openFilesMax = (): number =>
  Number(/^Max open files +\d+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0);

/** Frame of HTTP/2. */
function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1'), frame(4, 0, 0)]);

interface SlowCall {
  readonly stream: ClientHttp2Stream;
  /** Half a message and then a byte now and then; else nothing more. */
  readonly isDripping: boolean;
  /** What it was told. */
  readonly said: Record<string, string>;
}

/** Ten calls on one connection that send half of what they announce. */
function slowCallsOn(port: number): readonly SlowCall[] {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  return Array.from({ length: 10 }, (_, at) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': `/switchyard.v1.SearchService/${['Search', 'BatchSearch', 'Embed'][at % 3]}`,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const said: Record<string, string> = {};
    const hear = (headers: Readonly<Record<string, unknown>>): void => {
      for (const [name, value] of Object.entries(headers)) said[name] = decodeURI(String(value));
    };
    stream.on('response', hear);
    stream.on('trailers', hear);
    stream.on('error', () => undefined);
    stream.resume();
    const head = Buffer.alloc(5);
    head.writeUInt32BE(100_000, 1);
    stream.write(Buffer.concat([head, Buffer.alloc(50_000)]));
    return { stream, isDripping: at % 2 === 0, said };
  });
}

t.test('hostile clients beside one that is served', async (t) => {
  const victim = startProcess('./victim-main.js');
  t.teardown(() => {
    victim.kill('SIGKILL');
  });
  const ports = await firstLine(victim);
  const pid = victim.pid ?? 0;
  const [grpcPort, httpPort] = [ports.grpc ?? 0, ports.http ?? 0];
  const client = searchClient(`127.0.0.1:${grpcPort}`);
  t.teardown(() => client.close());

  /** Answers over both protocols while `attack` goes on, and after it. */
  const servedBeside = async (attack: () => Promise<void>): Promise<number> => {
    let isOver = false;
    const attacking = attack().finally(() => {
      isOver = true;
    });
    let answers = 0;
    do {
      const response = await fetch(`http://127.0.0.1:${httpPort}/v1/search`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(SEARCH),
        signal: AbortSignal.timeout(60_000),
      });
      const { hits } = (await response.json()) as { hits: unknown[] };
      const answer = await client.search(SEARCH);
      if (hits.length === 1 && answer.hits.length === 1) answers++;
      else throw new Error('a wrong answer');
    } while (!isOver);
    await attacking;
    t.equal(victim.exitCode, null, 'the process lives');
    return answers;
  };
  const rawSocket = (port: number): Promise<Socket> =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(socket));
      socket.once('error', reject);
      socket.on('error', () => undefined);
    });
  /** Writes until all is written or the other end hangs up. */
  const pour = async (socket: Socket, parts: number, part: (at: number) => Buffer): Promise<void> => {
    socket.resume();
    for (let at = 0; at < parts && !socket.destroyed && socket.writable; at++)
      if (!socket.write(part(at)))
        await Promise.race([
          new Promise((resolve) => socket.once('drain', resolve)),
          new Promise((resolve) => socket.once('close', resolve)),
        ]);
    await sleep(50);
    socket.destroy();
  };

  // Begun first, looked at last: the limit is eight seconds.
  const lorises = await Promise.all(Array.from({ length: 200 }, () => rawSocket(httpPort)));
  const answers = new Map<Socket, string>();
  for (const socket of lorises) {
    socket.on('data', (chunk: Buffer) =>
      answers.set(socket, (answers.get(socket) ?? '') + chunk.toString('utf8')),
    );
    socket.write('POST /v1/search HTTP/1.1\r\nhost: x\r\n');
  }
  const [slowHeads, slowBodies] = [lorises.slice(0, 100), lorises.slice(100)];
  for (const socket of slowBodies)
    socket.write(
      'content-type: application/json\r\ncontent-length: 1000\r\n\r\n{"corpus": "animals", "text": "',
    );
  const slowCalls = Array.from({ length: 20 }, () => slowCallsOn(grpcPort)).flat();
  const drip = setInterval(() => {
    for (const socket of slowHeads) if (socket.writable) socket.write('x-a: b\r\n');
    for (const socket of slowBodies) if (socket.writable) socket.write('a');
    for (const { isDripping, stream } of slowCalls) if (isDripping && stream.writable) stream.write('a');
  }, 500);
  t.teardown(() => clearInterval(drip));

  await t.test('giant headers', async (t) => {
    const giant = Buffer.alloc(4 * MB, 'a');
    const answers = await servedBeside(async () => {
      const socket = await rawSocket(httpPort);
      let head = '';
      socket.on('data', (chunk: Buffer) => {
        head += chunk.toString('latin1');
      });
      socket.write('GET /livez HTTP/1.1\r\nx-giant: ');
      socket.write(giant.subarray(0, 20_000));
      await until('the refusal', async () => head.includes('\r\n'), 60_000);
      t.match(head, /^HTTP\/1\.1 431 /);
      const larger = await rawSocket(httpPort);
      await pour(larger, 2, (at) => (at === 0 ? Buffer.from('GET /livez HTTP/1.1\r\nx-giant: ') : giant));
      for (let run = 0; run < 20; run++) {
        const http2 = await rawSocket(grpcPort);
        await pour(http2, 400, (at) =>
          at === 0
            ? Buffer.concat([PREFACE, frame(1, 0, 1, giant.subarray(0, 16_384))])
            : frame(9, 0, 1, giant.subarray(0, 16_384)),
        );
      }
    });
    t.ok(answers > 0, `${answers} answers beside it`);
  });

  await t.test('compressed bodies that grow a thousandfold', async (t) => {
    const before = residentBytes(pid);
    const bomb = gzipSync(Buffer.alloc(256 * MB), { level: 9 });
    const answers = await servedBeside(async () => {
      const response = await fetch(`http://127.0.0.1:${httpPort}/v1/search`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
        body: bomb,
      });
      t.equal(response.status, 415);
      for (let run = 0; run < 8; run++) {
        const session = connectHttp2(`http://127.0.0.1:${grpcPort}`);
        session.on('error', () => undefined);
        const head = Buffer.alloc(5);
        head[0] = 1;
        head.writeUInt32BE(bomb.length, 1);
        const answered = await new Promise<string>((resolve) => {
          const stream = session.request({
            ':method': 'POST',
            ':path': '/switchyard.v1.SearchService/Search',
            'content-type': 'application/grpc',
            'grpc-encoding': 'gzip',
            te: 'trailers',
          });
          let code = 'none';
          stream.on('response', (headers) => {
            code = String(headers['grpc-status'] ?? code);
          });
          stream.on('trailers', (headers) => {
            code = String(headers['grpc-status'] ?? code);
          });
          stream.on('error', () => resolve('reset'));
          stream.on('close', () => resolve(code));
          stream.resume();
          stream.end(Buffer.concat([head, bomb]));
        });
        t.equal(answered, '8', 'RESOURCE_EXHAUSTED');
        session.destroy();
      }
    });
    t.ok(answers > 0, `${answers} answers beside it`);
    const grown = residentBytes(pid) - before;
    t.ok(grown < 200 * MB, `grew by ${Math.round(grown / MB)} MB`);
  });

  await t.test('streams that are opened and reset at once', async (t) => {
    const before = residentBytes(pid);
    let opened = 0;
    const answers = await servedBeside(async () => {
      for (let run = 0; run < 10; run++) {
        const session = connectHttp2(`http://127.0.0.1:${grpcPort}`);
        session.on('error', () => undefined);
        let isOpen = true;
        session.on('goaway', () => {
          isOpen = false;
        });
        session.on('close', () => {
          isOpen = false;
        });
        for (let at = 0; at < 5_000 && isOpen && !session.destroyed; at++) {
          const stream = session.request({
            ':method': 'POST',
            ':path': '/switchyard.v1.SearchService/Search',
            'content-type': 'application/grpc',
            te: 'trailers',
          });
          stream.on('error', () => undefined);
          stream.close(constants.NGHTTP2_CANCEL);
          opened++;
          if (at % 100 === 99) await sleep(0);
        }
        session.destroy();
      }
    });
    t.ok(answers > 0, `${answers} answers beside ${opened} resets`);
    const grown = residentBytes(pid) - before;
    t.ok(grown < 300 * MB, `grew by ${Math.round(grown / MB)} MB`);
  });

  await t.test('floods of pings and settings', async (t) => {
    const many = (type: number, size: number): Buffer =>
      Buffer.concat(Array.from({ length: 1_000 }, () => frame(type, 0, 0, Buffer.alloc(size))));
    const [pings, settings] = [many(6, 8), many(4, 0)];
    const answers = await servedBeside(async () => {
      for (const flood of [pings, settings]) {
        const socket = await rawSocket(grpcPort);
        await pour(socket, 100, (at) => (at === 0 ? PREFACE : flood));
        // And one that does not even read the answers.
        const deaf = await rawSocket(grpcPort);
        deaf.write(PREFACE);
        deaf.pause();
        for (let at = 0; at < 50 && deaf.writable; at++) deaf.write(flood);
        await sleep(300);
        deaf.destroy();
      }
    });
    t.ok(answers > 0, `${answers} answers beside it`);
  });

  await t.test('connections that say nothing', async (t) => {
    const idle = startProcess('./idle-main.js', [
      String(IDLE_CONNECTIONS),
      String(grpcPort),
      String(httpPort),
    ]);
    t.teardown(() => {
      idle.kill('SIGKILL');
    });
    let standing = 0;
    const answers = await servedBeside(async () => {
      standing = (await firstLine(idle)).open ?? 0;
    });
    t.comment(`${standing} of ${IDLE_CONNECTIONS} connections stand, ${answers} answers beside them`);
    // A machine with a small limit of open files lets neither side have them all.
    t.ok(standing >= Math.min(IDLE_CONNECTIONS, openFilesMax() * 0.65), `${standing} connections`);
    t.ok((await servedBeside(async () => undefined)) > 0, 'and others are served');
    t.ok(residentBytes(pid) < 1_500 * MB, `${Math.round(residentBytes(pid) / MB)} MB`);
  });

  await t.test('requests that never end are ended, each with its reason', async (t) => {
    await until(
      'all slow requests are cut off',
      async () => lorises.every(({ closed }) => closed) && slowCalls.every(({ stream }) => stream.closed),
      60_000,
    );
    for (const socket of lorises) {
      const answer = answers.get(socket) ?? '';
      t.match(answer, /^HTTP\/1\.1 408 [\s\S]*\r\nconnection: close\r\n/);
      t.match(answer, /did not arrive in time","reason":"REQUEST_TOO_SLOW"/);
    }
    t.equal(slowCalls.length, 200);
    for (const { said } of slowCalls) {
      t.equal(said['grpc-status'], '4', 'DEADLINE_EXCEEDED');
      t.match(said['grpc-message'], /did not arrive in time/);
      t.ok(said['grpc-status-details-bin'], 'with its reason');
    }
    t.ok((await servedBeside(async () => undefined)) > 0);
  });
});

t.test(
  'whoever opens all the connections there are takes none from operators, nor files from the rest',
  async (t) => {
    const victim = startProcess('./victim-main.js', [], String(OPEN_FILES));
    t.teardown(() => {
      victim.kill('SIGKILL');
    });
    const ports = await firstLine(victim);
    const [grpc, http, admin] = [ports.grpc ?? 0, ports.http ?? 0, ports.admin ?? 0];
    const known = searchClient(`127.0.0.1:${grpc}`);
    t.teardown(() => known.close());
    t.equal((await known.search(SEARCH)).hits.length, 1);
    const flood = startProcess('./idle-main.js', [String(OPEN_FILES * 4), String(grpc), String(http)]);
    t.teardown(() => {
      flood.kill('SIGKILL');
    });
    await firstLine(flood);
    const filesOf = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;
    t.ok(
      filesOf(victim.pid ?? 0) < OPEN_FILES * 0.9,
      `${filesOf(victim.pid ?? 0)} of ${OPEN_FILES} files are open`,
    );
    for (const path of ['/livez', '/metrics', '/v1/status'])
      t.equal((await fetch(`http://127.0.0.1:${admin}${path}`)).status, 200, path);
    t.equal((await known.search(SEARCH)).hits.length, 1, 'who was there before is served');
    await t.rejects(fetch(`http://127.0.0.1:${http}/livez`), 'who comes now is hung up on');
    flood.kill('SIGKILL');
    await until(
      'there is room again',
      () =>
        fetch(`http://127.0.0.1:${http}/livez`).then(
          ({ status }) => status === 200,
          () => false,
        ),
      60_000,
    );
    t.equal(victim.exitCode, null, 'the process lives');
  },
);
