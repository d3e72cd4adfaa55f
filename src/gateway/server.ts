import { setTimeout as sleep } from 'node:timers/promises';
import type { Limits, Listener } from '../config/config.js';
import type { QueryService } from '../router/query.js';
import type { Logger } from '../telemetry/log.js';
import { startAdminFace } from './admin/http-face.js';
import { assertLoopback } from './bind.js';
import { Calls } from './calls.js';
import type { AdminSources, FaceContext, FaceMetrics } from './faces.js';
import { startAdminGrpcFace } from './grpc/admin-server.js';
import { startGrpcFace } from './grpc/server.js';
import { startHttpFace } from './http/server.js';
import { InFlight } from './in-flight.js';
import { Readiness } from './readiness.js';

/** After the last answer its bytes still have to leave, and clients to hang up. */
const HANG_UP_MS_MAX = 1_000;

export interface Listeners {
  readonly grpc: Listener;
  readonly http: Listener;
  readonly adminHttp: Listener;
  readonly adminGrpc: Listener;
}

export interface FacesOptions {
  readonly service: QueryService;
  readonly admin: AdminSources;
  /** Port 0: any free one. */
  readonly listen: Listeners;
  readonly limits: Limits;
  readonly log: Logger;
  readonly metrics: FaceMetrics;
  /** gRPC connections are asked to reconnect after this long, ± 10 %; null: never. */
  readonly connectionAgeMsMax: number | null;
}

export interface DrainOptions {
  /** How long requests are still accepted after health says NOT_SERVING, so that balancers notice. */
  readonly lameDuckMs: number;
  /** How long the requests in flight are then waited for. */
  readonly drainMs: number;
}

export interface Faces {
  readonly addresses: Listeners;
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
  const { service, admin, limits, log, metrics } = options;
  assertLoopback('grpc', options.listen.grpc);
  assertLoopback('http', options.listen.http);
  assertLoopback('admin_http', options.listen.adminHttp);
  assertLoopback('admin_grpc', options.listen.adminGrpc);

  const context: FaceContext = { log, metrics };
  const inFlight = new InFlight();
  const readiness = new Readiness(service);
  const calls = new Calls(service, limits, inFlight);
  const opened: (() => void | Promise<void>)[] = [() => readiness.close()];
  try {
    const grpc = await startGrpcFace({
      calls,
      readiness,
      limits,
      listener: options.listen.grpc,
      connectionAgeMsMax: options.connectionAgeMsMax,
      context,
    });
    opened.push(() => grpc.destroy());
    const http = await startHttpFace({ calls, readiness, limits, listener: options.listen.http, context });
    opened.push(() => http.stop());
    const adminHttp = await startAdminFace({
      api: admin.api,
      views: admin.views,
      listener: options.listen.adminHttp,
      context,
    });
    opened.push(() => adminHttp.close());
    const adminGrpc = await startAdminGrpcFace({
      api: admin.api,
      routes: admin.routes,
      readiness,
      listener: options.listen.adminGrpc,
      context,
    });

    const drain = async ({ lameDuckMs, drainMs }: DrainOptions): Promise<void> => {
      readiness.beginDrain();
      log.info({ lameDuckMs, drainMs, inFlight: inFlight.count }, 'draining');
      if (lameDuckMs > 0) await sleep(lameDuckMs);
      const hungUp = Promise.all([grpc.stop(), http.stop()]);
      if (!(await inFlight.idle(drainMs))) {
        log.warn({ inFlight: inFlight.count }, 'the drain period is over; ending the requests in flight');
        inFlight.abort();
      }
      await Promise.race([hungUp, sleep(HANG_UP_MS_MAX, undefined, { ref: false })]);
      http.destroy();
      grpc.destroy();
      adminGrpc.close();
      await adminHttp.close();
      readiness.close();
    };
    let draining: Promise<void> | null = null;
    return {
      addresses: {
        grpc: grpc.address,
        http: http.address,
        adminHttp: adminHttp.address,
        adminGrpc: adminGrpc.address,
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
