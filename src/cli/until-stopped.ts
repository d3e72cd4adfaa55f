export interface Stop {
  /** Resolves at the first SIGINT or SIGTERM. */
  readonly promise: Promise<void>;
  readonly isAsked: boolean;
  /** Gives the signals back to whoever had them before. */
  release(): void;
}

/**
 * Listens for SIGINT and SIGTERM from this call on: call it before anything is started that must be ended. A second
 * signal ends the process at once, for an operator in a hurry: child processes then notice that their parent is gone
 * and end by themselves; a private PostgreSQL stays for the next process of its folder to attach to.
 */
export function untilStopped(): Stop {
  let isAsked = false;
  let stopped: () => void = () => {};
  const promise = new Promise<void>((resolve) => {
    stopped = resolve;
  });
  const stop = (): void => {
    if (isAsked) process.exit(130);
    isAsked = true;
    stopped();
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  return {
    promise,
    release: () => {
      process.off('SIGINT', stop).off('SIGTERM', stop);
    },
    get isAsked() {
      return isAsked;
    },
  };
}
