import { SwitchyardError } from '../errors.js';
import { allows, leastRole } from './auth/access.js';
import type { Caller } from './auth/caller.js';
import { invalidArgument, type SearchInput } from './limits.js';

/** Says in a header (HTTP) or in metadata (gRPC) what a search is for. */
export const TRAFFIC_HEADER = 'x-switchyard-traffic';
/** It compares versions: whoever sends it depends on none, and it is not counted. */
export const EVALUATION = 'evaluation';

/**
 * Whether a search says that it is not to be counted; `given`: the header, undefined where there is none. Counts keep a
 * version from being retired under who reads it, so a key that only searches is held to them.
 * Errors: INVALID_ARGUMENT, PERMISSION_DENIED.
 */
export function isEvaluation(given: unknown, { role, keyId }: Caller): boolean {
  if (given === undefined) return false;
  if (given !== EVALUATION)
    throw invalidArgument(TRAFFIC_HEADER, `${TRAFFIC_HEADER} must be ${EVALUATION}, or left out`);
  if (role === null || allows(role, 'operate')) return true;
  const needed = leastRole('operate');
  throw new SwitchyardError(
    'PERMISSION_DENIED',
    `key ${keyId} has the role ${role}, and searches that are not counted need ${needed}: leave ${TRAFFIC_HEADER} out`,
    { details: { role, needed } },
  );
}

export const uncounted = (input: SearchInput): SearchInput => ({ ...input, isEvaluation: true });
