import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isSameProcess, startTicksOf } from '../../files/process-identity.js';
import type { Logger } from '../../telemetry/log.js';

const FOLDER = 'gateways';
const MARKER = /^(\d+)-(\d+|unknown)\.running$/;
const HISTORY = 'unclean-exits.jsonl';

/**
 * A file under `var/gateways` for as long as a gateway runs over it. One whose process is gone tells the next gateway that
 * the last one ended without closing: killed, out of memory, or by a crash in native code. Each is counted and logged once.
 */
export class RunMarker {
  readonly #file: string;
  /** Of all gateways over this folder, ever. */
  readonly uncleanExits: number;

  private constructor(file: string, uncleanExits: number) {
    this.#file = file;
    this.uncleanExits = uncleanExits;
  }

  static async begin(varDir: string, log: Logger): Promise<RunMarker> {
    const folder = path.join(varDir, FOLDER);
    await mkdir(folder, { recursive: true });
    for (const name of await readdir(folder)) {
      const [, pid, ticks] = MARKER.exec(name) ?? [];
      if (pid === undefined || ticks === undefined) continue;
      if (await isSameProcess(Number(pid), ticks === 'unknown' ? null : ticks)) continue;
      if (!(await claim(path.join(folder, name)))) continue;
      log.error({ pid: Number(pid) }, 'a gateway over this folder ended without closing');
      const line = { pid: Number(pid), found_at: new Date().toISOString() };
      await appendFile(path.join(folder, HISTORY), `${JSON.stringify(line)}\n`);
    }
    const file = path.join(
      folder,
      `${process.pid}-${(await startTicksOf(process.pid)) ?? 'unknown'}.running`,
    );
    await writeFile(file, '');
    return new RunMarker(file, await linesOf(path.join(folder, HISTORY)));
  }

  async end(): Promise<void> {
    await rm(this.#file, { force: true });
  }
}

/** False when another gateway that starts at the same time was faster. */
async function claim(file: string): Promise<boolean> {
  const claimed = `${file}.${process.pid}`;
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
