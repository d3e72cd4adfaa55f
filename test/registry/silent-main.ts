import { once } from 'node:events';
import { openRegistry } from '../../src/registry/registry.js';
import { silentLog } from '../fixtures/postgres.js';
import { eventually } from './registry-fixtures.js';

/** A process whose registry falls silent when it is told so: it closes it, and then ends by itself. Arguments: URL, folder. */
const [databaseUrl = '', varDir = ''] = process.argv.slice(2);
const registry = await openRegistry({
  databaseUrl,
  varDir,
  log: silentLog,
  applicationName: 'switchyard-test-silent',
});
const watch = registry.watch(() => undefined);
await eventually('listening', () => watch.state === 'listening');
process.stdout.write('listening\n');
await once(process.stdin, 'data');
process.stdin.destroy();
await Promise.allSettled([registry.ping(), registry.models.list()]);
process.stdout.write(`${registry.circuit().state}\n`);
await registry.close();
process.stdout.write('closed\n');
