import {
  type handleUnaryCall,
  type Metadata,
  Server,
  type ServerUnaryCall,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import type protobuf from 'protobufjs';
import type { Listener } from '../../config/config.js';
import { SwitchyardError } from '../../errors.js';
import type { AdminApi } from '../admin/api.js';
import { ACTOR_HEADER } from '../admin/callers.js';
import { accessOfMethod } from '../auth/access.js';
import type { FaceContext, RouteWatchSource } from '../faces.js';
import { refusal } from '../failure.js';
import type { Readiness } from '../readiness.js';
import { REQUEST_ID_HEADER, RequestIds } from '../request-id.js';
import { type AdminMethod, methodsOf } from './admin-methods.js';
import { limitArrival } from './arrivals.js';
import { credentialsOf } from './credentials.js';
import { Door } from './door.js';
import { headersOfRefusal } from './early-refusal.js';
import { limitHeads } from './heads.js';
import { Health } from './health.js';
import { connectionOptions, listenGrpc } from './listening.js';
import { MessageCodec } from './message-codec.js';
import { loadAdminProtos } from './protos.js';
import { reflectable } from './reflection.js';
import { asBytes, methodOf, serviceOf } from './server.js';
import { StatusEncoder } from './status.js';
import { limitUnread } from './unread-calls.js';
import { RouteWatchers, type WatchCall } from './watch-route.js';

type Method = ServiceDefinition[string];

const PACKAGE = 'switchyard.v1';
const ROUTER_SERVICE = `${PACKAGE}.RouterService`;
/** Services whose every method is an operation. */
const OPERATION_SERVICES = ['RegistryService', 'EvaluationService', 'MigrationService', 'KeyService'].map(
  (name) => `${PACKAGE}.${name}`,
);
const HEALTH_SERVICE = 'grpc.health.v1.Health';
const REQUEST_BYTES_MAX = 262_144;

export interface AdminGrpcOptions {
  readonly api: AdminApi;
  readonly routes: RouteWatchSource;
  readonly readiness: Readiness;
  readonly listener: Listener;
  readonly context: FaceContext;
}

export interface AdminGrpcFace {
  readonly address: Listener;
  /** Ends the streams, then every call and connection. */
  close(): void;
}

/** The services of operators, with health and reflection, on a port of their own. */
export async function startAdminGrpcFace(options: AdminGrpcOptions): Promise<AdminGrpcFace> {
  const { api, routes, readiness, listener, context } = options;
  const protos = loadAdminProtos();
  const statuses = new StatusEncoder(protos.root);
  const ids = new RequestIds();
  const door = new Door(context.guard, statuses, context);
  const server = new Server({
    interceptors: door.interceptors,
    'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
    ...connectionOptions(context.keepaliveMs),
  });
  const failed = (operation: string, metadata: Metadata, thrown: unknown) => {
    const requestId = ids.of(metadata.get(REQUEST_ID_HEADER)[0]);
    return statuses.encode(refusal(thrown, context.log, `grpc ${operation}`, requestId), requestId);
  };

  const unary = (name: string, method: AdminMethod): handleUnaryCall<Buffer, Buffer> => {
    const requests = new MessageCodec(protos.root, `${PACKAGE}.${method.request}`);
    const responses = new MessageCodec(protos.root, `${PACKAGE}.${method.response}`);
    return (call, callback) => {
      const caller = door.callerOf(call.metadata);
      // The order of every face: who asks, what the key may still use, then whether there is room.
      const run = async (): Promise<Buffer> => {
        caller.checkStanding();
        caller.enter();
        try {
          return await makeRoom();
        } finally {
          caller.leave();
        }
      };
      const makeRoom = async (): Promise<Buffer> => {
        context.overload.enterAdmin();
        try {
          return await answer();
        } finally {
          context.overload.leaveAdmin();
        }
      };
      const answer = async (): Promise<Buffer> => {
        // Elsewhere the door has asked already, before anything was decoded.
        if (!context.guard.asksForKeys) context.guard.admit(undefined, accessOfMethod(call.getPath()));
        const request = requests.decode(call.request);
        if (request instanceof SwitchyardError) throw request;
        const author = { stated: statedActor(call), keyId: caller.keyId };
        return responses.encode(await method.run(api, request, author));
      };
      run().then(
        (answered) => callback(null, answered),
        (thrown: unknown) => callback(failed(name, call.metadata, thrown)),
      );
    };
  };
  const watchers = new RouteWatchers(routes, (call, error) => {
    call.emit('error', failed('WatchRoute', call.metadata, error));
  });

  const router = serviceOf(protos.definition, ROUTER_SERVICE);
  const routerMethods = methodsOf(protos.root.lookupService(ROUTER_SERVICE));
  const watch = { WatchRoute: watchMethod(methodOf(router, 'WatchRoute'), protos.root) };
  server.addService({ ...definitionOf(router, routerMethods), ...watch }, {
    ...handlersOf(routerMethods, unary),
    WatchRoute: (call: WatchCall) => watchers.watch(call),
  } as UntypedServiceImplementation);
  for (const name of OPERATION_SERVICES) {
    const methods = methodsOf(protos.root.lookupService(name));
    server.addService(
      definitionOf(serviceOf(protos.definition, name), methods),
      handlersOf(methods, unary) as UntypedServiceImplementation,
    );
  }
  const health = new Health(readiness, [ROUTER_SERVICE, ...OPERATION_SERVICES]);
  server.addService(serviceOf(protos.definition, HEALTH_SERVICE), health.implementation());
  new ReflectionService(reflectable(protos.definition)).addToServer(server);

  const headersOf = (error: SwitchyardError) => headersOfRefusal(statuses, error);
  limitUnread(server, { ...context, headersOf });
  limitHeads(server, { ...context, headersOf });
  limitArrival(server, { ...context, headersOf });
  const listening = await listenGrpc(
    server,
    'admin_grpc',
    listener,
    credentialsOf(context.certificates),
    context,
  );
  return {
    address: { host: listener.host, port: listening.port },
    close: () => {
      watchers.close();
      health.close();
      listening.close();
      server.forceShutdown();
      listening.hangUp();
    },
  };
}

const definitionOf = (
  service: ServiceDefinition,
  methods: Readonly<Record<string, AdminMethod>>,
): ServiceDefinition =>
  Object.fromEntries(Object.keys(methods).map((name) => [name, asBytes(methodOf(service, name))]));

/** With a strict decoder, which refuses what proto-loader's would drop. */
function watchMethod(method: Method, root: protobuf.Root): Method {
  const requests = new MessageCodec(root, `${PACKAGE}.WatchRouteRequest`);
  const responses = new MessageCodec(root, `${PACKAGE}.Route`);
  return {
    ...method,
    requestDeserialize: (bytes: Buffer) => requests.decode(bytes),
    responseSerialize: (answer: object) => responses.encode(answer),
  };
}

const handlersOf = (
  methods: Readonly<Record<string, AdminMethod>>,
  handler: (name: string, method: AdminMethod) => handleUnaryCall<Buffer, Buffer>,
): Record<string, handleUnaryCall<Buffer, Buffer>> =>
  Object.fromEntries(Object.entries(methods).map(([name, method]) => [name, handler(name, method)]));

function statedActor(call: ServerUnaryCall<Buffer, Buffer>): string | null {
  const [given] = call.metadata.get(ACTOR_HEADER);
  return typeof given === 'string' && given !== '' ? given : null;
}
