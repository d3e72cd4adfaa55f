import { setTimeout as sleep } from 'node:timers/promises';
import type { Limits, Listener, ListenerSettings } from '../config/config.js';
import { systemTimers } from '../process/timers.js';
import type { QueryService } from '../router/query.js';
import type { Logger } from '../telemetry/log.js';
import type { Tracer } from '../telemetry/tracer.js';
import { startAdminFace } from './admin/http-face.js';
import { type ArrivingCounts, ArrivingRequests } from './arriving/arriving-requests.js';
import { type Guard, KeyGuard, OPEN_GUARD } from './auth/guard.js';
import type { KeyRing } from './auth/key-ring.js';
import { assertGuarded, type ListenerName } from './bind.js';
import { Calls } from './calls.js';
import { ConnectionLimit, connectionsMax, type ListenerConnections } from './connection-limit.js';
import type { AdminSources, FaceContext } from './faces.js';
import { startAdminGrpcFace } from './grpc/admin-server.js';
import { startGrpcFace } from './grpc/server.js';
import { startHttpFace } from './http/server.js';
import { InFlight } from './in-flight.js';
import type { Overload } from './overload/overload.js';
import { Readiness } from './readiness.js';
import { type FaceMetrics, Requests } from './requests.js';
import { Certificates } from './tls/certificates.js';
import type { TrafficCounter } from './traffic.js';
import { ListenerAnswers } from './unread/listener-answers.js';
import { UnreadAnswers, type UnreadLimits } from './unread/unread-answers.js';

/** A request has so long to arrive whole, over either protocol. */
const ARRIVAL_MS_MAX = 30_000;
/** Below what balancers and firewalls let a silent connection live. */
const KEEPALIVE_MS = 60_000;
/** After the last answer left, clients have so long to hang up. */
const HANG_UP_MS_MAX = 1_000;
/** How often a drain looks whether the last request arrived and the last answer left: soon at first, then less often. */
const LEAVING_LOOK_MS = 20;
const LEAVING_LOOK_MS_MAX = 200;
/** Those that a drain waits for. Operators can watch it to its end. */
const DRAINED: ReadonlySet<ListenerName> = new Set(['grpc', 'http']);

export interface Listeners<Place extends Listener = Listener> {
  readonly grpc: Place;
  readonly http: Place;
  readonly adminHttp: Place;
  readonly adminGrpc: Place;
}

export interface FacesOptions {
  readonly service: QueryService;
  readonly admin: AdminSources;
  /** Port 0: any free one. */
  readonly listen: Listeners<ListenerSettings>;
  /** What listeners with `auth: keys` let in; null where none has it. */
  readonly keys: KeyRing | null;
  /** How often certificate files are looked at. */
  readonly tlsReloadIntervalMs: number;
  readonly limits: Limits;
  readonly log: Logger;
  readonly metrics: FaceMetrics;
  /** Counts who searched which version. */
  readonly traffic?: TrafficCounter;
  /** Null: nothing is traced. */
  readonly tracer: Tracer | null;
  /** Longer requests are logged; 0: none. */
  readonly slowRequestMs: number;
  /** What keeps the queues behind the listeners short. */
  readonly overload: Overload;
  /** Told of the certificate of each listener that has one: when it ends, in milliseconds since 1970. */
  readonly onCertificate?: (listener: ListenerName, endsAtMs: () => number) => void;
  /** gRPC connections are asked to reconnect after this long, ± 10 %; null: never. */
  readonly connectionAgeMsMax: number | null;
  /** How long a request may take to arrive whole. Default 30 s. */
  readonly arrivalMsMax?: number;
  /** How often clients of gRPC are asked whether they are there. Default one minute. */
  readonly keepaliveMs?: number;
  /** Connections of each public listener. Default: by the files that this process may have open, and never more. */
  readonly connectionsMax?: number | null;
  /** What clients may leave unread. */
  readonly unread: UnreadLimits;
  /** Told of the bytes that clients did not read yet. */
  readonly onUnread?: (bytes: () => number) => void;
  /** Bytes of requests that have not arrived whole, of all connections; beyond, those that held most for longest are ended. */
  readonly arrivingBytesMax: number;
  /** Told of those requests. */
  readonly onArriving?: (counts: () => ArrivingCounts) => void;
  /** Told of the connections of each listener. */
  readonly onConnections?: (listener: ListenerName, counts: () => ListenerConnections) => void;
}

export interface DrainOptions {
  /** How long requests are still accepted after health says NOT_SERVING, so that balancers notice. */
  readonly lameDuckMs: number;
  /** How long requests that have begun are then waited for, until their answers have left. */
  readonly drainMs: number;
}

export interface Faces {
  /** As configured, with the ports that were had. */
  readonly addresses: Listeners<ListenerSettings>;
  /** Requests that are being answered. */
  readonly inFlightCount: number;
  /** NOT_SERVING, lame duck, no more requests, wait, close. A second call waits for the first. */
  drain(options: DrainOptions): Promise<void>;
}

/**
 * Opens the public gRPC and HTTP listeners and the two admin ones; all or none.
 * Errors: INVALID_CONFIG for a port in use, or an address that other machines reach.
 */
export async function startFaces(options: FacesOptions): Promise<Faces> {
  const { service, admin, limits, log, overload } = options;
  const { arrivalMsMax = ARRIVAL_MS_MAX, keepaliveMs = KEEPALIVE_MS } = options;
  assertGuarded('grpc', options.listen.grpc);
  assertGuarded('http', options.listen.http);
  assertGuarded('admin_http', options.listen.adminHttp);
  assertGuarded('admin_grpc', options.listen.adminGrpc);

  const guardOf = ({ auth }: ListenerSettings): Guard => {
    if (auth === 'off') return OPEN_GUARD;
    if (options.keys === null)
      throw new TypeError('a listener asks for keys and there is nothing to hold them');
    return new KeyGuard(options.keys, log);
  };
  const clients = connectionsMax(options.connectionsMax ?? null);
  const requests = new Requests(options);
  const inFlight = new InFlight();
  const unread = new UnreadAnswers(options.unread, systemTimers, log);
  options.onUnread?.(() => unread.bytes);
  const limitsOfArriving = { bytesMax: options.arrivingBytesMax, arrivalMsMax };
  const arriving = new ArrivingRequests(limitsOfArriving, systemTimers, log);
  options.onArriving?.(() => arriving.counts);
  const readiness = new Readiness(service);
  const calls = new Calls(service, limits, inFlight, overload, options.traffic);
  const certificates: Certificates[] = [];
  const contextOf = async (name: ListenerName, listener: ListenerSettings): Promise<FaceContext> => {
    const guard = guardOf(listener);
    const isPublic = name === 'grpc' || name === 'http';
    const limit = new ConnectionLimit(isPublic ? clients.publicListeners : clients.adminListeners);
    const answers = new ListenerAnswers(unread, name);
    options.onConnections?.(name, () => ({ ...limit.counts, hungUp: answers.hangUps }));
    const context = {
      listener: name,
      log,
      requests,
      overload,
      guard,
      arrivalMsMax,
      arriving,
      keepaliveMs,
      connections: limit,
      answers,
    };
    if (listener.tls === null) return { ...context, certificates: null };
    const opened = await Certificates.open(listener.tls, options.tlsReloadIntervalMs, log);
    certificates.push(opened);
    options.onCertificate?.(name, () => opened.endsAtMs);
    return { ...context, certificates: opened };
  };
  const closeCertificates = (): void => {
    for (const one of certificates) one.close();
  };
  const opened: (() => void | Promise<void>)[] = [
    () => readiness.close(),
    closeCertificates,
    () => unread.close(),
    () => arriving.close(),
  ];
  try {
    const grpc = await startGrpcFace({
      calls,
      readiness,
      limits,
      listener: options.listen.grpc,
      connectionAgeMsMax: options.connectionAgeMsMax,
      context: await contextOf('grpc', options.listen.grpc),
    });
    opened.push(() => grpc.destroy());
    const http = await startHttpFace({
      calls,
      readiness,
      limits,
      listener: options.listen.http,
      context: await contextOf('http', options.listen.http),
    });
    opened.push(() => http.stop());
    const adminHttp = await startAdminFace({
      api: admin.api,
      views: admin.views,
      listener: options.listen.adminHttp,
      context: await contextOf('admin_http', options.listen.adminHttp),
    });
    opened.push(() => adminHttp.close());
    const adminGrpc = await startAdminGrpcFace({
      api: admin.api,
      routes: admin.routes,
      readiness,
      listener: options.listen.adminGrpc,
      context: await contextOf('admin_grpc', options.listen.adminGrpc),
    });

    const isLeft = (): boolean =>
      inFlight.count > 0 || arriving.isAwaited(DRAINED) || unread.recount(DRAINED) > 0;
    /** False where the time is over before all that has begun was answered, and every answer left for its client. */
    const answered = async (untilMs: number): Promise<boolean> => {
      for (let lookMs = LEAVING_LOOK_MS; isLeft(); lookMs = Math.min(lookMs * 1.5, LEAVING_LOOK_MS_MAX)) {
        const leftMs = untilMs - performance.now();
        if (leftMs <= 0 || !(await inFlight.idle(leftMs))) return false;
        // A request ends before its answer is written.
        await sleep(Math.min(lookMs, Math.max(LEAVING_LOOK_MS, leftMs)));
      }
      return true;
    };
    const drain = async ({ lameDuckMs, drainMs }: DrainOptions): Promise<void> => {
      readiness.beginDrain();
      log.info({ lameDuckMs, drainMs, inFlight: inFlight.count }, 'draining');
      if (lameDuckMs > 0) await sleep(lameDuckMs);
      const untilMs = performance.now() + drainMs;
      http.stopListening();
      const leftGrpc = grpc.stop();
      let isAnswered = await answered(untilMs);
      // Not before: Node closes with connections that wait for a request those whose answer is still being sent.
      const hungUp = Promise.all([leftGrpc, http.stop()]);
      const aSecond = () => Promise.race([hungUp, sleep(HANG_UP_MS_MAX, undefined, { ref: false })]);
      if (isAnswered) {
        await aSecond();
        // Of a call that was begun, the message may have come meanwhile.
        isAnswered = await answered(untilMs);
      }
      if (!isAnswered) {
        log.warn(
          { inFlight: inFlight.count, isArriving: arriving.isAwaited(DRAINED), unreadBytes: unread.bytes },
          'the drain period is over; ending what is left',
        );
        inFlight.abort();
        await aSecond();
      }
      http.destroy();
      grpc.destroy();
      adminGrpc.close();
      await adminHttp.close();
      readiness.close();
      closeCertificates();
      unread.close();
      arriving.close();
    };
    let draining: Promise<void> | null = null;
    return {
      addresses: {
        grpc: { ...options.listen.grpc, port: grpc.address.port },
        http: { ...options.listen.http, port: http.address.port },
        adminHttp: { ...options.listen.adminHttp, port: adminHttp.address.port },
        adminGrpc: { ...options.listen.adminGrpc, port: adminGrpc.address.port },
      },
      get inFlightCount() {
        return inFlight.count;
      },
      drain: (drainOptions) => {
        draining ??= drain(drainOptions);
        return draining;
      },
    };
  } catch (error) {
    for (const close of opened.reverse()) await close();
    throw error;
  }
}
