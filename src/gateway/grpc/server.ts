import { Server, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import type { Limits, Listener } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { Caller } from '../auth/caller.js';
import type { Calls } from '../calls.js';
import type { FaceContext } from '../faces.js';
import type { Readiness } from '../readiness.js';
import { limitArrival } from './arrivals.js';
import { decodeBatch, decodeEmbed, decodeSearch, ResponseEncoder } from './convert.js';
import { credentialsOf } from './credentials.js';
import { Door } from './door.js';
import { headersOfRefusal, refuseEarly } from './early-refusal.js';
import { limitHeads } from './heads.js';
import { Health } from './health.js';
import { connectionOptions, listenGrpc } from './listening.js';
import { EMBED_FIELDS, type Peeked, type PeekedBatch, peek, peekBatch, SEARCH_FIELDS } from './peek.js';
import { loadProtos } from './protos.js';
import { reflectable } from './reflection.js';
import { searchHandlers } from './search-service.js';
import { StatusEncoder } from './status.js';
import { limitUnread } from './unread-calls.js';

const SEARCH_SERVICE = 'switchyard.v1.SearchService';
const HEALTH_SERVICE = 'grpc.health.v1.Health';

export interface GrpcFaceOptions {
  readonly calls: Calls;
  readonly readiness: Readiness;
  readonly limits: Limits;
  readonly listener: Listener;
  /** A connection is asked to reconnect after this long, so that clients spread over replicas; null: never. */
  readonly connectionAgeMsMax: number | null;
  readonly context: FaceContext;
}

export interface GrpcFace {
  readonly address: Listener;
  /** No new connections, no new requests on the open ones; resolves when the last connection is closed. */
  stop(): Promise<void>;
  /** Closes whatever is left. */
  destroy(): void;
}

export async function startGrpcFace(options: GrpcFaceOptions): Promise<GrpcFace> {
  const { calls, readiness, limits, listener, context } = options;
  const protos = loadProtos();
  const statuses = new StatusEncoder(protos.root);
  const door = new Door(context.guard, statuses, context);
  const server = new Server({
    interceptors: door.interceptors,
    // Up to twice the limit is read, so that the refusal can be a typed one; beyond, grpc-js itself answers
    // RESOURCE_EXHAUSTED while the message is still arriving.
    'grpc.max_receive_message_length': limits.requestBytesMax * 2,
    ...connectionOptions(context.keepaliveMs),
    ...(options.connectionAgeMsMax === null
      ? {}
      : {
          'grpc.max_connection_age_ms': options.connectionAgeMsMax,
          'grpc.max_connection_age_grace_ms': limits.deadlineMsMax,
        }),
  });

  const bounded =
    <T>(
      decode: (bytes: Buffer) => T | SwitchyardError,
      look: (bytes: Buffer) => Peeked | PeekedBatch | null,
    ) =>
    (bytes: Buffer, caller: Caller): T | SwitchyardError => {
      if (bytes.length > limits.requestBytesMax) return requestTooLarge(bytes.length, limits);
      const work = look(bytes);
      if (work === null) return decode(bytes);
      const items = 'items' in work ? work.items : 1;
      const refused = context.overload.refusal(work.kind, work.priority, items);
      if (refused === null) return decode(bytes);
      // What is refused uses up its places in the key's rate too.
      caller.charge(items - 1);
      return refused;
    };
  const decoders = {
    search: bounded(decodeSearch, (bytes) => peek(bytes, SEARCH_FIELDS)),
    batch: bounded(
      (bytes) => decodeBatch(bytes, limits.batchItemsMax),
      (bytes) => peekBatch(bytes, limits.batchItemsMax),
    ),
    embed: bounded(decodeEmbed, (bytes) => peek(bytes, EMBED_FIELDS)),
  };
  const handlers = searchHandlers(calls, door, decoders, new ResponseEncoder(protos.root), statuses, context);
  const search = serviceOf(protos.definition, SEARCH_SERVICE);
  server.addService(
    Object.fromEntries(Object.keys(handlers).map((name) => [name, asBytes(methodOf(search, name))])),
    handlers as unknown as UntypedServiceImplementation,
  );
  const health = new Health(readiness, [SEARCH_SERVICE]);
  server.addService(serviceOf(protos.definition, HEALTH_SERVICE), health.implementation());
  new ReflectionService(reflectable(protos.definition)).addToServer(server);

  // Outermost last.
  refuseEarly(server, { ...context, statuses });
  const headersOf = (error: SwitchyardError) => headersOfRefusal(statuses, error);
  limitUnread(server, { ...context, headersOf });
  limitHeads(server, { ...context, headersOf });
  limitArrival(server, { ...context, headersOf });
  const listening = await listenGrpc(server, 'grpc', listener, credentialsOf(context.certificates), context);
  return {
    address: { host: listener.host, port: listening.port },
    stop: () =>
      new Promise((resolve) => {
        health.close();
        listening.close();
        server.tryShutdown(() => resolve());
      }),
    destroy: () => {
      listening.close();
      server.forceShutdown();
      listening.hangUp();
    },
  };
}

const identity = (bytes: Buffer): Buffer => bytes;

/**
 * A method whose handler decodes: grpc-js would do it as soon as a message is there, before the request is whole and
 * before it is known whether its key may still ask.
 */
export const asBytes = (method: ServiceDefinition[string]): ServiceDefinition[string] => ({
  ...method,
  requestDeserialize: identity,
  responseSerialize: identity,
});

function requestTooLarge(bytes: number, limits: Limits): SwitchyardError {
  return new SwitchyardError(
    'REQUEST_TOO_LARGE',
    `the request has ${bytes} bytes, must be <= ${limits.requestBytesMax}`,
    { details: { max: String(limits.requestBytesMax) } },
  );
}

export function serviceOf(definition: PackageDefinition, name: string): ServiceDefinition {
  const service = definition[name];
  if (service === undefined || 'format' in service) throw new Error(`the contract has no service ${name}`);
  return service as ServiceDefinition;
}

export function methodOf(service: ServiceDefinition, name: string): ServiceDefinition[string] {
  const found = service[name];
  if (found === undefined) throw new Error(`the contract has no method ${name}`);
  return found;
}
