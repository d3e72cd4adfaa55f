import { createReadStream } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { SwitchyardError } from '../../errors.js';
import { summariseFile } from '../../files/hash.js';
import { isLiving, Ownership, parseToken } from '../../files/owner.js';
import { asDiskError } from '../../files/publish.js';
import type { ArchiveStore, StoredFile } from './store-types.js';

const DRAFT = '.part';

/** Archives in a local folder, or one that is mounted. */
export class FolderStore implements ArchiveStore {
  readonly uri: string;
  readonly #folder: string;

  constructor(folder: string, uri: string) {
    this.#folder = folder;
    this.uri = uri;
  }

  async put(name: string, file: string, content: StoredFile): Promise<void> {
    const target = path.join(this.#folder, name);
    if (await holds(target, content)) {
      await dropDrafts(target);
      return;
    }
    const ownership = await Ownership.begin();
    const draft = `${target}.${ownership.token}${DRAFT}`;
    try {
      await mkdir(path.dirname(target), { recursive: true });
      ownership.beat(draft);
      await copyFile(file, draft);
      await synced(draft);
      await rename(draft, target);
      await synced(path.dirname(target));
      await dropDrafts(target);
    } catch (error) {
      await rm(draft, { force: true }).catch(() => undefined);
      throw unavailable(this.#folder, asDiskError(error, target));
    } finally {
      ownership.end();
    }
  }

  async read(name: string): Promise<AsyncIterable<Uint8Array> | null> {
    const file = path.join(this.#folder, name);
    try {
      await stat(file);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw unavailable(this.#folder, error);
    }
    return createReadStream(file, { highWaterMark: 1 << 20 });
  }

  close(): void {
    // Nothing is held open.
  }
}

/** What killed runs left of a file that is whole by now. */
async function dropDrafts(target: string): Promise<void> {
  const folder = path.dirname(target);
  const prefix = `${path.basename(target)}.`;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(prefix) || !name.endsWith(DRAFT)) continue;
    const draft = path.join(folder, name);
    const owner = parseToken(name.slice(prefix.length, -DRAFT.length));
    if (!(await isLiving(owner, draft))) await rm(draft, { force: true });
  }
}

async function holds(file: string, content: StoredFile): Promise<boolean> {
  try {
    if ((await stat(file)).size !== content.bytes) return false;
    return (await summariseFile(file)).sha256 === content.sha256;
  } catch {
    return false;
  }
}

async function synced(file: string): Promise<void> {
  const handle = await open(file, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function unavailable(folder: string, cause: unknown): SwitchyardError {
  if (cause instanceof SwitchyardError) return cause;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code ?? 'unknown';
  return new SwitchyardError(
    'ARCHIVE_UNAVAILABLE',
    `the archive folder ${folder} cannot be used (${code}): check that it is mounted and may be written`,
    { cause },
  );
}
