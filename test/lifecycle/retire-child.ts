import { loadConfig } from '../../src/config/load.js';
import { registryVersionRecords, type VersionRecords } from '../../src/lifecycle/retire/records.js';
import { retireVersion } from '../../src/lifecycle/retire/retire-version.js';
import { openRegistry } from '../../src/registry/registry.js';
import { silentLog } from '../fixtures/postgres.js';

const AUTHOR = { actor: 'child', reason: 'a test' };
const V1 = { corpus: 'docs_kb', version: 'v1' };
const HOLD_MS = 60_000;

/** Where the kill is to come, everything on this thread waits for it. */
function say(point: string): void {
  process.stdout.write(`${point}\n`);
  if (process.env.HOLD_AT === point) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, HOLD_MS);
}

/** Says when the archive is about to be recorded. */
const told = (records: VersionRecords): VersionRecords => ({
  ...records,
  recordArchive: async (archive) => {
    say('recording');
    await records.recordArchive(archive);
  },
});

/**
 * Retires a version, for the test that kills it: `retire-child.js <var folder> <database> <place>`.
 * Prints each step as it comes, and the SHA-256 of the archive at its end.
 */
async function main(varDir: string, databaseUrl: string, to: string): Promise<void> {
  const registry = await openRegistry({
    databaseUrl,
    varDir,
    log: silentLog,
    applicationName: 'retire-child',
  });
  const config = loadConfig({ file: null, env: {}, cwd: varDir, overrides: { var_dir: varDir } });
  const records = told(registryVersionRecords(registry, config.bundlesDir, AUTHOR));
  const { signal } = new AbortController();
  const events = { onFile: (name: string) => say(`file ${name}`) };
  const parts = { config, records, log: silentLog, signal, events };
  const { sha256 } = await retireVersion(
    { ...V1, to, quietDays: 0 },
    { ...parts, onStep: (step) => say(`step ${step}`) },
  );
  say(`done ${sha256}`);
  await registry.close();
}

const [, , varDir, databaseUrl, to] = process.argv;
if (varDir !== undefined && databaseUrl !== undefined && to !== undefined)
  await main(varDir, databaseUrl, to);
