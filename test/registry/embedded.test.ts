import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, chown, cp, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import t, { type Test } from 'tap';
import { packageRoot } from '../../src/package-root.js';
import type { RegistryWatch } from '../../src/registry/watch.js';
import { startTestRegistry, temporaryFolder } from '../fixtures/postgres.js';
import { serverPid, serverSocketFolder, startHolder } from './holders.js';
import { eventually, refused, registerModel } from './registry-fixtures.js';

const isRoot = process.getuid?.() === 0;

t.test('one folder', async (t) => {
  const varDir = await temporaryFolder(t);

  await t.test(
    'the first process starts the server, others share it, the last one out stops it',
    async (t) => {
      const holders = [1, 2, 3].map(() => startHolder(t, varDir));
      const opened = await Promise.all(holders.map((holder) => holder.opened));
      t.same(
        opened.map((answer) => answer.opened),
        [true, true, true],
        `three at once: ${JSON.stringify(opened)}`,
      );
      const pid = serverPid(varDir);
      t.type(pid, 'number');
      const socketFolder = serverSocketFolder(varDir);
      t.equal((await stat(socketFolder)).mode & 0o777, 0o700, 'the socket is closed to others');
      t.same(
        (await readdir(path.join(varDir, 'postgres'))).sort(),
        ['data', 'postgres.log', 'users'],
        'no half-made data folder is left',
      );
      await holders[0]?.close();
      await holders[1]?.close();
      t.equal(serverPid(varDir), pid, 'still running for the third');
      await holders[2]?.close();
      t.equal(serverPid(varDir), null, 'nothing is left running');
      t.notOk(existsSync(socketFolder), 'nor its socket folder');
    },
  );

  await t.test('processes that come and go at random never leave each other without a server', async (t) => {
    for (let round = 0; round < 3; round++) {
      const leaving = startHolder(t, varDir);
      t.ok((await leaving.opened).opened);
      const [, arrived] = await Promise.all([leaving.close(), startHolder(t, varDir).opened]);
      t.ok(arrived.opened, 'one arrives while the last one leaves');
    }
  });

  await t.test(
    'a server left behind by kill -9 of its process is used by the next, and stopped by it',
    async (t) => {
      const first = startHolder(t, varDir);
      t.ok((await first.opened).opened);
      const pid = serverPid(varDir);
      await first.kill('SIGKILL');
      t.equal(serverPid(varDir), pid, 'the server outlives it');
      const second = startHolder(t, varDir);
      t.ok((await second.opened).opened);
      t.equal(serverPid(varDir), pid, 'and is attached to');
      await second.close();
      t.equal(serverPid(varDir), null);
    },
  );

  await t.test('a Ctrl-C in the terminal does not reach the server', async (t) => {
    const holder = startHolder(t, varDir);
    t.ok((await holder.opened).opened);
    const pid = serverPid(varDir) ?? 0;
    const group = async (of: number | undefined) =>
      (await readFile(`/proc/${of}/stat`, 'utf8')).split(') ')[1]?.split(' ')[2];
    if (process.platform === 'linux')
      t.not(await group(pid), await group(holder.child.pid), 'another process group');
    await holder.kill('SIGTERM');
    t.equal(serverPid(varDir), pid);
    await startAndClose(t, varDir);
  });

  await t.test(
    'a server that is killed comes back, with its data, and every part of the registry heals',
    async (t) => {
      const registry = await startTestRegistry(t, { varDir });
      await registerModel(registry, 'kept');
      let resyncs = 0;
      const watch: RegistryWatch = registry.watch((event) => {
        if (event.kind === 'resync') resyncs++;
      });
      await eventually('listening', () => watch.state === 'listening');
      for (let round = 1; round <= 2; round++) {
        const pid = serverPid(varDir) ?? 0;
        process.kill(pid, 'SIGKILL');
        await eventually('another server', () => (serverPid(varDir) ?? pid) !== pid);
        await eventually('an answer', () =>
          registry.ping().then(
            () => true,
            () => false,
          ),
        );
        t.match(await registry.models.list(), [{ modelRef: 'kept@1' }]);
        await eventually('listening again', () => watch.state === 'listening' && resyncs > round);
      }
      t.ok((await startHolder(t, varDir).opened).opened, 'and others can join');
    },
  );

  await t.test('while it is down every failure is REGISTRY_UNAVAILABLE', async (t) => {
    const registry = await startTestRegistry(t, { varDir });
    process.kill(serverPid(varDir) ?? 0, 'SIGKILL');
    const attempts = await Promise.allSettled(Array.from({ length: 20 }, () => registry.routes.list()));
    for (const attempt of attempts)
      if (attempt.status === 'rejected') t.match(attempt.reason, refused('REGISTRY_UNAVAILABLE'));
    await eventually('healed', () =>
      registry.ping().then(
        () => true,
        () => false,
      ),
    );
  });

  await t.test('a stale pid file heals, even when its pid is another process by now', async (t) => {
    await startAndClose(t, varDir);
    const data = path.join(varDir, 'postgres', 'data');
    const { uid, gid } = await stat(data);
    // As after a container's restart: a process of the same user has the old server's pid.
    const innocent = spawn('sleep', ['60'], { ...(isRoot ? { uid, gid } : {}), stdio: 'ignore' });
    t.teardown(async () => {
      innocent.kill();
      if (innocent.exitCode === null && innocent.signalCode === null) await once(innocent, 'exit');
    });
    const file = path.join(data, 'postmaster.pid');
    await writeFile(
      file,
      `${innocent.pid}\n${data}\n1700000000\n5432\n/tmp/switchyard-pg-gone\n\n 1 2\nready   \n`,
    );
    if (isRoot) await chown(file, uid, gid);
    await startAndClose(t, varDir);
    t.equal(innocent.exitCode, null);
    t.notOk(innocent.killed, 'the other process is left alone');
  });

  await t.test('a folder in /tmp that somebody else prepared is not used', async (t) => {
    const holder = startHolder(t, varDir);
    t.ok((await holder.opened).opened);
    const socketFolder = serverSocketFolder(varDir);
    await holder.close();
    await mkdir(socketFolder);
    t.teardown(() => rm(socketFolder, { recursive: true, force: true }));
    if (isRoot) await chown(socketFolder, 4_321, 4_321);
    else await chmod(socketFolder, 0o777);
    const answer = await startHolder(t, varDir).opened;
    t.match(answer, { opened: false, error: /closed to others/ });
  });
});

t.test('any path will do', async (t) => {
  const folder = await temporaryFolder(t);
  const varDir = path.join(folder, "a b's ünï", 'x'.repeat(120), 'y'.repeat(120));
  await mkdir(varDir, { recursive: true });
  await startAndClose(t, varDir);
});

t.test('below a folder that only root may enter', { skip: isRoot ? false : 'needs root' }, async (t) => {
  const folder = await temporaryFolder(t);
  await chmod(folder, 0o700);
  const varDir = path.join(folder, 'checkout', 'var');
  const before = new Set(await readdir('/tmp'));
  const registry = await startTestRegistry(t, { varDir });
  await registerModel(registry, 'closed');
  await registry.close();
  const again = await startTestRegistry(t, { varDir });
  t.match(await again.models.list(), [{ modelRef: 'closed@1' }], 'the data lies in var_dir and stays');
  t.ok(existsSync(path.join(varDir, 'postgres', 'data', 'PG_VERSION')));
  await again.close();
  const left = (await readdir('/tmp')).filter(
    (name) => name.startsWith('switchyard-bin-') && !before.has(name),
  );
  t.ok(left.length <= 1, 'only a copy of the binaries, found again at the next start');
  for (const name of left) await rm(path.join('/tmp', name), { recursive: true });
});

t.test('as a user who is not root', { skip: isRoot ? false : 'every other test here runs so' }, async (t) => {
  const uid = 1; // `daemon` everywhere; initdb wants a user with a name
  const reachable = await new Promise<boolean>((resolve) => {
    const probe = spawn('test', ['-r', path.join(packageRoot(), 'package.json')], { uid, gid: uid });
    probe.on('exit', (code) => resolve(code === 0));
  });
  if (!reachable) {
    t.comment(`NOT TESTED: uid ${uid} cannot read the checkout ${packageRoot()}`);
    return;
  }
  const varDir = await temporaryFolder(t);
  const nameless = startHolder(t, varDir, 12_345);
  t.match(await nameless.opened, { opened: false, error: /may write there/ }, 'a folder it may not write');
  await chown(varDir, 12_345, 12_345);
  t.match(await startHolder(t, varDir, 12_345).opened, { opened: false, error: /name in \/etc\/passwd/ });
  await chown(varDir, uid, uid);
  for (const name of await readdir(varDir)) await rm(path.join(varDir, name), { recursive: true });
  const holder = startHolder(t, varDir, uid);
  t.match(await holder.opened, { opened: true, uid, models: 0 });
  const data = path.join(varDir, 'postgres', 'data');
  t.equal((await stat(data)).uid, uid);
  const asRoot = startHolder(t, varDir);
  t.match(await asRoot.opened, { opened: true, uid: 0 }, 'root joins it');
  await holder.close();
  await asRoot.close();
  await startAndClose(t, varDir);
  t.equal((await stat(data)).uid, uid, "root starts it as the folder's owner");
  const other = startHolder(t, varDir, uid + 1);
  t.match(
    await other.opened,
    { opened: false, error: /REGISTRY|may write|belongs to/ },
    'another user does not',
  );
  await other.close();
});

t.test('a data folder of another PostgreSQL version is refused and left alone', async (t) => {
  const varDir = await temporaryFolder(t);
  const data = path.join(varDir, 'postgres', 'data');
  await mkdir(data, { recursive: true });
  await writeFile(path.join(data, 'PG_VERSION'), '12\n');
  await t.rejects(startTestRegistry(t, { varDir }), {
    ...refused('REGISTRY_UNAVAILABLE'),
    message: /PostgreSQL 12.*DATABASE_URL/,
  });
  t.same(await readdir(data), ['PG_VERSION']);
});

t.test('without the package the message says what to do', async (t) => {
  const folder = await temporaryFolder(t);
  // The program as it is installed with --omit=optional: the same files, another node_modules.
  await cp(new URL('../../src', import.meta.url), path.join(folder, 'src'), { recursive: true });
  await writeFile(path.join(folder, 'package.json'), '{"type":"module","version":"0"}');
  const script = `
    const { findPostgresPackage } = await import(${JSON.stringify(path.join(folder, 'src/registry/embedded/package.js'))});
    findPostgresPackage().then(() => process.exit(1), (e) => console.log(e.reason, e.message));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: folder });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await once(child, 'exit');
  t.match(said, /^REGISTRY_UNAVAILABLE.*set DATABASE_URL.*install the package/);
});

async function startAndClose(t: Test, varDir: string) {
  const holder = startHolder(t, varDir);
  const answer = await holder.opened;
  t.ok(answer.opened, `opens ${varDir.slice(0, 60)} ${answer.error ?? ''} ${answer.cause ?? ''}`);
  await holder.close();
}
