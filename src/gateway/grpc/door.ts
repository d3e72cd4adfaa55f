import {
  type Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  type ServerMethodDefinition,
} from '@grpc/grpc-js';
import { systemTimers } from '../../process/timers.js';
import { accessOfMethod } from '../auth/access.js';
import { ANYONE, type Caller } from '../auth/caller.js';
import { AUTHORIZATION, type Guard } from '../auth/guard.js';
import type { FaceContext } from '../faces.js';
import { refusal } from '../failure.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import { operationOf } from '../requests.js';
import { OpenStreams } from './open-streams.js';
import type { StatusEncoder } from './status.js';

type Method = ServerMethodDefinition<unknown, unknown>;
type Call = ServerInterceptingCallInterface;

/**
 * The guard of a gRPC listener: every method of every service passes it before its message is read. Who opens a stream
 * is counted against the key's quota here, and looked at again for as long as it is open; handlers of single
 * requests count theirs themselves, as the work may outlast the call.
 */
export class Door {
  /** To be given to the server; empty where no key is asked for, so that nothing is paid. */
  readonly interceptors: ServerInterceptor[];
  readonly #guard: Guard;
  readonly #statuses: StatusEncoder;
  readonly #context: FaceContext;
  readonly #callers = new WeakMap<Metadata, Caller>();
  readonly #streams = new OpenStreams(systemTimers);
  readonly #ids = new RequestIds();

  constructor(guard: Guard, statuses: StatusEncoder, context: FaceContext) {
    this.#guard = guard;
    this.#statuses = statuses;
    this.#context = context;
    const interceptor: ServerInterceptor = (method, call) =>
      method.requestStream || method.responseStream
        ? this.#stream(method, call)
        : this.#request(method, call);
    this.interceptors = guard.asksForKeys ? [interceptor] : [];
  }

  /** Who was let in with this metadata. */
  callerOf(metadata: Metadata): Caller {
    return this.#callers.get(metadata) ?? ANYONE;
  }

  #admit({ path }: Method, metadata: Metadata): Caller {
    return this.#guard.admit(metadata.get(AUTHORIZATION)[0], accessOfMethod(path));
  }

  #refuse({ path }: Method, call: Call, metadata: Metadata, thrown: unknown): void {
    const requestId = this.#ids.of(metadata.get(REQUEST_ID_HEADER)[0]);
    const error = refusal(thrown, this.#context.log, `grpc ${path}`, requestId);
    call.sendStatus(this.#statuses.encode(error, requestId));
    const operation = operationOf(path);
    if (operation !== undefined) this.#context.requests.refused('grpc', operation, error.reason);
  }

  #request(method: Method, call: Call): ServerInterceptingCall {
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, forward) => {
            try {
              this.#callers.set(metadata, this.#admit(method, metadata));
            } catch (thrown) {
              this.#refuse(method, call, metadata, thrown);
              return;
            }
            forward(metadata);
          },
        }),
    });
  }

  #stream(method: Method, call: Call): ServerInterceptingCall {
    let isRefused = false;
    let leave = (): void => undefined;
    const refuse = (metadata: Metadata, thrown: unknown): void => {
      isRefused = true;
      this.#refuse(method, call, metadata, thrown);
    };
    const open = (metadata: Metadata): void => {
      const caller = this.#admit(method, metadata);
      if (caller === ANYONE) return;
      caller.enter();
      this.#callers.set(metadata, caller);
      const close = this.#streams.add({
        check: () => void this.#admit(method, metadata),
        end: (why) => refuse(metadata, why),
      });
      leave = () => {
        leave = () => undefined;
        close();
        caller.leave();
      };
    };
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, forward) => {
            try {
              open(metadata);
            } catch (thrown) {
              refuse(metadata, thrown);
              return;
            }
            forward(metadata);
          },
          // The end of every stream, whoever brought it about.
          onCancel: () => leave(),
        }),
      // What the handler says after it was ended here goes nowhere.
      sendMessage: (message, next) => {
        if (!isRefused) next(message);
      },
      sendStatus: (status, next) => {
        if (!isRefused) next(status);
      },
    });
  }
}
