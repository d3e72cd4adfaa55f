import type { handleUnaryCall, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { type Reason, SwitchyardError } from '../../errors.js';
import type { Caller } from '../auth/caller.js';
import type { Calls } from '../calls.js';
import type { FaceContext, Operation } from '../faces.js';
import { refusal } from '../failure.js';
import type { EmbedInput, SearchInput } from '../limits.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import type { ResponseEncoder } from './convert.js';
import type { Door } from './door.js';
import type { StatusEncoder } from './status.js';

type Decoded<T> = T | SwitchyardError;
type Answer<T> = (input: T, timeoutMs: number | null, caller: Caller) => Promise<Buffer>;

/** Handlers of switchyard.v1.SearchService. Requests come decoded or refused, answers go out as bytes. */
export function searchHandlers(
  calls: Calls,
  door: Door,
  responses: ResponseEncoder,
  statuses: StatusEncoder,
  context: FaceContext,
): {
  Search: handleUnaryCall<Decoded<SearchInput>, Buffer>;
  BatchSearch: handleUnaryCall<Decoded<readonly SearchInput[]>, Buffer>;
  Embed: handleUnaryCall<Decoded<EmbedInput>, Buffer>;
} {
  const ids = new RequestIds();

  async function answer<T>(
    operation: Operation,
    call: ServerUnaryCall<Decoded<T>, Buffer>,
    callback: sendUnaryData<Buffer>,
    run: Answer<T>,
  ): Promise<void> {
    const startedAtMs = performance.now();
    let outcome: Reason | 'OK' = 'OK';
    const caller = door.callerOf(call.metadata);
    let entered = false;
    try {
      caller.enter();
      entered = true;
      if (call.request instanceof SwitchyardError) throw call.request;
      callback(null, await run(call.request, timeoutMs(call.getDeadline()), caller));
    } catch (thrown) {
      const requestId = ids.of(call.metadata.get(REQUEST_ID_HEADER)[0]);
      const error = refusal(thrown, context.log, `grpc ${operation}`, requestId);
      outcome = error.reason;
      callback(statuses.encode(error, requestId));
    }
    if (entered) caller.leave();
    context.metrics.requestFinished('grpc', operation, outcome, performance.now() - startedAtMs);
  }

  const search: Answer<SearchInput> = async (input, timeout, caller) =>
    responses.search(await calls.search(input, timeout, caller));
  const batch: Answer<readonly SearchInput[]> = async (inputs, timeout, caller) =>
    responses.batch(await calls.batchSearch(inputs, timeout, caller));
  const embed: Answer<EmbedInput> = async (input, timeout) =>
    responses.embed(await calls.embed(input, timeout));

  return {
    Search: (call, callback) => void answer('search', call, callback, search),
    BatchSearch: (call, callback) => void answer('batch_search', call, callback, batch),
    Embed: (call, callback) => void answer('embed', call, callback, embed),
  };
}

/** grpc-js gives the client's deadline as a point on the wall clock, Infinity for none. */
function timeoutMs(deadline: Date | number): number | null {
  const atMs = typeof deadline === 'number' ? deadline : deadline.getTime();
  return atMs === Number.POSITIVE_INFINITY ? null : atMs - Date.now();
}
