import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { status as GrpcStatus, Server, ServerCredentials, type UntypedHandleCall } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import t from 'tap';
import { arrivalsMs } from '../../bench/load/arrivals.js';
import { LoadGenerator, withoutFailures } from '../../bench/load/load-generator.js';
import { processTree, treeCpuUs } from '../../bench/load/process-cpu.js';

interface Teardown {
  teardown(work: () => Promise<void> | void): void;
}

interface Listening {
  readonly port: number;
  forceShutdown(): void;
}

const METHOD = '/bench.Echo/Call';

type Handle = (request: Buffer, answer: (error: { code: number } | null, message?: Buffer) => void) => void;

async function serverOf(t: Teardown, handle: Handle): Promise<Listening> {
  const server = new Server();
  const identity = (bytes: Buffer): Buffer => bytes;
  server.addService(
    {
      Call: {
        path: METHOD,
        requestStream: false,
        responseStream: false,
        requestSerialize: identity,
        requestDeserialize: identity,
        responseSerialize: identity,
        responseDeserialize: identity,
      },
    },
    {
      Call: ((call: { request: Buffer }, callback: Parameters<Handle>[1]) =>
        handle(call.request, callback)) as unknown as UntypedHandleCall,
    },
  );
  t.teardown(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { port, forceShutdown: () => server.forceShutdown() };
}

/** A SearchResponse with the fields around the ids that a real one has. */
function responseOf(ids: readonly string[]): Buffer {
  const writer = protobuf.Writer.create().uint32(10).string('query');
  for (const id of ids)
    writer.uint32(18).fork().uint32(10).string(id).uint32(16).uint32(3).uint32(29).float(0.5).ldelim();
  writer.uint32(26).fork().uint32(10).string('v1').ldelim();
  return Buffer.from(writer.finish());
}

const start = async (
  t: Teardown,
  port: number,
  bodies: readonly Buffer[],
  expected: readonly (readonly string[])[] | null = null,
  connections = 2,
): Promise<LoadGenerator> => {
  const generator = await LoadGenerator.start(
    { host: '127.0.0.1', port, method: METHOD, connections },
    { bodies, expected },
  );
  t.teardown(() => generator.close());
  return generator;
};

t.test(
  'a closed loop keeps its requests in flight, sends the bodies in turn, and counts the ids found',
  async (t) => {
    const seen = new Map<string, number>();
    let running = 0;
    let most = 0;
    const { port } = await serverOf(t, (request, answer) => {
      const body = request.toString('latin1');
      seen.set(body, (seen.get(body) ?? 0) + 1);
      most = Math.max(most, ++running);
      setImmediate(() => {
        running--;
        // Of what is expected of b: one id, and twice, which must count once.
        answer(null, responseOf(body === 'a' ? ['x', 'y'] : ['z', 'z']));
      });
    });
    const generator = await start(
      t,
      port,
      [Buffer.from('a'), Buffer.from('b')],
      [
        ['x', 'y'],
        ['y', 'z'],
      ],
    );
    const result = withoutFailures(
      await generator.run({ kind: 'closed', inFlight: 8, seconds: 0.3, from: 0 }),
    );
    t.equal((seen.get('a') ?? 0) + (seen.get('b') ?? 0), result.answered);
    t.ok(Math.abs((seen.get('a') ?? 0) - (seen.get('b') ?? 0)) <= 1, 'in turn');
    t.ok(most <= 8, `${most} at once`);
    t.ok(result.answered > 8);
    t.ok(Math.abs((result.recall ?? 0) - 0.75) < 0.05, `recall ${result.recall}`);
    t.ok(result.latencyUs.p50 <= result.latencyUs.p99 && result.latencyUs.p99 <= result.latencyUs.max);
    t.ok(result.generatorCpuUs > 0);
    const again = await generator.run({ kind: 'closed', inFlight: 1, seconds: 0.05, from: 1 });
    t.ok(again.answered > 0, 'a generator runs more than once');
  },
);

t.test('more bytes in flight than the first window of a connection arrive whole', async (t) => {
  const body = Buffer.alloc(16_000, 7);
  const { port } = await serverOf(t, (request, answer) =>
    answer(request.equals(body) ? null : { code: 3 }, request),
  );
  const generator = await start(t, port, [body], null, 1);
  const result = withoutFailures(
    await generator.run({ kind: 'closed', inFlight: 50, seconds: 0.3, from: 0 }),
  );
  t.ok(result.answered >= 50);
  t.equal(result.recall, null);
});

t.test('refusals are counted by gRPC status and have no latency', async (t) => {
  let count = 0;
  const { port } = await serverOf(t, (_, answer) => {
    count++;
    if (count % 2 === 0) answer({ code: GrpcStatus.RESOURCE_EXHAUSTED });
    else answer(null, Buffer.from('ok'));
  });
  const generator = await start(t, port, [Buffer.from('a')]);
  const result = await generator.run({ kind: 'closed', inFlight: 4, seconds: 0.2, from: 0 });
  t.same(Object.keys(result.failed), [String(GrpcStatus.RESOURCE_EXHAUSTED)]);
  t.equal((result.failed[GrpcStatus.RESOURCE_EXHAUSTED] ?? 0) + result.answered, count);
  t.throws(() => withoutFailures(result), /× gRPC status 8/);
});

t.test(
  'an open loop sends when due whatever the answers do, and counts from when a request was due',
  async (t) => {
    const held: (() => void)[] = [];
    let isHolding = true;
    const { port } = await serverOf(t, (_, answer) => {
      const reply = (): void => answer(null, Buffer.from('ok'));
      if (isHolding) {
        if (held.push(reply) === 100) {
          isHolding = false;
          for (const release of held.splice(0)) release();
        }
      } else reply();
    });
    const generator = await start(t, port, [Buffer.from('a')]);
    const run = { kind: 'open', perSecond: 500, seconds: 0.6, seed: 3, from: 0 } as const;
    const due = arrivalsMs(run.perSecond, run.seconds, run.seed);
    const result = withoutFailures(await generator.run(run));
    t.equal(result.answered, due.length, 'every arrival was sent');
    // The first was held until the hundredth came: a generator that waits for answers would never see it.
    const waitedUs = ((due[99] as number) - (due[0] as number)) * 1000;
    t.ok(result.latencyUs.max >= waitedUs, `${result.latencyUs.max} is at least ${waitedUs}`);
    const late = result.sentLateUs;
    t.ok(
      late !== null && late.max > 0 && late.max < result.latencyUs.max,
      'lateness is told apart, and in it',
    );
    isHolding = false;
    const again = withoutFailures(await generator.run({ ...run, seed: 4 }));
    t.equal(
      again.answered,
      arrivalsMs(run.perSecond, run.seconds, 4).length,
      'one thread tells all its runs',
    );
  },
);

t.test('what is answered after the last request is told apart', async (t) => {
  const answerMs = 300;
  const { port } = await serverOf(t, (_, answer) =>
    setTimeout(() => answer(null, Buffer.from('ok')), answerMs),
  );
  const generator = await start(t, port, [Buffer.from('a')]);
  for (const plan of [
    { kind: 'open', perSecond: 100, seed: 3 },
    { kind: 'closed', inFlight: 4 },
  ] as const) {
    const { tailMs, wallMs } = await generator.run({ ...plan, seconds: 0.5, from: 0 });
    t.ok(tailMs > answerMs / 2, `${plan.kind}: ${tailMs}`);
    t.ok(wallMs - tailMs > 0, `${plan.kind}: ${wallMs - tailMs} ms of sending`);
  }
});

t.test('a server that goes away fails the run instead of hanging it', async (t) => {
  const server = await serverOf(t, () => server.forceShutdown());
  const generator = await start(t, server.port, [Buffer.from('a')]);
  const run = generator.run({ kind: 'closed', inFlight: 1, seconds: 5, from: 0 });
  await t.rejects(run, /requests in flight/);
});

t.test('CPU time is of the whole process tree and grows with work', (t) => {
  const before = treeCpuUs(process.pid);
  const started = process.cpuUsage();
  const ownUs = (): number => {
    const { user, system } = process.cpuUsage(started);
    return user + system;
  };
  while (ownUs() < 60_000) Math.sqrt(before);
  const grown = treeCpuUs(process.pid) - before;
  t.ok(grown > 40_000, `${grown} µs of 60 000`);
  t.end();
});

t.test('what a child used is still counted when it has ended', async (t) => {
  const busy = `
    const usedUs = () => { const { user, system } = process.cpuUsage(); return user + system; };
    while (usedUs() < 400_000) for (let at = 0; at < 1e6; at++) Math.sqrt(at);
    process.stdout.write(String(usedUs()));`;
  const parent = spawn(
    process.execPath,
    [
      '-e',
      `const { spawn } = require('node:child_process');
       process.stdin.on('data', () => {
         spawn(process.execPath, ['-e', ${JSON.stringify(busy)}], { stdio: ['ignore', 'inherit', 'inherit'] })
           .on('exit', () => process.stdout.write(' ended'));
       });
       process.stdout.write('ready');`,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  t.teardown(() => parent.kill('SIGKILL'));
  const pid = parent.pid as number;
  await once(parent.stdout, 'data');
  const before = treeCpuUs(pid);
  let said = '';
  parent.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8');
  });
  parent.stdin.write('go');
  while (!said.endsWith(' ended')) await once(parent.stdout, 'data');
  t.strictSame(processTree(pid), [pid], 'it has ended');
  const [usedUs, grownUs] = [Number.parseInt(said, 10), treeCpuUs(pid) - before];
  t.ok(usedUs >= 400_000, said);
  // Its end and the parent's own work come on top; times of children are told in hundredths of a second.
  t.ok(grownUs > usedUs - 20_000 && grownUs < usedUs * 2, `${grownUs} µs, of which the child says ${usedUs}`);
});
