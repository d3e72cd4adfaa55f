import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { processesMentioning } from '../fixtures/processes.js';
import { BIN, spawnNode } from '../fixtures/product.js';

t.test(
  'Ctrl-C while the gateway still starts ends it cleanly and leaves no PostgreSQL running',
  async (t) => {
    const varDir = mkdtempSync(path.join(tmpdir(), 'switchyard-interrupted-'));
    t.teardown(() => rmSync(varDir, { recursive: true, force: true }));
    const ports = ['--http-port', '0', '--grpc-port', '0', '--admin-port', '0'];
    const child = spawnNode(BIN, ['serve', '--var-dir', varDir, ...ports], {
      env: { SWITCHYARD_LISTEN__ADMIN_GRPC__PORT: '0' },
    });
    child.stdout?.resume();
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (!said.includes('PostgreSQL started') && (said + text).includes('PostgreSQL started'))
        child.kill('SIGINT');
      said += text;
    });
    const [code, signal] = await once(child, 'close');
    t.match(said, /PostgreSQL started/, 'it had started its private server');
    t.same({ code, signal }, { code: 0, signal: null });
    t.same(processesMentioning(varDir), []);
  },
);
