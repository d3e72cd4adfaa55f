import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A process with so many open files, or as many as this machine lets it have. */
export function startProcess(
  file: string,
  args: readonly string[] = [],
  openFiles = '"$(ulimit -Hn)"',
): ChildProcess {
  const script = fileURLToPath(new URL(file, import.meta.url));
  const line = `ulimit -n ${openFiles}; exec "$@"`;
  return spawn('env', ['-u', 'NODE_OPTIONS', 'sh', '-c', line, 'sh', process.execPath, script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
}

/** What it printed first, as JSON. */
export const firstLine = <T = Record<string, number>>(child: ChildProcess): Promise<T> =>
  new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.includes('\n')) resolve(JSON.parse(text) as T);
    });
    child.once('close', (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });

export const residentBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
