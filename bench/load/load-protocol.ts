/** What a bench asks of the load generator's process, and what it hears. Structured clones over the IPC channel. */
export interface LoadTarget {
  readonly host: string;
  readonly port: number;
  /** `/switchyard.v1.SearchService/Search` */
  readonly method: string;
  readonly connections: number;
  /** Of each request; none unless it is given. */
  readonly deadlineMs?: number;
}

/** Requests are taken in turn, so a run shorter than the list sends none twice. */
export interface LoadRequests {
  /** Encoded gRPC messages. */
  readonly bodies: readonly Uint8Array[];
  /** Per body the ids of the true nearest documents; null: answers are not looked into. */
  readonly expected: readonly (readonly string[])[] | null;
}

/** `closed`: so many requests always in flight. `open`: seeded Poisson arrivals, whatever the answers do. */
export type LoadRun = { readonly seconds: number; readonly from: number } & (
  | { readonly kind: 'closed'; readonly inFlight: number }
  | { readonly kind: 'open'; readonly perSecond: number; readonly seed: number }
);

export interface LatencyUs {
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface LoadResult {
  /** Answered without an error. */
  readonly answered: number;
  /** Requests by gRPC status where it was not 0; 100 for a reset stream. */
  readonly failed: Readonly<Record<string, number>>;
  /** From the first request to the last answer. */
  readonly wallMs: number;
  /** From the last request to the last answer: a part of `wallMs`. */
  readonly tailMs: number;
  readonly perSecond: number;
  /** From the moment a request was due (`open`) or sent (`closed`). Of answered requests. */
  readonly latencyUs: LatencyUs;
  /** The same of those that the server took on, in time or not: of all but those it refused (UNAVAILABLE, RESOURCE_EXHAUSTED). */
  readonly acceptedLatencyUs: LatencyUs;
  /** How long after it was due a request was sent, which is the generator's and is in `latencyUs` too; null for `closed`. */
  readonly sentLateUs: LatencyUs | null;
  /** Share of the expected ids that came; null when none are expected. */
  readonly recall: number | null;
  /** CPU time of the generator itself, µs per request: it must be small beside the server's. */
  readonly generatorCpuUs: number;
}

export type ToGenerator =
  | { readonly kind: 'open'; readonly target: LoadTarget; readonly requests: LoadRequests }
  | { readonly kind: 'run'; readonly run: LoadRun };

export type FromGenerator =
  | { readonly kind: 'opened' }
  | { readonly kind: 'result'; readonly result: LoadResult }
  | { readonly kind: 'failed'; readonly message: string };
