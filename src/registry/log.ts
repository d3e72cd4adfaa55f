import type { Logger } from 'pino';

/** What the registry needs of a logger; any pino logger will do. Messages never hold passwords or query texts. */
export type RegistryLog = Pick<Logger, 'info' | 'warn' | 'error'>;
