import {
  type Metadata,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServerMethodDefinition,
} from '@grpc/grpc-js';
import { accessOfMethod } from '../auth/access.js';
import { ANYONE, type Caller } from '../auth/caller.js';
import { AUTHORIZATION, type Guard } from '../auth/guard.js';
import type { FaceContext } from '../faces.js';
import { refusal } from '../failure.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import { operationOf } from '../requests.js';
import type { StatusEncoder } from './status.js';

/** The guard of a gRPC listener: every method of every service passes it before its message is read. */
export class Door {
  /** To be given to the server; empty where no key is asked for, so that nothing is paid. */
  readonly interceptors: ServerInterceptor[];
  readonly #callers = new WeakMap<Metadata, Caller>();

  constructor(guard: Guard, statuses: StatusEncoder, context: FaceContext) {
    const ids = new RequestIds();
    const admit = (method: ServerMethodDefinition<unknown, unknown>, metadata: Metadata) => {
      this.#callers.set(metadata, guard.admit(metadata.get(AUTHORIZATION)[0], accessOfMethod(method.path)));
    };
    const interceptor: ServerInterceptor = (method, call) =>
      new ServerInterceptingCall(call, {
        start: (next) =>
          next({
            onReceiveMetadata: (metadata, forward) => {
              try {
                admit(method, metadata);
              } catch (thrown) {
                const requestId = ids.of(metadata.get(REQUEST_ID_HEADER)[0]);
                const error = refusal(thrown, context.log, `grpc ${method.path}`, requestId);
                call.sendStatus(statuses.encode(error, requestId));
                const operation = operationOf(method.path);
                if (operation !== undefined) context.requests.refused('grpc', operation, error.reason, 0);
                return;
              }
              forward(metadata);
            },
          }),
      });
    this.interceptors = guard.asksForKeys ? [interceptor] : [];
  }

  /** Who was let in with this metadata. */
  callerOf(metadata: Metadata): Caller {
    return this.#callers.get(metadata) ?? ANYONE;
  }
}
