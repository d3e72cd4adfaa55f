import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Something that runs a function when it ends: a tap test, or a bench. */
export interface Teardown {
  teardown(cleanUp: () => Promise<void> | void): void;
}

/** A folder of its own, removed with all that is in it. Open to all users to enter, as a checkout usually is. */
export async function temporaryFolder(t: Teardown, prefix = 'switchyard-test-'): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), prefix));
  await chmod(folder, 0o755);
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
