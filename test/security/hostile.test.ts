import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect as connectHttp2, type Settings } from 'node:http2';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { sleep, until } from '../control/yard.js';
import { searchClient } from '../fixtures/grpc-client.js';
import { FRAME, frame, openedAndReset, RawHttp2 } from './raw-http2.js';
import {
  ADMIN_CALLS,
  rawSocket,
  rawTlsSocket,
  slowCallsOn,
  slowRequestsOn,
  stalledHandshake,
} from './slow-clients.js';
import { firstLine, residentBytes, startProcess } from './victim-process.js';

const IDLE_CONNECTIONS = 10_000;
/** Of a process that has few. */
const OPEN_FILES = 500;
const SEARCH = { corpus: 'animals', text: 'a fish', top_k: 1 };
const MB = 1_048_576;
/** Answers that are begun and come while an attack goes on. */
const ANSWERS_MIN = 5;
/** The deadline that the other clients give. */
const ANSWER_MS_MAX = 5_000;
/** Far beyond what a connection may. */
const RESETS = 5_000;
/** Thousands of frames. */
const FLOODS = 100;

/** What either side may have, this process's hard limit being theirs. */
const openFilesMax = (): number =>
  Number(/^Max open files +\d+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 0);

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

  /**
   * Attacks until several answers over both protocols were begun and came meanwhile, each within the deadline that its
   * client gives. Returns how many came.
   */
  const servedBeside = async (attack: () => Promise<void>): Promise<number> => {
    let [answers, slowestMs] = [0, 0];
    let isOver = false;
    const attackOn = async (): Promise<void> => {
      do {
        await attack();
        await sleep(10);
      } while (answers < ANSWERS_MIN && !isOver);
    };
    const attacking = attackOn().finally(() => {
      isOver = true;
    });
    try {
      while (!isOver) {
        const begunAtMs = performance.now();
        const response = await fetch(`http://127.0.0.1:${httpPort}/v1/search`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(SEARCH),
          signal: AbortSignal.timeout(ANSWER_MS_MAX),
        });
        const { hits } = (await response.json()) as { hits: unknown[] };
        const answer = await client.search(SEARCH, ANSWER_MS_MAX);
        if (hits.length !== 1 || answer.hits.length !== 1) throw new Error('a wrong answer');
        answers++;
        slowestMs = Math.max(slowestMs, performance.now() - begunAtMs);
      }
    } finally {
      isOver = true;
      await attacking;
    }
    t.equal(victim.exitCode, null, 'the process lives');
    t.comment(`${answers} answers over both protocols, the slowest two after ${Math.round(slowestMs)} ms`);
    return answers;
  };
  const isServed = async (attack: () => Promise<void>, message = 'others are served'): Promise<void> => {
    t.ok((await servedBeside(attack)) >= ANSWERS_MIN, message);
  };

  // Begun first, looked at last: the limit is eight seconds.
  const slowRequests = await Promise.all([
    slowRequestsOn(() => rawSocket(httpPort), 'POST /v1/search', 100),
    slowRequestsOn(() => rawTlsSocket(ports.tlsHttp ?? 0), 'POST /v1/search', 10),
    slowRequestsOn(() => rawSocket(ports.admin ?? 0), 'PUT /v1/routes/animals', 10),
  ]);
  const slowCalls = [
    ...Array.from({ length: 20 }, () => slowCallsOn(`http://127.0.0.1:${grpcPort}`)).flat(),
    ...slowCallsOn(`https://127.0.0.1:${ports.tlsGrpc}`),
    ...slowCallsOn(`http://127.0.0.1:${ports.adminGrpc}`, ADMIN_CALLS),
  ];
  const handshakes = await Promise.all(
    [ports.tlsHttp, ports.tlsGrpc].flatMap((port) =>
      Array.from({ length: 10 }, () => stalledHandshake(port ?? 0)),
    ),
  );
  const drip = setInterval(() => {
    for (const requests of slowRequests) requests.drip();
    for (const { isDripping, stream } of slowCalls) if (isDripping && stream.writable) stream.write('a');
  }, 500);
  t.teardown(() => clearInterval(drip));

  await t.test('giant headers', async (t) => {
    const giant = Buffer.alloc(4 * MB, 'a');
    await isServed(async () => {
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
      larger.resume();
      larger.write('GET /livez HTTP/1.1\r\nx-giant: ');
      larger.write(giant);
      for (let run = 0; run < 20; run++) {
        const http2 = await RawHttp2.open(grpcPort);
        await http2.pour(400, (at) =>
          frame(at === 0 ? FRAME.headers : FRAME.continuation, 0, 1, giant.subarray(0, 16_384)),
        );
        await until('the end of a giant head over HTTP/2', async () => http2.isRefused, 60_000);
        http2.socket.destroy();
      }
      await until('the end of a giant head over HTTP', async () => larger.closed, 60_000);
    });
  });

  await t.test('compressed bodies that grow a thousandfold', async (t) => {
    const before = residentBytes(pid);
    const bomb = gzipSync(Buffer.alloc(256 * MB), { level: 9 });
    await isServed(async () => {
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
        t.equal(answered, '12', 'UNIMPLEMENTED');
        session.destroy();
      }
    });
    const grown = residentBytes(pid) - before;
    t.ok(grown < 200 * MB, `grew by ${Math.round(grown / MB)} MB`);
  });

  await t.test('a connection holds so many calls at once and no more, operators’ too', async (t) => {
    for (const port of [grpcPort, ports.adminGrpc ?? 0]) {
      const session = connectHttp2(`http://127.0.0.1:${port}`);
      const [settings] = (await once(session, 'remoteSettings')) as [Settings];
      session.destroy();
      t.equal(settings.maxConcurrentStreams, 1_024);
    }
  });

  await t.test('streams that are opened and reset at once', async (t) => {
    const before = residentBytes(pid);
    await isServed(async () => {
      for (let run = 0; run < 10; run++) {
        const http2 = await RawHttp2.open(grpcPort);
        await http2.pour(RESETS, openedAndReset);
        await until('it is told to go', async () => http2.isRefused, 60_000);
        http2.socket.destroy();
      }
    });
    const grown = residentBytes(pid) - before;
    t.ok(grown < 300 * MB, `grew by ${Math.round(grown / MB)} MB`);
  });

  await t.test('floods of pings and settings', async () => {
    const many = (type: number, size: number): Buffer =>
      Buffer.concat(Array.from({ length: 1_000 }, () => frame(type, 0, 0, Buffer.alloc(size))));
    const [pings, settings] = [many(FRAME.ping, 8), many(FRAME.settings, 0)];
    await isServed(async () => {
      for (const flood of [pings, settings]) {
        const http2 = await RawHttp2.open(grpcPort);
        await http2.pour(FLOODS, () => flood);
        await until('it is told to go', async () => http2.isRefused, 60_000);
        http2.socket.destroy();
        // And one that does not even read the answers.
        const deaf = await RawHttp2.open(grpcPort);
        deaf.socket.pause();
        for (let at = 0; at < FLOODS && deaf.socket.writable; at++) deaf.socket.write(flood);
        await sleep(300);
        deaf.socket.resume();
        await until('it is hung up on', async () => deaf.isRefused, 60_000);
        deaf.socket.destroy();
      }
    });
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
    const opened = firstLine(idle);
    await isServed(async () => void (await opened));
    const standing = (await opened).open ?? 0;
    t.comment(`${standing} of ${IDLE_CONNECTIONS} connections stand`);
    // A machine with a small limit of open files lets neither side have them all.
    t.ok(standing >= Math.min(IDLE_CONNECTIONS, openFilesMax() * 0.65), `${standing} connections`);
    await isServed(async () => undefined, 'and others are served while they stand');
    t.ok(residentBytes(pid) < 1_500 * MB, `${Math.round(residentBytes(pid) / MB)} MB`);
  });

  await t.test('requests that never end are ended, each with its reason', async (t) => {
    const isOver = (): boolean =>
      [...slowRequests.flatMap(({ sockets }) => sockets), ...handshakes].every(({ closed }) => closed) &&
      slowCalls.every(({ stream }) => stream.closed);
    await until('all slow requests are cut off', async () => isOver(), 60_000);
    for (const { sockets, answerOf } of slowRequests)
      for (const socket of sockets) {
        t.match(answerOf(socket), /^HTTP\/1\.1 408 [\s\S]*\r\nconnection: close\r\n/);
        t.match(answerOf(socket), /did not arrive in time","reason":"REQUEST_TOO_SLOW"/);
      }
    t.equal(slowCalls.length, 220);
    for (const { said } of slowCalls) {
      t.equal(said['grpc-status'], '4', 'DEADLINE_EXCEEDED');
      t.match(said['grpc-message'], /did not arrive in time/);
      t.ok(said['grpc-status-details-bin'], 'with its reason');
    }
    t.equal(handshakes.length, 20, 'nor may a handshake stall');
    await isServed(async () => undefined);
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
