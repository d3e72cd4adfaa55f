import { randomBytes } from 'node:crypto';
import { chmod, copyFile, rename, truncate } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { diskFull, memoryFull } from './full-disks.js';
import { CORPUS, type ConstantLoad } from './load.js';
import { type ChaosRig, PROCESSES } from './rig.js';
import {
  abandonedConnections,
  cacheErrors,
  clockAhead,
  encoderRestarts,
  heldInPageCache,
  heldUp,
  lateMirrors,
  newConnections,
  redisUsed,
  refusedOverHttp,
  refusedValues,
  registryDown,
  registryUp,
  type Sign,
  servedFromDisk,
  shadowRestarts,
  shadowUsed,
  stalledConnections,
  standsStill,
  uncleanExits,
} from './signs.js';

/** What may become of the requests of a fault, beside right answers. */
export interface Expected {
  /**
   * `none`: no request may be lost. `sent_after`: none of those that were sent before the signal, but what comes before
   * the successor listens. `in_flight`: also what a process that ends without warning takes with it.
   */
  readonly lost: 'none' | 'sent_after' | 'in_flight';
  /** At most this share of them may be refused, with an error that says to try again. */
  readonly refusedShareMax: number;
  /** Generous, for it is a time; judged at full size alone. */
  readonly recoveryMsMax: number;
}

export interface Fault {
  readonly name: string;
  /** What must have healed of the faults before, or this one would be met by nobody. */
  ready?(rig: ChaosRig): Promise<boolean>;
  /** Returns why it cannot be injected here, where it cannot. */
  inject(rig: ChaosRig, load: ConstantLoad): Promise<string | undefined> | Promise<void> | void;
  /** Absent where the fault is over when it was injected, or the gateway has to mend it alone. */
  heal?(rig: ChaosRig): Promise<void> | void;
  /** A number that rises when the gateway has met the fault: it is held until then, and one that is not met fails the run. */
  readonly met?: Sign;
  /** Only for what some machines do not allow at all; any other fault that cannot be injected fails the run. */
  readonly maySkip?: true;
  readonly expected: Expected;
  /** False: each costs the smoke a start of the gateway, and a test of its own does the same. */
  readonly inSmoke?: false;
}

/** Nobody but an operator may notice. */
const UNNOTICED: Expected = { lost: 'none', refusedShareMax: 0, recoveryMsMax: 10_000 };
/** Half of the requests are vectors, which need no encoder, and a part of the texts is remembered. */
const TEXTS_REFUSED: Expected = { lost: 'none', refusedShareMax: 0.6, recoveryMsMax: 45_000 };
/** More at once than may be let in; on a slow machine most of it. */
const SHED: Expected = { lost: 'none', refusedShareMax: 0.9, recoveryMsMax: 30_000 };
const IN_FLIGHT: Expected = { lost: 'in_flight', refusedShareMax: 1, recoveryMsMax: 60_000 };
const DRAINED: Expected = { ...IN_FLIGHT, lost: 'sent_after' };
const nothing = (): void => undefined;

/** Under way when a gateway is told to drain, and how long they have to get there. */
const DRAINED_REQUESTS = 100;
const ARRIVAL_MS = 100;
const FILL_WAIT_MS = 250;
const FILL_WAITS_MAX = 240;

/** Every value of the cache becomes what `change` makes of it, at once. */
async function rewriteCache(
  { redis: { client } }: ChaosRig,
  change: (value: Buffer, at: number, all: readonly Buffer[]) => Buffer,
): Promise<void> {
  let keys = await client.keys('*');
  // After a fault of Redis the gateways' breakers open again first.
  for (let waits = 0; keys.length < 2 && waits < FILL_WAITS_MAX; waits++) {
    await sleep(FILL_WAIT_MS);
    keys = await client.keys('*');
  }
  if (keys.length < 2) throw new Error('the cache is empty: there is nothing to spoil');
  const values = await client.mgetBuffer(keys);
  const known = values.filter((value): value is Buffer => value !== null);
  await Promise.all(known.map((value, at) => client.set(keys[at] as string, change(value, at, known))));
}

const stalled: Socket[] = [];

/** Those of a size. */
export const faultsOf = (size: 'smoke' | 'full'): readonly Fault[] =>
  FAULTS.filter(({ inSmoke }) => size === 'full' || inSmoke !== false);

/** The table: what is done to a gateway under load, how it is undone, and what may be lost meanwhile. */
export const FAULTS: readonly Fault[] = [
  { name: 'nothing', inject: nothing, expected: UNNOTICED },
  {
    name: 'redis killed',
    inject: ({ redis }) => redis.kill(),
    ready: redisUsed,
    met: cacheErrors,
    heal: ({ redis }) => redis.start(),
    expected: UNNOTICED,
  },
  {
    name: 'redis stopped (SIGSTOP)',
    inject: ({ redis }) => redis.pause(),
    ready: redisUsed,
    met: cacheErrors,
    heal: ({ redis }) => redis.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'redis half-open: connections that swallow everything',
    inject: ({ redisProxy }) => redisProxy.silence(),
    ready: redisUsed,
    met: cacheErrors,
    heal: ({ redisProxy }) => redisProxy.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'redis half-open: the open connection swallows everything, a new one works',
    inject: ({ redisProxy }) => redisProxy.forget(),
    ready: redisUsed,
    met: cacheErrors,
    expected: UNNOTICED,
  },
  {
    name: 'redis emptied',
    inject: async ({ redis }) => void (await redis.client.flushall()),
    expected: UNNOTICED,
  },
  {
    name: 'redis answers garbage',
    inject: (rig) => rewriteCache(rig, (value) => randomBytes(value.length)),
    ready: redisUsed,
    met: refusedValues,
    expected: UNNOTICED,
  },
  {
    name: "redis answers another key's value",
    inject: (rig) => rewriteCache(rig, (_, at, all) => all[(at + 1) % all.length] as Buffer),
    ready: redisUsed,
    met: refusedValues,
    heal: async ({ redis }) => void (await redis.client.flushall()),
    expected: UNNOTICED,
  },
  {
    name: 'redis answers half of each value',
    inject: (rig) => rewriteCache(rig, (value) => value.subarray(0, value.length >> 1)),
    ready: redisUsed,
    met: refusedValues,
    heal: async ({ redis }) => void (await redis.client.flushall()),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql ended',
    inject: ({ postgres }) => postgres.stop(),
    ready: registryUp,
    met: registryDown,
    heal: ({ postgres }) => postgres.start(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql killed',
    inject: ({ postgres }) => postgres.kill(),
    ready: registryUp,
    met: registryDown,
    heal: ({ postgres }) => postgres.start(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql stopped (SIGSTOP)',
    ready: registryUp,
    inject: ({ postgres }) => postgres.pause(),
    met: registryDown,
    heal: ({ postgres }) => postgres.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql half-open: connections that swallow everything',
    ready: registryUp,
    inject: ({ postgresProxy }) => postgresProxy.silence(),
    met: registryDown,
    heal: ({ postgresProxy }) => postgresProxy.resume(),
    expected: UNNOTICED,
  },
  {
    name: 'postgresql half-open: open connections swallow everything, new ones work',
    ready: registryUp,
    inject: ({ postgresProxy }) => postgresProxy.forget(),
    met: abandonedConnections,
    expected: UNNOTICED,
  },
  {
    name: 'postgresql connections reset',
    ready: registryUp,
    inject: ({ postgresProxy }) => postgresProxy.cut(),
    met: newConnections,
    expected: UNNOTICED,
  },
  {
    name: 'an encoder killed',
    inject: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGKILL', 1),
    met: encoderRestarts,
    expected: TEXTS_REFUSED,
  },
  {
    name: 'all encoders killed',
    inject: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGKILL'),
    met: encoderRestarts,
    expected: TEXTS_REFUSED,
  },
  {
    name: 'an encoder stopped (SIGSTOP)',
    inject: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGSTOP', 1),
    met: heldUp,
    heal: ({ gateway }) => gateway.signal(PROCESSES.encoder, 'SIGCONT'),
    expected: TEXTS_REFUSED,
  },
  {
    name: 'the process of a shadow index killed',
    inject: ({ gateway }) => gateway.signal(PROCESSES.shadow, 'SIGKILL'),
    met: shadowRestarts,
    expected: UNNOTICED,
  },
  {
    name: 'the process of a shadow index stopped (SIGSTOP)',
    ready: shadowUsed,
    inject: ({ gateway }) => gateway.signal(PROCESSES.shadow, 'SIGSTOP'),
    met: lateMirrors,
    heal: ({ gateway }) => {
      if (gateway.pids(PROCESSES.shadow).length > 0) gateway.signal(PROCESSES.shadow, 'SIGCONT');
    },
    expected: UNNOTICED,
  },
  {
    name: 'gateway killed, started again by its supervisor',
    inject: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGKILL'),
    met: uncleanExits,
    expected: IN_FLIGHT,
  },
  {
    name: 'gateway dies as in a native crash (SIGSEGV)',
    inject: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGSEGV'),
    met: uncleanExits,
    expected: IN_FLIGHT,
    inSmoke: false, // test/faults/native-crash.test.ts
  },
  {
    name: 'a search thread crashes: the index it has mapped is cut (SIGBUS)',
    inject: async ({ corpus: { builds } }) => {
      const index = path.join(builds.v1.bundle.folder, 'index.usearch');
      await copyFile(index, `${index}.whole`);
      await chmod(index, 0o644);
      await truncate(index, 0);
    },
    met: uncleanExits,
    heal: async ({ corpus: { builds } }) => {
      const index = path.join(builds.v1.bundle.folder, 'index.usearch');
      await rename(`${index}.whole`, index);
    },
    expected: IN_FLIGHT,
  },
  {
    name: 'gateway killed while postgresql is away',
    inject: async ({ gateway, postgres }) => {
      await postgres.stop();
      gateway.signal(PROCESSES.gateway, 'SIGKILL');
    },
    met: servedFromDisk,
    heal: ({ postgres }) => postgres.start(),
    expected: IN_FLIGHT,
  },
  {
    name: 'gateway stopped (SIGSTOP)',
    inject: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGSTOP'),
    met: standsStill,
    heal: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGCONT'),
    // Shorter than a deadline: who was asked meanwhile is answered, or told to try again.
    expected: SHED,
  },
  {
    name: 'gateway drained and started anew',
    inject: async ({ gateway }, load) => {
      for (let at = 0; at < DRAINED_REQUESTS; at++) load.sendOne();
      await sleep(ARRIVAL_MS);
      load.mark();
      await gateway.stop();
    },
    heal: ({ gateway }) => gateway.start(),
    expected: DRAINED,
    inSmoke: false, // test/control/rolling-restart.test.ts
  },
  {
    name: 'the wall clock jumps an hour forward, then back',
    inject: ({ gateway }) => process.kill(gateway.pid, 'SIGUSR2'),
    met: clockAhead,
    heal: async ({ gateway }) => {
      process.kill(gateway.pid, 'SIGUSR2');
      await new Promise((resolve) => setTimeout(resolve, 200));
      process.kill(gateway.pid, 'SIGUSR2');
    },
    expected: UNNOTICED,
  },
  {
    name: 'the route changes to and fro',
    ready: registryUp,
    inject: async (rig) => {
      await setWeights(rig, { v1: 10_000, v1b: 0, v2: 0 });
      await setWeights(rig, { v1: 0, v1b: 0, v2: 10_000 });
    },
    heal: (rig) => setWeights(rig, { v1: 3_000, v1b: 3_000, v2: 4_000 }),
    expected: UNNOTICED,
  },
  {
    name: 'files of open indexes moved away',
    inject: ({ varDir }) => rename(bundlesOf(varDir), `${bundlesOf(varDir)}-away`),
    heal: ({ varDir }) => rename(`${bundlesOf(varDir)}-away`, bundlesOf(varDir)),
    expected: UNNOTICED,
  },
  {
    name: 'two hundred clients that stall in the middle of a request',
    inject: ({ address }) => {
      const url = new URL(address.http);
      for (let at = 0; at < 200; at++) {
        const [host, port] = at % 2 === 0 ? [url.hostname, Number(url.port)] : split(address.grpc);
        const socket = connect(port, host);
        socket.on('error', nothing);
        socket.write(
          'POST /v1/search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{',
        );
        stalled.push(socket);
      }
    },
    met: stalledConnections,
    heal: () => {
      for (const socket of stalled.splice(0)) socket.destroy();
    },
    expected: UNNOTICED,
  },
  {
    name: 'a flood of malformed requests',
    inject: async ({ address }) => {
      const send = (): Promise<unknown> =>
        fetch(`${address.http}/v1/search`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: '{"corpus": "chaos", "vector": [1e999]}',
        }).then((response) => response.arrayBuffer(), nothing);
      for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 50 }, send));
    },
    met: refusedOverHttp,
    expected: SHED,
  },
  {
    name: 'a burst of a thousand requests',
    inject: (_rig, load) => {
      for (let at = 0; at < 1_000; at++) load.sendOne();
    },
    expected: SHED,
  },
  { name: 'disk full during a build', ...diskFull, expected: UNNOTICED, maySkip: true },
  { name: 'shared memory full', ...memoryFull, met: heldInPageCache, expected: UNNOTICED, maySkip: true },
];

const bundlesOf = (varDir: string): string => path.join(varDir, 'bundles', CORPUS);

function split(address: string): [string, number] {
  const colon = address.lastIndexOf(':');
  return [address.slice(0, colon), Number(address.slice(colon + 1))];
}

/** Retried while the replica has not reported what should get weight. */
export async function setWeights(
  { address, corpus: { builds } }: ChaosRig,
  weights: Readonly<Record<'v1' | 'v1b' | 'v2', number>>,
  tierOfV2: 'ssd' | 'dram' = 'ssd',
): Promise<void> {
  const url = `${address.admin}/v1/routes/${CORPUS}`;
  const target = (name: 'v1' | 'v1b' | 'v2', version: string, tier: string) => ({
    version,
    build: builds[name].bundle.digest,
    weight: weights[name],
    role: weights[name] === 0 ? 'draining' : 'active',
    tier,
    mirror_bps: 0,
  });
  const targets = [
    target('v1', 'v1', 'ssd'),
    target('v1b', 'v1', 'ssd'),
    target('v2', 'v2', tierOfV2),
    {
      version: 'v3',
      build: builds.v3.bundle.digest,
      weight: 0,
      role: 'shadow',
      tier: 'ssd',
      mirror_bps: 10_000,
    },
  ];
  for (let tries = 0; ; tries++) {
    const current = (await (await fetch(url)).json()) as { readonly revision: number };
    const response = await fetch(url, {
      method: 'PUT',
      headers: { 'content-type': 'application/json', 'if-match': `"${current.revision}"` },
      body: JSON.stringify({ targets, reason: 'chaos' }),
    });
    if (response.ok) return;
    const text = await response.text();
    if (response.status !== 409 || tries > 100) throw new Error(`the route cannot be changed: ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
