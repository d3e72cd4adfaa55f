import path from 'node:path';
import {
  type CallOptions,
  Client,
  credentials,
  type GrpcObject,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { pino } from 'pino';
import protobuf from 'protobufjs';
import type { Limits, ListenerSettings, OverloadSettings } from '../../src/config/config.js';
import { SwitchyardError } from '../../src/errors.js';
import { AdminOperations } from '../../src/gateway/admin/operations.js';
import type { AdminSources } from '../../src/gateway/faces.js';
import { Overload } from '../../src/gateway/overload/overload.js';
import type { FaceMetrics, Operation, Protocol } from '../../src/gateway/requests.js';
import { type Faces, type FacesOptions, startFaces } from '../../src/gateway/server.js';
import type { UnreadLimits } from '../../src/gateway/unread/unread-answers.js';
import { RouteFeed } from '../../src/gateway/wiring/route-feed.js';
import { packageRoot } from '../../src/package-root.js';
import { systemTimers } from '../../src/process/timers.js';
import { BruteForceService } from './brute-force-service.js';

export const LIMITS: Limits = {
  textBytesMax: 65_536,
  topKMax: 1000,
  batchItemsMax: 16,
  requestBytesMax: 4_194_304,
  deadlineMsDefault: 5_000,
  deadlineMsMax: 20_000,
};

export const LOCAL: ListenerSettings = {
  host: '127.0.0.1',
  port: 0,
  auth: 'off',
  tls: null,
  allowPlaintext: false,
};
const PROTO_FOLDER = path.join(packageRoot(), 'proto');
const SERVICE = 'switchyard.v1.SearchService';

/** What either protocol made of a request: an answer, or the reason with its wire status. */
export interface Outcome {
  readonly reason: string;
  readonly status: number | string;
  readonly message: string;
  readonly body: Record<string, unknown>;
  readonly details: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | null;
  /** As the refusal names it; '' for an answer. */
  readonly requestId: string;
}

export const UNREAD: UnreadLimits = {
  connectionBytesMax: 67_108_864,
  bytesMax: 1_073_741_824,
  sendTimeoutMs: 60_000,
};

export interface Counted {
  readonly protocol: Protocol;
  readonly operation: Operation;
  readonly outcome: string;
}

export const OVERLOAD: OverloadSettings = {
  enabled: true,
  queueMsTarget: 1_000,
  queueMsMax: 10_000,
  limitMin: 32,
  limitMax: 2_048,
  shares: { live: 0.8, shadow: 0.05, bulk: 0.15 },
  adminConcurrencyMax: 64,
};

/** Both protocols of a gateway, wherever it runs. */
export interface Clients {
  readonly client: Client;
  /** A call with a message built from its fields, by proto-loader as any client would. */
  call(method: string, message: object, options?: CallOptions, metadata?: Metadata): Promise<Outcome>;
  /** A call whose message is these bytes. */
  callRaw(method: string, bytes: Buffer, options?: CallOptions, metadata?: Metadata): Promise<Outcome>;
  post(address: string, body: unknown, headers?: Readonly<Record<string, string>>): Promise<Outcome>;
  postRaw(
    address: string,
    body: Uint8Array | string,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Outcome>;
}

/** Items of batches, as the metrics were told of them. */
export type CountedItems = Pick<Counted, 'protocol' | 'outcome'> & { readonly count: number };

export interface Gateway extends Clients {
  readonly service: BruteForceService;
  readonly faces: Faces;
  readonly counted: Counted[];
  readonly items: CountedItems[];
  readonly logged: string[];
  readonly url: string;
  readonly adminUrl: string;
  readonly grpcAddress: string;
  close(): Promise<void>;
}

/** The real operations of a gateway that never reached its registry. */
export const adminSources = (routes: RouteFeed): AdminSources => ({
  api: new AdminOperations({
    registry: () => {
      throw new SwitchyardError('REGISTRY_UNAVAILABLE', 'there is no registry here');
    },
    facts: null,
    storage: { modelsDir: '/nowhere', bundlesDir: '/nowhere' },
    keySecret: () => Promise.reject(new Error('no key is made here')),
  }),
  views: {
    status: async () => ({ state: 'ok' }),
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'switchyard_up 1\n' }),
  },
  routes,
});

export async function startGateway(overrides: Partial<FacesOptions> = {}): Promise<Gateway> {
  const service = new BruteForceService();
  const counted: Counted[] = [];
  const items: CountedItems[] = [];
  const metrics: FaceMetrics = {
    requestFinished: (protocol, operation, outcome) => counted.push({ protocol, operation, outcome }),
    batchItems: (protocol, outcome, count) => items.push({ protocol, outcome, count }),
  };
  const logged: string[] = [];
  const faces = await startFaces({
    service,
    admin: adminSources(new RouteFeed()),
    listen: { grpc: LOCAL, http: LOCAL, adminHttp: LOCAL, adminGrpc: LOCAL },
    keys: null,
    tlsReloadIntervalMs: 60_000,
    limits: LIMITS,
    log: pino({ level: 'debug' }, { write: (line: string) => logged.push(line) }),
    metrics,
    tracer: null,
    slowRequestMs: 0,
    overload: new Overload(OVERLOAD, systemTimers),
    connectionAgeMsMax: null,
    unread: UNREAD,
    arrivingBytesMax: 1_073_741_824,
    ...overrides,
  });
  const grpcAddress = `127.0.0.1:${faces.addresses.grpc.port}`;
  const url = `http://127.0.0.1:${faces.addresses.http.port}`;
  const clients = clientsOf(grpcAddress, url);
  return {
    ...clients,
    service,
    faces,
    counted,
    items,
    logged,
    url,
    adminUrl: `http://127.0.0.1:${faces.addresses.adminHttp.port}`,
    grpcAddress,
    close: async () => {
      clients.client.close();
      await faces.drain({ lameDuckMs: 0, drainMs: 0 });
    },
  };
}

/** Clients of a gateway's two public listeners. The caller closes `client`. */
export function clientsOf(grpcAddress: string, url: string): Clients {
  const client = new Client(grpcAddress, credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
    // Clients of one address share their connection otherwise, and a test closes its own.
    'grpc.use_local_subchannel_pool': 1,
  });
  const definition = loadSync('switchyard/v1/search.proto', {
    keepCase: true,
    defaults: true,
    enums: String,
    longs: Number,
    includeDirs: [PROTO_FOLDER],
  });
  const methods = definition[SERVICE] as unknown as Record<string, MethodCodec>;

  const callRaw: Clients['callRaw'] = (method, bytes, options = {}, metadata = new Metadata()) =>
    new Promise((resolve) => {
      const codec = methods[method];
      if (codec === undefined) throw new Error(`no method ${method}`);
      client.makeUnaryRequest(
        `/${SERVICE}/${method}`,
        (message: Buffer) => message,
        codec.responseDeserialize,
        bytes,
        metadata,
        options,
        (error: ServiceError | null, body?: Record<string, unknown>) => {
          resolve(error === null ? answered(body ?? {}) : grpcRefused(error));
        },
      );
    });
  const postRaw: Clients['postRaw'] = async (address, body, headers = {}) => {
    const response = await fetch(url + address, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...headers },
    });
    return httpOutcome(response);
  };
  return {
    client,
    callRaw,
    call: (method, message, options, metadata) => {
      const codec = methods[method];
      if (codec === undefined) throw new Error(`no method ${method}`);
      return callRaw(method, codec.requestSerialize(message), options, metadata);
    },
    postRaw,
    post: (address, body, headers) => postRaw(address, JSON.stringify(body), headers),
  };
}

interface MethodCodec {
  requestSerialize(message: object): Buffer;
  responseDeserialize(bytes: Buffer): Record<string, unknown>;
}

const answered = (body: Record<string, unknown>): Outcome => ({
  reason: 'OK',
  status: 0,
  message: '',
  body,
  details: {},
  retryAfterMs: null,
  requestId: '',
});

export async function httpOutcome(response: Response): Promise<Outcome> {
  const body = (await response.json()) as Record<string, unknown>;
  if (response.ok) return { ...answered(body), status: response.status };
  const { type, title, status, detail, reason, instance, ...details } = body;
  if (status !== response.status || typeof title !== 'string' || typeof instance !== 'string')
    throw new Error(`not a problem document: ${JSON.stringify(body)}`);
  if (type !== `urn:switchyard:reason:${reason}`) throw new Error(`wrong type ${type}`);
  if (response.headers.get('content-type')?.startsWith('application/problem+json') !== true)
    throw new Error(`wrong content type ${response.headers.get('content-type')}`);
  const retryAfter = response.headers.get('retry-after');
  return {
    reason: String(reason),
    status: response.status,
    message: String(detail),
    body,
    details: details as Record<string, string>,
    retryAfterMs: retryAfter === null ? null : Number(retryAfter) * 1000,
    requestId: instance,
  };
}

/** Reads google.rpc.Status from the trailers; '(none)' where the transport itself refused. */
export function grpcRefused(error: ServiceError): Outcome {
  const bytes = error.metadata.get('grpc-status-details-bin')[0];
  const requestId = String(error.metadata.get('x-request-id')[0] ?? '');
  const base = { status: error.code, message: error.details, body: {}, requestId };
  if (!Buffer.isBuffer(bytes)) return { ...base, reason: '(none)', details: {}, retryAfterMs: null };
  const status = STATUS.decode(bytes) as unknown as { code: number; message: string; details: AnyMessage[] };
  if (status.code !== error.code || status.message !== error.details)
    throw new Error('grpc-status and grpc-status-details-bin disagree');
  const infoBytes = status.details.find((any) => any.type_url === 'type.googleapis.com/google.rpc.ErrorInfo');
  const retryBytes = status.details.find(
    (any) => any.type_url === 'type.googleapis.com/google.rpc.RetryInfo',
  );
  const info = ERROR_INFO.toObject(ERROR_INFO.decode(infoBytes?.value ?? Buffer.alloc(0)), {
    defaults: true,
  });
  if (info.domain !== 'switchyard') throw new Error(`wrong domain ${info.domain}`);
  const retry =
    retryBytes === undefined
      ? null
      : (RETRY_INFO.toObject(RETRY_INFO.decode(retryBytes.value), { longs: Number, defaults: true })
          .retry_delay as { seconds: number; nanos: number });
  return {
    ...base,
    reason: info.reason as string,
    details: info.metadata as Record<string, string>,
    retryAfterMs: retry === null ? null : (retry.seconds ?? 0) * 1000 + (retry.nanos ?? 0) / 1e6,
  };
}

interface AnyMessage {
  readonly type_url: string;
  readonly value: Buffer;
}

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => (path.isAbsolute(target) ? target : path.join(PROTO_FOLDER, target));
root.loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto', 'switchyard/v1/search.proto'], {
  keepCase: true,
});
const STATUS = root.lookupType('google.rpc.Status');
const ERROR_INFO = root.lookupType('google.rpc.ErrorInfo');
const RETRY_INFO = root.lookupType('google.rpc.RetryInfo');
export const contract: protobuf.Root = root;

/** A client of any service in a .proto file, for health and reflection. */
export function clientOf(file: string, service: string, address: string): Client & Record<string, unknown> {
  let found: unknown = loadPackageDefinition(
    loadSync(file, { keepCase: true, enums: String, defaults: true }),
  );
  for (const part of service.split('.')) found = (found as GrpcObject)[part];
  const Constructor = found as ServiceClientConstructor;
  return new Constructor(address, credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  }) as Client & Record<string, unknown>;
}

export const f32le = (values: readonly number[]): Buffer => Buffer.from(Float32Array.from(values).buffer);
