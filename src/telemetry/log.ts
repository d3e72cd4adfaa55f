import { destination, type Logger, pino } from 'pino';

export type { Logger };

/** Structured logs on stderr, one JSON object a line; stdout belongs to the answer of a command. */
export function createLogger(level: string): Logger {
  return pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ dest: 2, sync: true }),
  );
}

/** The same logger as the plain function that supervisors report to. */
export const reporter =
  (log: Logger) =>
  (
    level: 'info' | 'warn' | 'error',
    message: string,
    fields: Readonly<Record<string, string | number>>,
  ): void =>
    log[level](fields, message);
