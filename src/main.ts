import { CommanderError } from 'commander';
import { reportFailure } from './cli/output.js';
import { createProgram } from './cli/program.js';

/** Runs one command and gives its exit status: 0 done, 1 failed, 2 misused. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    await (await createProgram(args)).parseAsync([...args], { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    return reportFailure(error, { json: args.includes('--json') });
  }
}
