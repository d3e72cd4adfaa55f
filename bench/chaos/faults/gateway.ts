import { chmod, copyFile, rename, truncate } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DRAINED, type Fault, HELD_UP, KILLED, UNNOTICED } from '../fault.js';
import type { ConstantLoad } from '../load.js';
import { type ChaosRig, PROCESSES } from '../rig.js';
import { clockAhead, requestsInFlight, servedFromDisk, standsStill, uncleanExits } from '../signs.js';

const TEXTS_AT_ONCE = 100;
const IN_FLIGHT_MIN = 10;
const TRIES_MAX = 50;
/** More than a busy machine holds up for a second without a fault. */
const MANY = 5;
const MINUTES_AHEAD_MIN = 30;
const BETWEEN_JUMPS_MS = 200;

/** Returns while the gateway itself has requests of the load in flight. */
async function untilInFlight(rig: ChaosRig, load: ConstantLoad): Promise<void> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    for (let at = 0; at < TEXTS_AT_ONCE; at++) load.sendText();
    if ((await requestsInFlight(rig)) >= IN_FLIGHT_MIN && load.openCount >= IN_FLIGHT_MIN) return;
  }
  throw new Error(`no ${IN_FLIGHT_MIN} requests were seen in flight at once`);
}

const cutIndex = ({ corpus: { builds } }: ChaosRig): string =>
  path.join(builds.v1.bundle.folder, 'index.usearch');

export const GATEWAY_FAULTS: readonly Fault[] = [
  {
    name: 'gateway killed, started again by its supervisor',
    inject: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGKILL'),
    met: uncleanExits,
    expected: KILLED,
  },
  {
    name: 'gateway dies as in a native crash (SIGSEGV)',
    inject: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGSEGV'),
    met: uncleanExits,
    expected: KILLED,
    inSmoke: false, // test/faults/native-crash.test.ts
  },
  {
    name: 'a search thread crashes: the index it has mapped is cut (SIGBUS)',
    inject: async (rig) => {
      await copyFile(cutIndex(rig), `${cutIndex(rig)}.whole`);
      await chmod(cutIndex(rig), 0o644);
      await truncate(cutIndex(rig), 0);
    },
    met: uncleanExits,
    heal: (rig) => rename(`${cutIndex(rig)}.whole`, cutIndex(rig)),
    // Started again it does not serve the corpus until the index is whole.
    expected: { ...KILLED, refusedMax: { text: 0.5, vector: 0.5 } },
  },
  {
    name: 'gateway killed while postgresql is away',
    inject: async ({ gateway, postgres }) => {
      await postgres.stop();
      gateway.signal(PROCESSES.gateway, 'SIGKILL');
    },
    met: servedFromDisk,
    heal: ({ postgres }) => postgres.start(),
    expected: KILLED,
  },
  {
    name: 'gateway stopped (SIGSTOP)',
    inject: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGSTOP'),
    met: standsStill,
    metBy: MANY,
    heal: ({ gateway }) => gateway.signal(PROCESSES.gateway, 'SIGCONT'),
    // Shorter than a deadline.
    expected: HELD_UP,
  },
  {
    name: 'gateway drained and started anew',
    inject: async (rig, load) => {
      await untilInFlight(rig, load);
      load.mark();
      await rig.gateway.stop();
      await rig.gateway.start();
    },
    expected: DRAINED,
  },
  {
    name: 'the wall clock jumps an hour forward, then back',
    inject: ({ gateway }) => process.kill(gateway.pid, 'SIGUSR2'),
    met: clockAhead,
    metBy: MINUTES_AHEAD_MIN,
    heal: async ({ gateway }) => {
      process.kill(gateway.pid, 'SIGUSR2');
      await sleep(BETWEEN_JUMPS_MS);
      process.kill(gateway.pid, 'SIGUSR2');
    },
    expected: UNNOTICED,
  },
];
