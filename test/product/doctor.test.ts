import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { readAheadOf } from '../../src/files/read-ahead.js';
import { BIN, type Finished, finished, spawnNode } from '../fixtures/product.js';

interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly check: string;
  readonly finding: string;
  readonly advice: string | null;
}

function freshFolder(t: Test): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'switchyard-doctor-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function doctor(
  varDir: string,
  ...args: string[]
): Promise<{ code: number | null; findings: Finding[] }> {
  const ports = ['--http-port', '0', '--grpc-port', '0', '--admin-grpc-port', '0'];
  const admin = args.includes('--admin-port') ? [] : ['--admin-port', '1'];
  // Nothing listens there: what is looked at is the rest.
  const env = { DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' };
  const ran = await finished(
    spawnNode(BIN, ['--var-dir', varDir, ...ports, ...admin, 'doctor', '--json', ...args], { env }),
  );
  if (!ran.stdout.startsWith('[')) throw new Error(ran.stderr);
  return { code: ran.code, findings: JSON.parse(ran.stdout) as Finding[] };
}

t.test('every finding that is not well says what to do', async (t) => {
  const { code, findings } = await doctor(freshFolder(t));
  t.equal(code, 1);
  for (const { level, check, advice } of findings)
    t.equal(advice === null, level === 'ok', `${check} is ${level}`);
  const find = (check: string) => findings.find((finding) => finding.check === check);
  t.match(find('registry'), { level: 'fail', advice: /docs\/operations\.md/ });
  t.match(find('models'), { level: 'warn', advice: /model import minilm/ });
  t.match(find('bundles'), { level: 'warn', advice: /corpus build/ });
  t.match(find('disk'), { finding: /free for/ });
  // Not every machine has its folder on a block device that /sys knows.
  if (readAheadOf(tmpdir()) !== null)
    t.match(find('read-ahead'), { finding: /a page fault reads \d+ KiB from the disk of/ });
  t.match(find('open files'), { finding: /\d+ may be open: up to \d+ clients on each public listener/ });
});

t.test('with few open files it says how many clients that leaves room for', async (t) => {
  const line = 'ulimit -n 900; exec "$@"';
  const args = [process.execPath, BIN, '--var-dir', freshFolder(t), '--admin-port', '1', 'doctor', '--json'];
  const { stdout } = await finished(
    spawn('env', ['-u', 'NODE_OPTIONS', 'sh', '-c', line, 'sh', ...args], {
      env: { ...process.env, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' },
      stdio: ['ignore', 'pipe', 'pipe'],
    }),
  );
  const found = (JSON.parse(stdout) as Finding[]).find(({ check }) => check === 'open files');
  t.match(found, { level: 'warn', finding: /900 may be open: up to 315 clients/, advice: /ulimit -n/ });
});

t.test('a taken port, and whose it is', async (t) => {
  const taken = createTcpServer();
  const locked = createServer((_request, response) => {
    response.writeHead(401, { 'content-type': 'application/problem+json' });
    response.end('{"reason":"UNAUTHENTICATED","detail":"no key"}');
  });
  const ports = await Promise.all(
    [taken, locked].map(async (server) => {
      await once(server.listen(0, '127.0.0.1'), 'listening');
      t.teardown(() => server.close());
      return String((server.address() as AddressInfo).port);
    }),
  );
  const [takenPort = '', lockedPort = ''] = ports;
  const { findings } = await doctor(
    freshFolder(t),
    ...['--http-port', takenPort, '--admin-port', lockedPort],
  );
  const find = (check: string) => findings.find((finding) => finding.check === check);
  t.match(find('port http'), {
    level: 'fail',
    finding: /taken by another program/,
    advice: /SWITCHYARD_LISTEN__HTTP__PORT/,
  });
  t.match(find('gateway'), { level: 'fail', finding: /asks for a key/, advice: /--key-file/ });
});

const isRoot = process.getuid?.() === 0;
t.test(
  'what its user may not read or write is a finding, and a short error of a command',
  { skip: isRoot ? false : 'only root can start a process of another user' },
  async (t) => {
    const varDir = freshFolder(t);
    for (const folder of ['models', 'bundles']) {
      mkdirSync(path.join(varDir, folder));
      chmodSync(path.join(varDir, folder), 0o700);
    }
    chmodSync(varDir, 0o755);
    const as = (user: string, line: string): Promise<Finished> =>
      finished(spawnNode(path.join(import.meta.dirname, 'as-user-main.js'), [user, line]));
    const command = (words: string) =>
      as('1', `exec '${process.execPath}' '${BIN}' ${words} --var-dir '${varDir}' --admin-port 1`);
    const reachable = await as('1', `test -r '${BIN}'`);
    if (reachable.code !== 0) {
      t.comment('NOT TESTED: uid 1 cannot read the checkout');
      return;
    }
    const examined = await command('doctor --json');
    t.equal(examined.code, 1);
    const findings = JSON.parse(examined.stdout) as Finding[];
    for (const check of ['models', 'bundles', 'var_dir'])
      t.match(
        findings.find((finding) => finding.check === check && finding.level === 'fail'),
        { advice: /user/ },
        check,
      );
    const imported = await command('model import minilm');
    t.equal(imported.code, 1);
    t.match(imported.stderr, /^error: /m);
    t.notMatch(imported.stderr, /\n\s+at /, 'no stack trace');
  },
);
