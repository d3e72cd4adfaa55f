import { SwitchyardError } from '../errors.js';

/** Where a command's answer goes: stdout for the answer, stderr for everything said on the way. */
export interface Output {
  readonly json: boolean;
  /** The answer: as JSON with `--json`, else as the lines that `human` makes of it. */
  answer<T>(value: T, human: (value: T) => string): void;
  /** Progress and remarks; silent with `--json`. */
  say(line: string): void;
}

export function createOutput(json: boolean): Output {
  return {
    json,
    answer: (value, human) => {
      process.stdout.write(`${json ? JSON.stringify(value, null, 2) : human(value)}\n`);
    },
    say: (line) => {
      if (!json) process.stderr.write(`${line}\n`);
    },
  };
}

// Line ends and tabs too: what is printed here is one line of a list.
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/**
 * What others wrote (documents, reasons, names), for a terminal: no escape sequence reaches it, no text turns round what
 * stands beside it.
 */
export const printable = (text: string): string => text.replace(UNPRINTABLE, ' ');

/** Left-aligned columns, numbers right-aligned, no border: reads well and survives `cut` and `awk`. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [header, ...rows].map((row) => row.map((cell) => printable(String(cell))));
  const widths = header.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  const isNumber = header.map(
    (_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'),
  );
  return cells
    .map((row) =>
      row
        .map((cell, column) =>
          isNumber[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `3 s ago`, `5 min ago`: how fresh a report is. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`;
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

/** An error of a system call, with its code. */
export const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string';

/** What a person does about a file that the system does not give; other codes speak for themselves. */
const ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'run it as the user whom the folder belongs to, or name another one with --var-dir',
  EPERM: 'run it as the user whom the folder belongs to, or name another one with --var-dir',
  EROFS: 'that place is read-only: name another one with --var-dir',
  ENOSPC: 'the disk is full: free some, or name another place with --var-dir',
  EDQUOT: 'the quota is used up: free some, or name another place with --var-dir',
  EMFILE: 'this process may open no more files: raise its limit (ulimit -n)',
};

/** What a failed command prints, and its exit status. */
export function reportFailure(thrown: unknown, output: Pick<Output, 'json'>): number {
  if (isSystemError(thrown) && ADVICE[thrown.code ?? ''] !== undefined) {
    process.stderr.write(`error: ${thrown.message}: ${ADVICE[thrown.code ?? '']}\n`);
    return 1;
  }
  if (!(thrown instanceof SwitchyardError)) {
    process.stderr.write(
      `error: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`,
    );
    return 1;
  }
  if (output.json) {
    process.stdout.write(
      `${JSON.stringify({ error: { reason: thrown.reason, message: thrown.message, details: thrown.details } }, null, 2)}\n`,
    );
  } else process.stderr.write(`error: ${thrown.message} (${thrown.reason})\n`);
  return 1;
}
