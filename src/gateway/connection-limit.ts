import { readFileSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import type { HangUpReason } from './unread/client-connection.js';

/** Of the files that the process may have open, what each listener's clients may take; the rest is for everything else. */
const PUBLIC_SHARE = 0.35;
const ADMIN_SHARE = 0.05;
const ADMIN_MAX = 1_024;
/** Where the system does not say how many files there may be. */
const OPEN_FILES_ASSUMED = 1_024;

export interface ConnectionCounts {
  readonly open: number;
  /** Hung up on, since there were as many as may be. */
  readonly dropped: number;
}

export interface ListenerConnections extends ConnectionCounts {
  /** Clients that did not read their answers. */
  readonly hungUp: Readonly<Record<HangUpReason, number>>;
}

/**
 * How many clients a listener has at once. Without a limit whoever opens connections takes the files that indexes,
 * PostgreSQL and operators need.
 */
export class ConnectionLimit {
  readonly #max: number;
  #open = 0;
  #dropped = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get counts(): ConnectionCounts {
    return { open: this.#open, dropped: this.#dropped };
  }

  /** Once for the server of the listener, before it listens. */
  apply(server: Server): void {
    server.maxConnections = this.#max;
    server.on('connection', (socket: Socket) => {
      this.#open++;
      socket.once('close', () => this.#open--);
    });
    server.on('drop', () => this.#dropped++);
  }
}

export interface ConnectionsMax {
  /** Of each of the two. */
  readonly publicListeners: number;
  readonly adminListeners: number;
}

/** `configured`: of each public listener; null: by the files that this process may have open. */
export function connectionsMax(configured: number | null, openFiles = openFilesMax()): ConnectionsMax {
  const fitting = Math.floor(openFiles * PUBLIC_SHARE);
  return {
    publicListeners: Math.min(configured ?? fitting, fitting),
    adminListeners: Math.min(ADMIN_MAX, Math.floor(openFiles * ADMIN_SHARE)),
  };
}

/** As this process was allowed; Node raises the soft limit to the hard one when it starts. */
export function openFilesMax(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? OPEN_FILES_ASSUMED);
  } catch {
    return OPEN_FILES_ASSUMED; // no /proc here
  }
}
