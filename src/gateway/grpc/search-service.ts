import { type handleUnaryCall, Metadata, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { type Reason, SwitchyardError } from '../../errors.js';
import type { EmbedOutcome, SearchOutcome } from '../../router/query.js';
import { TRACE_RESPONSE } from '../../telemetry/tracer.js';
import type { Caller } from '../auth/caller.js';
import type { Calls } from '../calls.js';
import type { FaceContext } from '../faces.js';
import { refusal } from '../failure.js';
import type { EmbedInput, SearchInput } from '../limits.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import type { Operation, RequestEnd, RequestScope } from '../requests.js';
import { isEvaluation, TRAFFIC_HEADER, uncounted } from '../traffic-header.js';
import type { ResponseEncoder } from './convert.js';
import type { Door } from './door.js';
import type { StatusEncoder } from './status.js';
import { checkRead, takeAnswer } from './unread-calls.js';

/** What a message says; the error that refuses it, or says that there is no room for what its sender asks. */
type Decode<T> = (bytes: Buffer, caller: Caller) => T | SwitchyardError;

export interface Decoders {
  readonly search: Decode<SearchInput>;
  readonly batch: Decode<readonly SearchInput[]>;
  readonly embed: Decode<EmbedInput>;
}

/** How a request is read, what is done for it, and the bytes that say what came of it. */
interface Work<T, Outcome> {
  readonly decode: Decode<T>;
  readonly run: (
    input: T,
    timeoutMs: number | null,
    caller: Caller,
    scope: RequestScope,
    traffic: unknown,
  ) => Promise<Outcome>;
  readonly encode: (outcome: Outcome) => Buffer;
}

/**
 * Handlers of switchyard.v1.SearchService. Messages come as they were sent, and are decoded here: when they are whole, and
 * the key may still use what they ask for. Answers go out as bytes.
 */
export function searchHandlers(
  calls: Calls,
  door: Door,
  decoders: Decoders,
  responses: ResponseEncoder,
  statuses: StatusEncoder,
  context: FaceContext,
): {
  Search: handleUnaryCall<Buffer, Buffer>;
  BatchSearch: handleUnaryCall<Buffer, Buffer>;
  Embed: handleUnaryCall<Buffer, Buffer>;
} {
  const ids = new RequestIds();

  async function answer<T, Outcome>(
    operation: Operation,
    call: ServerUnaryCall<Buffer, Buffer>,
    callback: sendUnaryData<Buffer>,
    { decode, run, encode }: Work<T, Outcome>,
  ): Promise<void> {
    const { metadata } = call;
    const given = metadata.get(REQUEST_ID_HEADER)[0];
    const caller = door.callerOf(metadata);
    const requestId = ids.of(given);
    const scope = context.requests.begin('grpc', operation, requestId, caller.keyId, metadata, firstOf);
    // grpc-js tells of a request when its message is there.
    const arrivedAtMs = performance.now();
    if (given !== undefined || scope.trace !== null) call.sendMetadata(told(scope));
    let outcome: Reason | 'OK' = 'OK';
    let entered = false;
    try {
      caller.checkStanding();
      caller.enter();
      entered = true;
      const input = decode(call.request, caller);
      if (input instanceof SwitchyardError) throw input;
      // What was refused until here took no time, and many of those would hide others that are late.
      scope.arrivedAtMs = arrivedAtMs;
      const traffic = firstOf(metadata, TRAFFIC_HEADER);
      const outcome = await run(input, timeoutMs(call.getDeadline()), caller, scope, traffic);
      checkRead(call, context.answers);
      const bytes = encode(outcome);
      takeAnswer(call, context.answers, bytes.length);
      callback(null, bytes);
    } catch (thrown) {
      const error = refusal(thrown, context.log, `grpc ${operation}`, requestId);
      outcome = error.reason;
      callback(statuses.encode(error, requestId));
    }
    if (entered) caller.leave();
    context.requests.finish(scope, call.cancelled ? endOfCancelled(call.getDeadline()) : outcome);
  }

  const search: Work<SearchInput, SearchOutcome> = {
    decode: decoders.search,
    run: (input, timeout, caller, scope, traffic) =>
      calls.search(isEvaluation(traffic, caller) ? uncounted(input) : input, timeout, caller, scope),
    encode: (outcome) => responses.search(outcome),
  };
  const batch: Work<readonly SearchInput[], readonly (SearchOutcome | SwitchyardError)[]> = {
    decode: decoders.batch,
    run: (inputs, timeout, caller, scope, traffic) =>
      calls.batchSearch(
        isEvaluation(traffic, caller) ? inputs.map(uncounted) : inputs,
        timeout,
        caller,
        scope,
      ),
    encode: (outcomes) => responses.batch(outcomes),
  };
  const embed: Work<EmbedInput, EmbedOutcome> = {
    decode: decoders.embed,
    run: (input, timeout, _caller, scope) => calls.embed(input, timeout, scope),
    encode: (outcome) => responses.embed(outcome),
  };

  return {
    Search: (call, callback) => void answer('search', call, callback, search),
    BatchSearch: (call, callback) => void answer('batch_search', call, callback, batch),
    Embed: (call, callback) => void answer('embed', call, callback, embed),
  };
}

const firstOf = (metadata: Metadata, name: string): unknown => metadata.get(name)[0];

/** What a client that brought an id, or whose request is traced, is told before the answer. */
function told({ requestId, trace }: RequestScope): Metadata {
  const metadata = new Metadata();
  metadata.set(REQUEST_ID_HEADER, requestId);
  if (trace !== null) metadata.set(TRACE_RESPONSE, trace.traceResponse);
  return metadata;
}

/** Clients cancel what they wait for no longer; a deadline that passed is not their change of mind. */
const endOfCancelled = (deadline: Date | number): RequestEnd =>
  (timeoutMs(deadline) ?? Number.POSITIVE_INFINITY) > 0 ? 'CANCELLED' : 'DEADLINE_EXCEEDED';

/** grpc-js gives the client's deadline as a point on the wall clock, Infinity for none. */
function timeoutMs(deadline: Date | number): number | null {
  const atMs = typeof deadline === 'number' ? deadline : deadline.getTime();
  return atMs === Number.POSITIVE_INFINITY ? null : atMs - Date.now();
}
