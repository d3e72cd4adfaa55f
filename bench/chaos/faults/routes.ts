import { setTimeout as sleep } from 'node:timers/promises';
import { type Fault, UNNOTICED } from '../fault.js';
import { CORPUS } from '../load.js';
import type { ChaosRig } from '../rig.js';
import { registryUp } from '../signs.js';

const TRIES_MAX = 100;
const RETRY_MS = 100;

type Weights = Readonly<Record<'v1' | 'v1b' | 'v2', number>>;

export const ROUTE_FAULTS: readonly Fault[] = [
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
];

/** Retried while the replica has not reported what should get weight. */
async function setWeights({ address, corpus: { builds } }: ChaosRig, weights: Weights): Promise<void> {
  const url = `${address.admin}/v1/routes/${CORPUS}`;
  const target = (name: keyof Weights, version: string) => ({
    version,
    build: builds[name].bundle.digest,
    weight: weights[name],
    role: weights[name] === 0 ? 'draining' : 'active',
    tier: 'ssd',
    mirror_bps: 0,
  });
  const targets = [
    target('v1', 'v1'),
    target('v1b', 'v1'),
    target('v2', 'v2'),
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
    if (response.status !== 409 || tries > TRIES_MAX) throw new Error(`the route cannot be changed: ${text}`);
    await sleep(RETRY_MS);
  }
}
