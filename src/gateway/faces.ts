import type { Route } from '../registry/route.js';
import type { Logger } from '../telemetry/log.js';
import type { AdminApi } from './admin/api.js';
import type { ArrivingRequests } from './arriving/arriving-requests.js';
import type { Guard } from './auth/guard.js';
import type { ListenerName } from './bind.js';
import type { ConnectionLimit } from './connection-limit.js';
import type { Overload } from './overload/overload.js';
import type { Requests } from './requests.js';
import type { Certificates } from './tls/certificates.js';
import type { ListenerAnswers } from './unread/listener-answers.js';

/** What an operator may read of this process; the composition root wires each to what knows it. */
export interface AdminViews {
  /** A JSON value. */
  status(): Promise<unknown>;
  /** The Prometheus text of `/metrics` and its content type. */
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
}

/** The routes as this process knows them, for those who want to be told of changes. */
export interface RouteWatchSource {
  /** Null for a corpus without a route. */
  current(corpus: string): Route | null;
  /** Returns the function that ends it. */
  subscribe(corpus: string, listener: (route: Route) => void): () => void;
}

/** Everything that the admin listeners show and do. */
export interface AdminSources {
  readonly api: AdminApi;
  readonly views: AdminViews;
  readonly routes: RouteWatchSource;
}

export interface FaceContext {
  readonly log: Logger;
  readonly requests: Requests;
  readonly overload: Overload;
  /** Of the listener. */
  readonly guard: Guard;
  /** Of the listener; null: without TLS. */
  readonly certificates: Certificates | null;
  readonly listener: ListenerName;
  /** A request has so long to arrive whole. */
  readonly arrivalMsMax: number;
  /** Of all listeners: the requests that have not. */
  readonly arriving: ArrivingRequests;
  /** Clients of gRPC are asked so often whether they are there. */
  readonly keepaliveMs: number;
  /** Of the listener. */
  readonly connections: ConnectionLimit;
  /** Of the listener: what its clients did not read yet. */
  readonly answers: ListenerAnswers;
}
