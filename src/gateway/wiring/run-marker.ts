import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isLiving, Ownership, parseToken } from '../../files/owner.js';
import type { Logger } from '../../telemetry/log.js';

const FOLDER = 'gateways';
const SUFFIX = '.running';
const HISTORY = 'unclean-exits.jsonl';
/** A gateway of another container is known to be dead only some time after its end. */
const LOOK_MS = 30_000;

/**
 * A file under `var/gateways` for as long as a gateway runs over it. One whose process is gone tells the others over the
 * folder that it ended without closing: killed, out of memory, or by a crash in native code. Each is counted and logged once.
 */
export class RunMarker {
  readonly #folder: string;
  readonly #log: Logger;
  readonly #ownership: Ownership;
  readonly #looks: NodeJS.Timeout;
  #uncleanExits = 0;

  private constructor(folder: string, log: Logger, ownership: Ownership) {
    this.#folder = folder;
    this.#log = log;
    this.#ownership = ownership;
    this.#looks = setInterval(() => {
      this.look().catch((error: unknown) => log.warn({ err: error }, 'var/gateways could not be read'));
    }, LOOK_MS).unref();
  }

  static async begin(varDir: string, log: Logger): Promise<RunMarker> {
    const folder = path.join(varDir, FOLDER);
    await mkdir(folder, { recursive: true });
    const marker = new RunMarker(folder, log, await Ownership.begin());
    try {
      await marker.look();
      await writeFile(marker.#file, '');
      marker.#ownership.beat(marker.#file);
    } catch (error) {
      await marker.end();
      throw error;
    }
    return marker;
  }

  /** Of all gateways over this folder, ever. */
  get uncleanExits(): number {
    return this.#uncleanExits;
  }

  /** Counts gateways that ended without closing. */
  async look(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (!name.endsWith(SUFFIX)) continue;
      const file = path.join(this.#folder, name);
      const owner = parseToken(name.slice(0, -SUFFIX.length));
      if (await isLiving(owner, file)) continue;
      if (!(await claim(file, this.#ownership.token))) continue;
      const pid = owner?.pid ?? null;
      this.#log.error({ pid }, 'a gateway over this folder ended without closing');
      const line = { pid, found_at: new Date().toISOString() };
      await appendFile(path.join(this.#folder, HISTORY), `${JSON.stringify(line)}\n`);
    }
    this.#uncleanExits = await linesOf(path.join(this.#folder, HISTORY));
  }

  async end(): Promise<void> {
    clearInterval(this.#looks);
    this.#ownership.end();
    await rm(this.#file, { force: true });
  }

  get #file(): string {
    return path.join(this.#folder, `${this.#ownership.token}${SUFFIX}`);
  }
}

/** False when another gateway that looks at the same time was faster. */
async function claim(file: string, by: string): Promise<boolean> {
  const claimed = `${file}.${by}`;
  try {
    await rename(file, claimed);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  await rm(claimed, { force: true });
  return true;
}

async function linesOf(file: string): Promise<number> {
  try {
    return (await readFile(file, 'utf8')).split('\n').length - 1;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
}
