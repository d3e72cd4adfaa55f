import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Fault, UNNOTICED } from '../fault.js';
import { CORPUS } from '../load.js';
import type { ChaosRig } from '../rig.js';
import { heldInPageCache } from '../signs.js';
import { mountSmall, unmount } from '../small-disks.js';

/** Their vectors alone take twice what fits. */
const TEXTS = 80;
const BUILT = 'too-large';

const bundlesOf = (varDir: string): string => path.join(varDir, 'bundles', CORPUS);
const buildsFolder = ({ varDir }: ChaosRig): string => path.join(varDir, 'bundles', BUILT);
let isMounted = false;

/** A corpus is built whose bundle does not fit: the build must say so, and what serves must not notice. */
const diskFull: Fault = {
  name: 'disk full during a build',
  maySkip: true,
  expected: UNNOTICED,
  inject: async (rig) => {
    await mkdir(buildsFolder(rig), { recursive: true });
    const refused = mountSmall(buildsFolder(rig));
    if (refused !== undefined) return refused;
    isMounted = true;
    const file = path.join(rig.varDir, 'input.jsonl');
    const lines = rig.corpus.texts.slice(0, TEXTS).map((text, at) => JSON.stringify({ id: `d${at}`, text }));
    await writeFile(file, lines.join('\n'));
    const model = `${rig.corpus.builds.v1.model.manifest.name}@${rig.corpus.builds.v1.model.manifest.version}`;
    const admin = new URL(rig.address.admin).port;
    const { code, text } = await rig.switchyard([
      ...['corpus', 'build', BUILT, file, '--model', model, '--corpus-version', 'v1', '--admin-port', admin],
    ]);
    if (code === 0 || !/DISK_FULL/.test(text))
      throw new Error(`a build on a full disk ended with ${code}: ${text.slice(-500)}`);
    return undefined;
  },
  heal: async (rig) => {
    if (isMounted) unmount(buildsFolder(rig));
    isMounted = false;
    await rm(buildsFolder(rig), { recursive: true, force: true });
  },
};

/**
 * A target is asked into a memory folder that has no room for it: served from the page cache, which its metrics say.
 * That a copy finds the folder full half-way is test/index/tiers/memory-full.test.ts.
 */
const memoryFull: Fault = {
  name: 'shared memory full',
  maySkip: true,
  met: heldInPageCache,
  expected: UNNOTICED,
  inject: async ({ address, memoryFolder }) => {
    if (memoryFolder === null) return 'a small tmpfs cannot be mounted';
    const response = await fetch(`${address.admin}/v1/corpora/${CORPUS}/desired-targets`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ version: 'v2', tier: 'dram', reason: 'chaos' }),
    });
    if (!response.ok)
      throw new Error(
        `a target for a full memory folder was answered with ${response.status}: ${await response.text()}`,
      );
    return undefined;
  },
  heal: async ({ address }) => {
    const response = await fetch(`${address.admin}/v1/corpora/${CORPUS}/desired-targets/v2?reason=chaos`, {
      method: 'DELETE',
    });
    // Where nothing could be asked for there is nothing to take back.
    if (!response.ok && response.status !== 404)
      throw new Error(`a wish was not taken back: ${response.status} ${await response.text()}`);
  },
};

/** Faults of what lies on disk and in memory. */
export const FILE_FAULTS: readonly Fault[] = [
  {
    name: 'files of open indexes moved away',
    inject: ({ varDir }) => rename(bundlesOf(varDir), `${bundlesOf(varDir)}-away`),
    heal: ({ varDir }) => rename(`${bundlesOf(varDir)}-away`, bundlesOf(varDir)),
    expected: UNNOTICED,
  },
  diskFull,
  memoryFull,
];
