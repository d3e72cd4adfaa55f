import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { SwitchyardError } from '../../errors.js';
import { HEADER_BYTES_MAX, headersTooLarge } from '../limits.js';
import { operationOf, type Requests } from '../requests.js';
import { type AnswerHeaders, beforeCalls, refuseStream } from './stream-handler.js';

const ENCODING = 'grpc-encoding';
const ACCEPT_ENCODING = 'grpc-accept-encoding';
const IDENTITY = 'identity';
/** Metadata of this kind is bytes, of which one header may hold many. */
const BINARY = '-bin';
const LETTER_N = 0x6e;

export interface HeadOptions {
  readonly requests: Requests;
  /** What a client is told: headers of an answer without a message. */
  readonly headersOf: (error: SwitchyardError) => AnswerHeaders;
}

/**
 * Looks at what stands before a message, before grpc-js does: it would make an object of every comma in binary metadata,
 * which a client repeats for a byte each, and inflate every message to its limit, however many come at once. False: as
 * `beforeCalls`.
 */
export function limitHeads(server: Server, { requests, headersOf }: HeadOptions): boolean {
  return beforeCalls(server, (accept) => (interceptors, stream, headers, flags, rawHeaders) => {
    const refused = refusalOf(headers, rawHeaders ?? entriesOf(headers));
    if (refused === null) {
      stream.respond = respondPlainly;
      accept(interceptors, stream, headers, flags, rawHeaders);
      return;
    }
    const operation = operationOf(headers[':path'] ?? '');
    if (operation !== undefined) requests.refused('grpc', operation, refused.reason);
    refuseStream(stream, { ...headersOf(refused), [ACCEPT_ENCODING]: IDENTITY });
  });
}

/** Null for a head that is passed on. Binary metadata is taken out of it: nothing here reads any. */
function refusalOf(headers: IncomingHttpHeaders, rawHeaders: readonly string[]): SwitchyardError | null {
  let bytes = 0;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] as string;
    bytes += name.length + (rawHeaders[at + 1] as string).length;
    if (name.charCodeAt(name.length - 1) === LETTER_N && name.endsWith(BINARY)) delete headers[name];
  }
  if (bytes > HEADER_BYTES_MAX) return headersTooLarge();
  return (headers[ENCODING] ?? IDENTITY) === IDENTITY ? null : compressed();
}

const compressed = (): SwitchyardError =>
  new SwitchyardError(
    'UNSUPPORTED_ENCODING',
    'messages must not be compressed: send grpc-encoding: identity, or none',
  );

/** Node gives them as they came too; should it not, this costs a little more. */
const entriesOf = (headers: IncomingHttpHeaders): readonly string[] =>
  Object.entries(headers).flatMap(([name, value]) => [name, String(value)]);

type Respond = ServerHttp2Stream['respond'];

/** grpc-js says of itself that it inflates, and its clients go by that. One function for all: it is told by `this`. */
function respondPlainly(
  this: ServerHttp2Stream,
  headers?: OutgoingHttpHeaders,
  options?: Parameters<Respond>[1],
): void {
  if (headers?.[ACCEPT_ENCODING] !== undefined) headers[ACCEPT_ENCODING] = IDENTITY;
  (Object.getPrototypeOf(this) as { readonly respond: Respond }).respond.call(this, headers, options);
}
