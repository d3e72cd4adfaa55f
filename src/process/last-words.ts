import { writeSync } from 'node:fs';

/**
 * A line on stderr before a process or a thread ends: at once, since neither waits for what its stderr still holds.
 * Never throws: where nobody reads stderr any more, what follows must come all the same.
 */
export function sayLast(line: string): void {
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // Nobody reads it, or whoever does is far behind.
  }
}
