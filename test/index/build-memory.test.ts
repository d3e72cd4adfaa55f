import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { temporaryFolder } from './corpus.js';

const CHILD = fileURLToPath(new URL('./build-memory-child.js', import.meta.url));
const FEW = 4_096;
const MANY = 20_480;
const VECTOR_BYTES = 4 * 1024;

const linux = { skip: existsSync('/proc/self/status') ? false : 'the peak of a process is read from /proc' };

t.test('a build does not hold the vectors that it was given', linux, async (t) => {
  const growth = async (rows: number): Promise<number> => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--expose-gc',
      CHILD,
      temporaryFolder(t),
      String(rows),
    ]);
    return Number(stdout);
  };
  const grown = (await growth(MANY)) - (await growth(FEW));
  const vectors = (MANY - FEW) * VECTOR_BYTES;
  t.comment(`${grown} bytes more for ${vectors} bytes of vectors`);
  // What a build holds anyway, a third of it, would come on top if it held them.
  t.ok(grown < vectors, `${grown} bytes more for ${vectors} bytes of vectors`);
});
