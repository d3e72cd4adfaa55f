import { REASONS, type SwitchyardError, toSwitchyardError } from '../errors.js';
import type { Logger } from '../telemetry/log.js';

/** How long a client should wait before it tries again; null when the same request fails again. */
export function retryDelayMs(error: SwitchyardError): number | null {
  switch (REASONS[error.reason].retry) {
    case 'never':
      return null;
    case 'backoff':
      return error.retryAfterMs ?? 1_000;
    case 'other':
      return 0;
  }
}

/**
 * Any thrown value as the error that the client gets. What lies underneath is logged here and goes no further. Of a
 * client's own mistake only the kind is logged, and only at debug: a library's message may quote the request, and
 * clients must not fill the log.
 */
export function refusal(thrown: unknown, log: Logger, operation: string, requestId: string): SwitchyardError {
  const error = toSwitchyardError(thrown);
  if (error.reason === 'INTERNAL') {
    log.error({ err: error.cause ?? error, operation, requestId }, 'a request failed');
  } else if (REASONS[error.reason].http < 500) {
    const { code, name } = (error.cause ?? error) as { readonly code?: unknown; readonly name?: unknown };
    log.debug({ kind: code ?? name, operation, requestId, reason: error.reason }, 'a request was refused');
  } else if (error.cause !== undefined) {
    log.warn({ err: error.cause, operation, requestId, reason: error.reason }, 'a request failed');
  }
  return error;
}
