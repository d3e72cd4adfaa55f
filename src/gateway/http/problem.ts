import { REASONS, type SwitchyardError } from '../../errors.js';
import { retryDelayMs } from '../failure.js';

export const PROBLEM_TYPE = 'application/problem+json';

/** RFC 9457: the one mapping of an error to its HTTP shape. Details come first, so none can shadow a standard member. */
export function problem(error: SwitchyardError, requestId: string): Record<string, unknown> {
  const { http, title } = REASONS[error.reason];
  return {
    ...error.details,
    type: `urn:switchyard:reason:${error.reason}`,
    title,
    status: http,
    detail: error.message,
    reason: error.reason,
    instance: requestId,
  };
}

/** Whole seconds for Retry-After; null where trying again does not help. */
export function retryAfterSeconds(error: SwitchyardError): number | null {
  const delayMs = retryDelayMs(error);
  return delayMs === null ? null : Math.ceil(delayMs / 1000);
}
