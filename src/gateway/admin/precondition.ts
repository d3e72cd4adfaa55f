import { SwitchyardError } from '../../errors.js';
import { invalidArgument } from '../limits.js';

export interface PreconditionHeaders {
  readonly 'if-match'?: string | undefined;
  readonly 'if-none-match'?: string | undefined;
}

/** A revision as an entity tag. */
export const etagOf = (revision: number): string => `"${revision}"`;

/**
 * The revision that a change is based on: `If-Match: "7"`; 0 for `If-None-Match: *` or `If-Match: "0"`, which make a
 * route; null where neither is sent. `If-Match: *` would overwrite what nobody looked at, so it is refused.
 */
export function expectedRevision(headers: PreconditionHeaders): number | null {
  const match = headers['if-match'];
  const noneMatch = headers['if-none-match'];
  if (match !== undefined && noneMatch !== undefined)
    throw invalidArgument('if-match', 'both If-Match and If-None-Match are sent: send one of the two');
  if (noneMatch !== undefined) {
    if (noneMatch.trim() === '*') return 0;
    throw invalidArgument(
      'if-none-match',
      'If-None-Match must be *, which makes a route that does not exist',
    );
  }
  if (match === undefined) return null;
  const revision = /^"(\d{1,15})"$/.exec(match.trim())?.[1];
  if (revision === undefined)
    throw invalidArgument('if-match', 'If-Match must be one revision in quotes, as ETag has it, e.g. "7"');
  return Number(revision);
}

/** The current revision in a REVISION_CONFLICT, as the ETag to read again by; null for other errors. */
export function conflictEtag(error: unknown): string | null {
  if (!(error instanceof SwitchyardError) || error.reason !== 'REVISION_CONFLICT') return null;
  const current = error.details.current_revision;
  return current !== undefined && /^\d+$/.test(current) ? `"${current}"` : null;
}
