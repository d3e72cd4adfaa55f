import type { Server } from '@grpc/grpc-js';
import { type SwitchyardError, toSwitchyardError } from '../../errors.js';
import type { Logger } from '../../telemetry/log.js';
import type { Caller } from '../auth/caller.js';
import { AUTHORIZATION, type Guard } from '../auth/guard.js';
import { refusal } from '../failure.js';
import type { Overload } from '../overload/overload.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import type { Operation, Requests } from '../requests.js';
import { EMBED_FIELDS, type PeekFields, peek, SEARCH_FIELDS } from './peek.js';
import type { StatusEncoder } from './status.js';
import { beforeCalls } from './stream-handler.js';

const SERVICE = '/switchyard.v1.SearchService';
const METHODS: ReadonlyMap<string, { readonly operation: Operation; readonly fields: PeekFields }> = new Map([
  [`${SERVICE}/Search`, { operation: 'search', fields: SEARCH_FIELDS }],
  [`${SERVICE}/Embed`, { operation: 'embed', fields: EMBED_FIELDS }],
]);
/** Refusals that are kept encoded: those of strangers say one of few things, whoever asks. */
const KEPT_MAX = 16;
/** As grpc-js answers a call that ends before its message. */
const WITHOUT_MESSAGE = {
  ':status': 200,
  'content-type': 'application/grpc+proto',
  'grpc-status': 13,
  'grpc-message': 'the request has no message',
};
/** One byte that says whether the message is compressed, four of its length. */
const PREFIX_BYTES = 5;

/**
 * Refuses under overload before grpc-js makes a call of a stream: that alone costs most of what a refusal costs, and how
 * much goodput is left at several times capacity depends on nothing else. While there is room nothing is done here.
 * The order is that of every face: who asks, then what the key may still use, then whether there is room. False: as
 * `beforeCalls`; refusals are then made by the decoders, later and for more.
 */
export function refuseEarly(
  server: Server,
  { overload, requests, guard, log, statuses }: EarlyRefusalOptions,
): boolean {
  const ids = new RequestIds();
  const encoded = new Map<string, Readonly<Record<string, unknown>>>();
  let last: { readonly error: SwitchyardError; readonly headers: Readonly<Record<string, unknown>> } | null =
    null;
  const headersOf = (error: SwitchyardError): Readonly<Record<string, unknown>> => {
    if (last?.error === error) return last.headers;
    const headers = encoded.get(error.message) ?? headersOfRefusal(statuses, error);
    // What is told to one key alone says so in its details, and is not kept.
    if (error.reason === 'UNAUTHENTICATED' && encoded.size < KEPT_MAX && isEmpty(error.details))
      encoded.set(error.message, headers);
    last = { error, headers };
    return headers;
  };
  return beforeCalls(server, (accept) => (interceptors, stream, headers) => {
    const method = overload.isTight ? METHODS.get(headers[':path'] ?? '') : undefined;
    if (method === undefined) {
      accept(interceptors, stream, headers);
      return;
    }
    let isDecided = false;
    const pass = (): void => {
      isDecided = true;
      accept(interceptors, stream, headers);
    };
    const refuse = (error: SwitchyardError, requestId: string): void => {
      isDecided = true;
      requests.refused('grpc', method.operation, error.reason);
      // A client that is gone already is told nothing; Node throws where that is tried.
      if (stream.destroyed || stream.closed) return;
      stream.respond({ ...headersOf(error), [REQUEST_ID_HEADER]: requestId } as never, { endStream: true });
      stream.resume();
    };
    stream.on('error', ignore);
    let caller: Caller;
    try {
      caller = guard.admit(headers[AUTHORIZATION], 'search');
    } catch (thrown) {
      const requestId = ids.of(headers[REQUEST_ID_HEADER]);
      refuse(refusal(thrown, log, `grpc ${method.operation}`, requestId), requestId);
      return;
    }
    const look = (chunk: Buffer): void => {
      if (isDecided) return;
      stream.pause();
      const error = refusalOf(chunk, method.fields, overload);
      if (error === null) {
        stream.unshift(chunk);
        pass();
        return;
      }
      refuse(quotaRefusal(caller) ?? error, ids.of(headers[REQUEST_ID_HEADER]));
    };
    stream.once('data', look);
    // What did not come with the headers is waited for by grpc-js, which keeps the deadline.
    setImmediate(() => {
      if (isDecided || stream.destroyed) return;
      if (stream.readableEnded) {
        stream.respond(WITHOUT_MESSAGE as never, { endStream: true });
        return;
      }
      stream.off('data', look);
      stream.pause();
      pass();
    });
  });
}

export interface EarlyRefusalOptions {
  readonly overload: Overload;
  readonly requests: Requests;
  readonly guard: Guard;
  readonly log: Logger;
  readonly statuses: StatusEncoder;
}

/** An answer without a message, as grpc-js would make it. */
export function headersOfRefusal(
  statuses: StatusEncoder,
  error: SwitchyardError,
): Readonly<Record<string, unknown>> {
  const { code, details, metadata } = statuses.encode(error, '-');
  return {
    ':status': 200,
    'content-type': 'application/grpc+proto',
    'grpc-status': code,
    'grpc-message': encodeURI(details ?? ''),
    ...metadata?.toHttp2Headers(),
  };
}

/** A request that is refused uses up its place in the key's rate too, or there would be no end of them. */
function quotaRefusal(caller: Caller): SwitchyardError | null {
  try {
    caller.enter();
  } catch (thrown) {
    return toSwitchyardError(thrown);
  }
  caller.leave();
  return null;
}

const isEmpty = (details: Readonly<Record<string, string>>): boolean => Object.keys(details).length === 0;

/** Null for what there is room for, and for what cannot be told: half a message, or a compressed one. */
function refusalOf(chunk: Buffer, fields: PeekFields, overload: Overload): SwitchyardError | null {
  if (chunk.length < PREFIX_BYTES || chunk[0] !== 0) return null;
  const end = PREFIX_BYTES + chunk.readUInt32BE(1);
  if (end > chunk.length) return null;
  const peeked = peek(chunk.subarray(PREFIX_BYTES, end), fields);
  return peeked === null ? null : overload.refusal(peeked.kind, peeked.priority);
}

/** A client that goes away while it is refused. */
const ignore = (): void => undefined;
