import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { installBinaries } from '../../src/registry/embedded/binaries.js';
import { findPostgresPackage } from '../../src/registry/embedded/package.js';
import { chooseServerUser, runAs } from '../../src/registry/embedded/server-user.js';
import { type Teardown, temporaryFolder } from '../fixtures/postgres.js';

export const PASSWORD = 'p@ss/w0rd%secret';

/** Folder of `initdb` and `postgres` of Debian's package; null where it is not installed. */
export function debianBinaries(): string | null {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return null;
  const version = readdirSync(root).sort().at(-1);
  const folder = path.join(root, version ?? '', 'bin');
  return existsSync(path.join(folder, 'initdb')) ? folder : null;
}

export async function packageBinaries(t: Teardown): Promise<string> {
  const varDir = await temporaryFolder(t);
  const user = await chooseServerUser(path.join(varDir, 'none'));
  return path.join(await installBinaries(await findPostgresPackage(), varDir, user), 'bin');
}

export interface GivenServer {
  readonly port: number;
  url(password?: string, database?: string): string;
  stop(): Promise<void>;
  start(): Promise<void>;
}

/** An ordinary server as an operator has one: TCP, a user, a password (SCRAM). */
export async function startGivenServer(t: Teardown, binaries: string): Promise<GivenServer> {
  const folder = await temporaryFolder(t);
  const user = await chooseServerUser(path.join(folder, 'none'));
  const data = path.join(folder, 'data');
  const passwordFile = path.join(folder, 'password');
  await mkdir(data);
  await writeFile(passwordFile, PASSWORD);
  await chmod(passwordFile, 0o644);
  if (user.isOther) await chown(data, user.uid, user.gid);
  const options = { ...runAs(user), cwd: '/', env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' } };
  await promisify(execFile)(
    path.join(binaries, 'initdb'),
    [
      '-D',
      data,
      '-U',
      'operator',
      '-A',
      'scram-sha-256',
      `--pwfile=${passwordFile}`,
      '--no-sync',
      '-E',
      'UTF8',
    ],
    options,
  );
  const port = await freePort();
  let child: ChildProcess | null = null;
  const server: GivenServer = {
    port,
    url: (password = PASSWORD, database = 'postgres') =>
      `postgresql://operator:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`,
    start: async () => {
      const settings = { port, listen_addresses: '127.0.0.1', unix_socket_directories: '', fsync: 'off' };
      const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
      const started = spawn(path.join(binaries, 'postgres'), ['-D', data, ...flags], {
        ...options,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      child = started;
      for await (const chunk of started.stderr.iterator({ destroyOnReturn: false }))
        if (String(chunk).includes('ready to accept connections')) break;
      started.stderr.resume();
    },
    stop: async () => {
      if (child === null) return;
      const ended = once(child, 'exit');
      child.kill('SIGINT');
      child = null;
      await ended;
    },
  };
  await server.start();
  t.teardown(() => server.stop());
  return server;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
