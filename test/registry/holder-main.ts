import { openRegistry } from '../../src/registry/registry.js';
import { silentLog } from '../fixtures/postgres.js';

/**
 * A process that uses the embedded registry of a folder: `node holder-main.js <varDir>`. Says one line of JSON when it
 * is open; closes and ends when its stdin does. A Ctrl-C it survives, as a gateway that drains does.
 */
process.on('SIGINT', () => undefined);
const [varDir = ''] = process.argv.slice(2);
try {
  const registry = await openRegistry({
    databaseUrl: null,
    varDir,
    log: silentLog,
    applicationName: 'switchyard-test-holder',
  });
  const models = await registry.models.list();
  process.stdout.write(
    `${JSON.stringify({ opened: true, uid: process.getuid?.(), models: models.length })}\n`,
  );
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.once('end', resolve));
  await registry.close();
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ opened: false, error: String(error), cause: String((error as Error).cause) })}\n`,
  );
  process.exitCode = 1;
}
