import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import { startTicksOf } from '../../src/files/process-identity.js';
import { RunMarker } from '../../src/gateway/wiring/run-marker.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { silentLog } from '../fixtures/postgres.js';

t.test('a gateway that ended without closing is counted once, by whoever starts next', async (t) => {
  const varDir = await temporaryFolder(t);
  const first = await RunMarker.begin(varDir, silentLog);
  t.equal(first.uncleanExits, 0);
  await first.end();
  t.same(await readdir(path.join(varDir, 'gateways')), [], 'a clean end leaves nothing');

  const child = spawn('sleep', ['60']);
  const ticks = await startTicksOf(child.pid as number);
  const marker = path.join(varDir, 'gateways', `${child.pid}-${ticks}.running`);
  await writeFile(marker, '');
  t.equal((await RunMarker.begin(varDir, silentLog)).uncleanExits, 0, 'it still runs');
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  const [one, two] = await Promise.all([
    RunMarker.begin(varDir, silentLog),
    RunMarker.begin(varDir, silentLog),
  ]);
  t.equal(Math.max(one.uncleanExits, two.uncleanExits), 1, 'two that start together count it once');
  t.equal((await RunMarker.begin(varDir, silentLog)).uncleanExits, 1, 'and it stays counted');

  await writeFile(path.join(varDir, 'gateways', `${process.pid}-1.running`), '');
  t.equal((await RunMarker.begin(varDir, silentLog)).uncleanExits, 2, 'the same pid of another process');
});
