import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import type { CommonOptions } from './options.js';

const NAME = 'switchyard';
/** What a shell takes as it stands. */
const PLAIN = /^[\w@%+=:,./-]+$/;

/** Makes lines that work as they are printed: called as this program was, with the options it was given. */
export type Printed = (rest: string) => string;

export function printedCommand(options: CommonOptions): Printed {
  const given = [
    ['--config', options.config],
    ['--var-dir', options.varDir],
    ['--grpc-port', options.grpcPort],
    ['--http-port', options.httpPort],
    ['--admin-port', options.adminPort],
    ['--admin-grpc-port', options.adminGrpcPort],
  ] as const;
  const words = given.flatMap(([name, value]) =>
    value === undefined ? [] : [name, shellWord(String(value))],
  );
  const program = programName(process.argv[1] ?? NAME, process.env.PATH ?? '', process.cwd());
  return (rest) => [program, rest, ...words].join(' ');
}

/** `switchyard` where a shell finds it, else where it lies: `bin/switchyard` in a checkout. */
export function programName(script: string, searchPath: string, cwd: string): string {
  if (path.basename(script) !== NAME) return NAME;
  if (searchPath.split(path.delimiter).some((folder) => isExecutable(path.join(folder, NAME)))) return NAME;
  const relative = path.relative(cwd, script);
  return shellWord(relative.startsWith('..') ? script : relative);
}

export const shellWord = (word: string): string =>
  PLAIN.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
