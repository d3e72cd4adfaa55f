import type { EncoderConfig } from './encoder.js';

export interface Listener {
  readonly host: string;
  readonly port: number;
}

export interface Limits {
  readonly textBytesMax: number;
  readonly topKMax: number;
  readonly batchItemsMax: number;
  readonly requestBytesMax: number;
  readonly deadlineMsDefault: number;
  readonly deadlineMsMax: number;
}

/** One kind of cache entry. */
export interface CacheSize {
  readonly enabled: boolean;
  readonly memoryBytes: number;
  readonly ttlMs: number;
}

export interface RedisSettings {
  /** May hold a password: never shown or logged. */
  readonly url: string;
  readonly keyPrefix: string;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
}

/** The compiled configuration: frozen, absolute paths, no optionals, relations between settings asserted. */
export interface Config {
  readonly varDir: string;
  readonly modelsDir: string;
  readonly bundlesDir: string;
  /** null: the embedded PostgreSQL under varDir. */
  readonly databaseUrl: string | null;
  readonly listen: {
    readonly grpc: Listener;
    readonly http: Listener;
    readonly adminHttp: Listener;
    readonly adminGrpc: Listener;
  };
  readonly limits: Limits;
  /** A gRPC connection is asked to reconnect after so long; null: never. */
  readonly connectionAgeMsMax: number | null;
  readonly encoder: EncoderConfig;
  readonly search: {
    readonly workers: number;
    readonly ssdWorkers: number;
    readonly queueLengthMax: number;
  };
  readonly tiers: {
    /** `auto`, `none`, or an absolute folder. */
    readonly memoryDir: string;
    readonly dramBytesMax: number;
  };
  readonly router: { readonly pollIntervalMs: number; readonly heartbeatIntervalMs: number };
  /** Limits of the mirrors of each shadow. */
  readonly mirror: {
    readonly concurrencyMax: number;
    readonly queueLengthMax: number;
    readonly queueBytesMax: number;
    readonly deadlineMs: number;
    /** Of the processes that search shadows, 0..19 as of nice(1). */
    readonly niceness: number;
  };
  readonly comparison: {
    /** Keep the texts of the worst queries, not only their hashes. */
    readonly keepTexts: boolean;
    readonly worstQueriesMax: number;
  };
  readonly cache: {
    /** null: one of its own under varDir. */
    readonly secret: string | null;
    readonly embeddings: CacheSize;
    readonly results: CacheSize;
    /** null: no layer is shared. */
    readonly redis: RedisSettings | null;
  };
  readonly shutdown: { readonly lameDuckMs: number; readonly drainMs: number };
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent' };
}
