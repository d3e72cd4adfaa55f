/** What the bench asks of a server's process and hears; structured clones over the IPC channel. */
export interface ServerPlan {
  /** `gateway`: faces, router and caches as they ship. `noop`: a grpc-js server that answers the same bytes to all. */
  readonly kind: 'gateway' | 'noop';
  readonly seed: number;
  readonly rowCount: number;
}

export interface CacheCounts {
  /** Results found in the process. */
  readonly hits: number;
  readonly misses: number;
}

export type ToServer =
  | { readonly kind: 'start'; readonly plan: ServerPlan }
  | { readonly kind: 'answerWith'; readonly bytes: Uint8Array }
  | { readonly kind: 'counts' };

export type FromServer =
  | { readonly kind: 'serving'; readonly port: number }
  | { readonly kind: 'counts'; readonly counts: CacheCounts }
  | { readonly kind: 'failed'; readonly message: string };
