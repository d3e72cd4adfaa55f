import type { EncoderConfig } from './encoder.js';

export interface Listener {
  readonly host: string;
  readonly port: number;
}

/** Certificate files of a listener, PEM; read again when they change. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Clients must show a certificate of one of these authorities; null: none is asked for. */
  readonly clientCaFile: string | null;
}

/** Where and how a listener takes requests. */
export interface ListenerSettings extends Listener {
  /** `keys`: every request needs an API key. `off` is for loopback alone. */
  readonly auth: 'off' | 'keys';
  readonly tls: TlsFiles | null;
  /** Beyond loopback without TLS, where something in front of the gateway ends it. */
  readonly allowPlaintext: boolean;
}

/** API keys: how they are verified and what they may use up. */
export interface AuthSettings {
  /** Secret of the HMAC that keys are stored as; null: that of the file. */
  readonly hmacSecret: string | null;
  /** Made at first use where it does not exist and lies under varDir. */
  readonly hmacSecretFile: string;
  /** Whether the file was named by a person, who then has to provide it. */
  readonly isHmacSecretGiven: boolean;
  readonly pollIntervalMs: number;
  /** Keys that were not read again for this long let nobody in. */
  readonly stalenessMsMax: number;
  /** The same for metrics and status alone. At least stalenessMsMax. */
  readonly observeStalenessMsMax: number;
  /** Of a key that has no limit of its own; null: none. Per gateway process. */
  readonly requestsPerS: number | null;
  readonly concurrencyMax: number | null;
}

export interface Limits {
  readonly textBytesMax: number;
  readonly topKMax: number;
  readonly batchItemsMax: number;
  readonly requestBytesMax: number;
  readonly deadlineMsDefault: number;
  readonly deadlineMsMax: number;
}

/** When requests are refused because others are in flight. */
export interface OverloadSettings {
  readonly enabled: boolean;
  /** Standing queue time above which fewer requests are let in. */
  readonly queueMsTarget: number;
  /** Who waited longer in an engine's queue that stands above the target is refused there. */
  readonly queueMsMax: number;
  /** The adaptive limit of requests in flight stays within these. */
  readonly limitMin: number;
  readonly limitMax: number;
  /** Of the limit, guaranteed to each lane; 0..1, together at most 1. */
  readonly shares: { readonly live: number; readonly shadow: number; readonly bulk: number };
  /** Operators' requests at once, on both admin listeners together. */
  readonly adminConcurrencyMax: number;
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
    readonly grpc: ListenerSettings;
    readonly http: ListenerSettings;
    readonly adminHttp: ListenerSettings;
    readonly adminGrpc: ListenerSettings;
  };
  readonly auth: AuthSettings;
  readonly tls: { readonly reloadIntervalMs: number };
  readonly limits: Limits;
  /** A gRPC connection is asked to reconnect after so long; null: never. */
  readonly connectionAgeMsMax: number | null;
  /** Of each public listener; null: by the files that the process may have open. */
  readonly connectionsMax: number | null;
  /** What clients may leave unread of their answers. */
  readonly unread: {
    readonly connectionBytesMax: number;
    readonly bytesMax: number;
    readonly sendTimeoutMs: number;
  };
  /** Bytes of requests that have not arrived whole, of all connections. */
  readonly arrivingBytesMax: number;
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
  readonly migration: {
    /** Whether this gateway drives migrations. */
    readonly drive: boolean;
    readonly leaseMs: number;
    readonly pollIntervalMs: number;
    readonly sampleIntervalMs: number;
    readonly settleTimeoutMs: number;
    readonly samplesKeepDays: number;
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
  readonly overload: OverloadSettings;
  /** Embedding of a corpus version. */
  readonly reembed: {
    readonly checkpointDocuments: number;
    readonly batchTextsMax: number;
    /** Of a build that has the machine to itself, and of one beside a gateway. */
    readonly threads: number;
    readonly threadsBeside: number;
    readonly niceness: number;
    readonly scheduling: 'nice' | 'idle';
    readonly workKeepDays: number;
  };
  /** When a failing target is kept away from traffic. */
  readonly ejection: {
    readonly breaker: {
      readonly failuresToOpen: number;
      readonly openMsFirst: number;
      readonly openMsMax: number;
    };
    readonly timeoutMs: number;
  };
  readonly archive: {
    /** Where archives go by default; null: said with each command. */
    readonly uri: string | null;
    readonly s3: {
      readonly endpoint: string | null;
      readonly region: string;
      readonly forcePathStyle: boolean;
    };
  };
  readonly retire: { readonly quietDays: number; readonly deadlineWarnDays: number };
  readonly shutdown: { readonly lameDuckMs: number; readonly drainMs: number };
  /** Where traces go is said by the standard OTEL_* variables. */
  readonly tracing: {
    readonly enabled: boolean;
    readonly sampleBps: number;
    readonly tracesPerSMax: number;
  };
  readonly log: {
    readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
    /** 0: none is logged for being slow. */
    readonly slowRequestMs: number;
  };
}
