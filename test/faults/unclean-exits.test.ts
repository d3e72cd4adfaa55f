import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { type Owner, Ownership } from '../../src/files/owner.js';
import { startTicksOf } from '../../src/files/process-identity.js';
import { RunMarker } from '../../src/gateway/wiring/run-marker.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';

t.test('a gateway that ended without closing is counted once, by whoever starts next', async (t) => {
  const varDir = await temporaryFolder(t);
  const begin = async (): Promise<RunMarker> => {
    const marker = await RunMarker.begin(varDir, silentLog);
    t.teardown(() => marker.end());
    return marker;
  };
  const markerOf = (owner: Partial<Owner>): string => {
    const { pid, startTicks, space, nonce } = { ...here.owner, ...owner };
    return path.join(varDir, 'gateways', `${pid}-${startTicks}-${space}-${nonce}.running`);
  };
  const here = await Ownership.begin();
  const first = await begin();
  t.equal(first.uncleanExits, 0);
  await first.end();
  t.same(await readdir(path.join(varDir, 'gateways')), [], 'a clean end leaves nothing');

  const child = spawn('sleep', ['60']);
  const ticks = await startTicksOf(child.pid as number);
  await writeFile(markerOf({ pid: child.pid as number, startTicks: ticks }), '');
  t.equal((await begin()).uncleanExits, 0, 'it still runs');
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  const [one, two] = await Promise.all([begin(), begin()]);
  t.equal(Math.max(one.uncleanExits, two.uncleanExits), 1, 'two that start together count it once');
  t.equal((await begin()).uncleanExits, 1, 'and it stays counted');

  await writeFile(markerOf({ startTicks: '1', nonce: '000000000000' }), '');
  t.equal((await begin()).uncleanExits, 2, 'the same pid of another process');
});
