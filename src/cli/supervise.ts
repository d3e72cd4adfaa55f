import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type BackoffPolicy, backoffDelayMs } from '../process/backoff.js';
import type { Logger } from '../telemetry/log.js';
import type { Stop } from './until-stopped.js';

const BACKOFF: BackoffPolicy = Object.freeze({
  delayMsFirst: 200,
  delayMsMax: 30_000,
  factor: 2,
  jitter: 0.3,
  stableAfterMs: 60_000,
});

/**
 * Runs a program of Node's in a child and starts it again, after a growing pause, whenever it ends without being asked to: by
 * a signal, or with a status of its own. A first start that ends with a status is not repeated, since a configuration that
 * is wrong does not mend itself. Resolves with the exit status, once the child has drained.
 */
export async function supervise(
  program: string,
  args: readonly string[],
  stop: Pick<Stop, 'promise' | 'isAsked'>,
  log: Logger,
): Promise<number> {
  let child: ChildProcess | null = null;
  const ask = (signal: NodeJS.Signals) => (): void => void child?.kill(signal);
  const reload = ask('SIGHUP');
  process.on('SIGHUP', reload);
  void stop.promise.then(ask('SIGTERM'));
  try {
    for (let attempt = 1, lives = 1; ; attempt++, lives++) {
      const startedAtMs = performance.now();
      // The channel tells the child when its supervisor is gone, whatever ended that.
      child = fork(program, args, { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
      const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
      if (stop.isAsked || status === 0) return status ?? 1;
      if (lives === 1 && status !== null) return status;
      if (performance.now() - startedAtMs > BACKOFF.stableAfterMs) attempt = 1;
      const retryInMs = Math.round(backoffDelayMs(BACKOFF, attempt, Math.random));
      log.error({ status, signal, retryInMs }, 'the gateway ended without being asked to; starting it again');
      await Promise.race([new Promise((resolve) => setTimeout(resolve, retryInMs)), stop.promise]);
      if (stop.isAsked) return 0;
    }
  } finally {
    process.off('SIGHUP', reload);
  }
}

/** In a supervised child: asks it to end when its supervisor is gone. Elsewhere nothing. */
export function endWithSupervisor(): void {
  if (process.channel === undefined || process.channel === null) return;
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  process.channel.unref();
}
