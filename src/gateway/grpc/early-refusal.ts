import type { Server } from '@grpc/grpc-js';
import { type SwitchyardError, toSwitchyardError } from '../../errors.js';
import type { Logger } from '../../telemetry/log.js';
import type { Caller } from '../auth/caller.js';
import { AUTHORIZATION, type Guard } from '../auth/guard.js';
import { refusal } from '../failure.js';
import type { Overload } from '../overload/overload.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import type { Operation, Requests } from '../requests.js';
import { PREFIX_BYTES } from './message-heads.js';
import { EMBED_FIELDS, type Peeked, type PeekFields, peek, SEARCH_FIELDS } from './peek.js';
import type { StatusEncoder } from './status.js';
import { type AnswerHeaders, beforeCalls, ignore, refuseStream } from './stream-handler.js';

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
  const encoded = new Map<string, AnswerHeaders>();
  let last: { readonly error: SwitchyardError; readonly headers: AnswerHeaders } | null = null;
  const headersOf = (error: SwitchyardError): AnswerHeaders => {
    if (last?.error === error) return last.headers;
    const headers = encoded.get(error.message) ?? headersOfRefusal(statuses, error);
    // What is told to one key alone says so in its details, and is not kept.
    if (error.reason === 'UNAUTHENTICATED' && encoded.size < KEPT_MAX && isEmpty(error.details))
      encoded.set(error.message, headers);
    last = { error, headers };
    return headers;
  };
  return beforeCalls(server, (accept) => (interceptors, stream, headers, flags, rawHeaders) => {
    const method = overload.isTight ? METHODS.get(headers[':path'] ?? '') : undefined;
    if (method === undefined) {
      accept(interceptors, stream, headers, flags, rawHeaders);
      return;
    }
    let isDecided = false;
    const pass = (): void => {
      isDecided = true;
      accept(interceptors, stream, headers, flags, rawHeaders);
    };
    const refuse = (error: SwitchyardError, requestId: string): void => {
      isDecided = true;
      requests.refused('grpc', method.operation, error.reason);
      refuseStream(stream, { ...headersOf(error), [REQUEST_ID_HEADER]: requestId });
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
      const work = workOf(chunk, method.fields);
      // Asked without being counted: whoever is over its quota is refused for that alone.
      const error =
        work === null || overload.hasRoom(work.kind, work.priority)
          ? null
          : (quotaRefusal(caller) ?? overload.refusal(work.kind, work.priority));
      if (error === null) {
        stream.unshift(chunk);
        pass();
        return;
      }
      refuse(error, ids.of(headers[REQUEST_ID_HEADER]));
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
export function headersOfRefusal(statuses: StatusEncoder, error: SwitchyardError): AnswerHeaders {
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

/** Null for what cannot be told: half a message, or one that says it is compressed. */
function workOf(chunk: Buffer, fields: PeekFields): Peeked | null {
  if (chunk.length < PREFIX_BYTES || chunk[0] !== 0) return null;
  const end = PREFIX_BYTES + chunk.readUInt32BE(1);
  if (end > chunk.length) return null;
  return peek(chunk.subarray(PREFIX_BYTES, end), fields);
}
