import { randomBytes } from 'node:crypto';

/** Header (HTTP) and metadata (gRPC) that name a request in answers, problem documents and the log. */
export const REQUEST_ID_HEADER = 'x-request-id';
export const REQUEST_ID_PATTERN = '^[A-Za-z0-9._-]{1,128}$';
const VALID = new RegExp(REQUEST_ID_PATTERN);

/** The client's id where it is one, else a fresh one: unique per process by its prefix, and cheap. */
export class RequestIds {
  readonly #prefix = randomBytes(6).toString('hex');
  #sequence = 0;

  of(given: unknown): string {
    if (typeof given === 'string' && VALID.test(given)) return given;
    return `${this.#prefix}-${(++this.#sequence).toString(36)}`;
  }
}
