import { invalidArgument } from '../limits.js';

/** Header (HTTP) and metadata (gRPC) that say who changes something; a key's id is added by who verified it. */
export const ACTOR_HEADER = 'x-switchyard-actor';
/** Where neither the request nor its header names anybody. */
export const ACTOR_DEFAULT = 'admin';

/** For the audit: what a request says of its author, and the key that proves as much of it as is known. */
export function signedActor(stated: string | null, keyId: string | null): string {
  if (keyId === null) return stated ?? ACTOR_DEFAULT;
  return stated === null ? `key ${keyId}` : `${stated} (key ${keyId})`;
}

export const LIST_LIMIT_DEFAULT = 100;
export const LIST_LIMIT_MAX = 1_000;

/** How many rows of a history are wanted. Errors: INVALID_ARGUMENT. */
export function listLimit(limit: number = LIST_LIMIT_DEFAULT): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIST_LIMIT_MAX) return limit;
  throw invalidArgument('limit', `limit must be a whole number 1..${LIST_LIMIT_MAX}`, {
    max: String(LIST_LIMIT_MAX),
  });
}
