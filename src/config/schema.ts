import { type Static, Type } from '@sinclair/typebox';
import { EncoderSchema } from './encoder.js';

const closed = { additionalProperties: false } as const;
const port = (value: number) => Type.Integer({ minimum: 0, maximum: 65535, default: value });
const host = Type.String({ minLength: 1, maxLength: 255, default: '127.0.0.1' });
const count = (value: number, minimum: number, maximum: number) =>
  Type.Integer({ minimum, maximum, default: value });
const entries = (ttlS: number) =>
  Type.Object(
    {
      enabled: Type.Boolean({ default: true }),
      /** In each gateway process. */
      memory_bytes: count(67_108_864, 65_536, 1_099_511_627_776),
      /** At most; up to 15 % less, so that entries do not expire together. */
      ttl_s: count(ttlS, 1, 2_592_000),
    },
    { ...closed, default: {} },
  );
const file = Type.Union([Type.Null(), Type.String({ minLength: 1, maxLength: 4096 })], { default: null });
const listener = (value: number) =>
  Type.Object(
    {
      host,
      port: port(value),
      /** keys: every request needs an API key. An address beyond loopback needs it to boot. */
      auth: Type.Union([Type.Literal('off'), Type.Literal('keys')], { default: 'off' }),
      /** PEM files; with client_ca_file clients must show a certificate too. */
      tls: Type.Object({ cert_file: file, key_file: file, client_ca_file: file }, { ...closed, default: {} }),
      /** Beyond loopback without TLS: only where something in front of the gateway ends it. */
      allow_plaintext: Type.Boolean({ default: false }),
    },
    { ...closed, default: {} },
  );

/**
 * The configuration file (`config/switchyard.yaml`), snake_case as a person writes it. Every key has a default here;
 * an unknown key does not boot (invariant 6). `src/config/load.ts` compiles it into the stricter `Config`.
 */
export const ConfigFileSchema = Type.Object(
  {
    var_dir: Type.String({ minLength: 1, default: 'var' }),
    /** null: a private PostgreSQL under var_dir. Usually given as DATABASE_URL instead, so no password lies in a file. */
    database_url: Type.Union([Type.Null(), Type.String({ minLength: 1 })], { default: null }),
    listen: Type.Object(
      {
        grpc: listener(50051),
        http: listener(8080),
        admin_http: listener(8081),
        admin_grpc: listener(50052),
      },
      { ...closed, default: {} },
    ),
    auth: Type.Object(
      {
        /** Secret of the HMAC that keys are stored as, the same for all gateways of one registry; null: in the file. */
        hmac_secret: Type.Union([Type.Null(), Type.String({ minLength: 32, maxLength: 1024 })], {
          default: null,
        }),
        /** null: `keys/hmac-secret` under var_dir, made at first use. */
        hmac_secret_file: file,
        poll_interval_ms: count(5_000, 50, 20_000),
        /** Keys that could not be read again for this long let nobody in. */
        staleness_ms_max: count(30_000, 1_000, 86_400_000),
        /** The same for /metrics and /v1/status alone: an outage has to be seen by those who watch. */
        observe_staleness_ms_max: count(86_400_000, 1_000, 2_592_000_000),
        /** Of a key without limits of its own, per gateway process; 0: none. */
        requests_per_s: count(0, 0, 1_000_000),
        concurrency_max: count(0, 0, 1_000_000),
      },
      { ...closed, default: {} },
    ),
    tls: Type.Object({ reload_interval_ms: count(10_000, 50, 3_600_000) }, { ...closed, default: {} }),
    limits: Type.Object(
      {
        text_bytes_max: count(65_536, 1, 16_777_216),
        top_k_max: count(1000, 1, 1000),
        batch_items_max: count(256, 1, 4096),
        request_bytes_max: count(4_194_304, 1024, 268_435_456),
        deadline_ms_default: count(10_000, 1, 3_600_000),
        deadline_ms_max: count(60_000, 1, 3_600_000),
        /** A gRPC connection is asked to reconnect after so long, ± 10 %; 0: never. */
        connection_age_ms_max: count(1_800_000, 0, 86_400_000),
        /** Open at once on each public listener; 0: 35 % of the files that the process may have open, and never more. */
        connections_max: count(0, 0, 10_000_000),
        /** Bytes of answers that one connection may have unread; more of its requests are refused. One answer alone may have more, up to unread_bytes_max. */
        connection_unread_bytes_max: count(67_108_864, 65_536, Number.MAX_SAFE_INTEGER),
        /** The same of all connections; clients that hold most for longest without reading are hung up on, and no answer may be larger. 0: 10 % of the memory of the machine or container. */
        unread_bytes_max: count(0, 0, Number.MAX_SAFE_INTEGER),
        /** Bytes held for requests that have not arrived whole, of all connections; beyond, those that held most for longest are ended. 0: 10 % of the memory of the machine or container. */
        arriving_bytes_max: count(0, 0, Number.MAX_SAFE_INTEGER),
        /** A client that reads less than 1 KiB a second of its answers for so long is hung up on. */
        send_timeout_ms: count(60_000, 100, 3_600_000),
      },
      { ...closed, default: {} },
    ),
    encoder: EncoderSchema,
    search: Type.Object(
      {
        /** Search worker threads; 0: one per core. */
        workers: count(0, 0, 256),
        /** Threads of their own for tier ssd, so that waiting for a disk never delays a search in memory; 0: one per core. */
        ssd_workers: count(0, 0, 256),
        queue_length_max: count(4096, 1, 1_000_000),
      },
      { ...closed, default: {} },
    ),
    tiers: Type.Object(
      {
        /** Where tier dram keeps its copies: `auto` (a tmpfs with huge pages, else /dev/shm), `none` (the page cache), or a folder on a tmpfs. */
        memory_dir: Type.String({ minLength: 1, default: 'auto' }),
        /** Bytes of index files that tier dram may hold; 0: 60 % of the memory of the machine or container. */
        dram_bytes_max: count(0, 0, Number.MAX_SAFE_INTEGER),
      },
      { ...closed, default: {} },
    ),
    router: Type.Object(
      {
        poll_interval_ms: count(2_000, 50, 600_000),
        heartbeat_interval_ms: count(1_000, 50, 600_000),
      },
      { ...closed, default: {} },
    ),
    /** Of each shadow: what its mirrors may take. */
    mirror: Type.Object(
      {
        concurrency_max: count(8, 1, 1024),
        queue_length_max: count(64, 0, 1_000_000),
        queue_bytes_max: count(4_194_304, 1024, 1_073_741_824),
        deadline_ms: count(2_000, 1, 3_600_000),
        /** Of the processes that search shadows, as of nice(1). */
        niceness: count(10, 0, 19),
      },
      { ...closed, default: {} },
    ),
    migration: Type.Object(
      {
        /** Whether this gateway drives migrations; any one of those that do is enough. */
        drive: Type.Boolean({ default: true }),
        /** Another gateway goes on when one that drives has not been heard of for so long. */
        lease_ms: count(15_000, 500, 600_000),
        /** How soon a migration that nobody drives is found where no notification came. */
        poll_interval_ms: count(2_000, 50, 600_000),
        /** How often what was measured of migrating corpora is written down. */
        sample_interval_ms: count(5_000, 50, 600_000),
        /** How long a return to the old version waits for replicas before it names those that did not follow. */
        settle_timeout_ms: count(30_000, 100, 3_600_000),
        /** What was measured is removed so many days after the end; the report that was written then stays. */
        samples_keep_days: count(30, 1, 36_500),
      },
      { ...closed, default: {} },
    ),
    comparison: Type.Object(
      {
        /** Off: of the queries whose answers differ most only keyed hashes are kept. */
        keep_texts: Type.Boolean({ default: false }),
        /** Per pair of builds. */
        worst_queries_max: count(50, 0, 1_000),
      },
      { ...closed, default: {} },
    ),
    cache: Type.Object(
      {
        /** null: made once and kept under var_dir. Gateways that share Redis need the same one. */
        secret: Type.Union([Type.Null(), Type.String({ minLength: 1 })], { default: null }),
        embeddings: entries(86_400),
        results: entries(3_600),
        redis: Type.Object(
          {
            /** null: each gateway remembers for itself. May hold a password, so it is better given in the environment. */
            url: Type.Union([Type.Null(), Type.String({ minLength: 1 })], { default: null }),
            key_prefix: Type.String({ maxLength: 64, default: 'switchyard:' }),
            /** How long a request waits for Redis. */
            timeout_ms: count(50, 1, 10_000),
            connect_timeout_ms: count(1_000, 10, 60_000),
          },
          { ...closed, default: {} },
        ),
      },
      { ...closed, default: {} },
    ),
    overload: Type.Object(
      {
        enabled: Type.Boolean({ default: true }),
        /** Queue time that live requests may always have; above it fewer are let in. */
        queue_ms_target: count(100, 1, 60_000),
        /** Who has waited longer in a queue that stands above the target is dropped from it. */
        queue_ms_max: count(1_000, 1, 600_000),
        /** Bounds of the limit that adapts itself, for texts and for vectors each. */
        limit_min: count(8, 1, 1_000_000),
        limit_max: count(2_048, 1, 1_000_000),
        /** Per cent of the limit that each is sure of; together at most 100. */
        shares: Type.Object(
          { live: count(80, 1, 100), shadow: count(5, 0, 100), bulk: count(15, 0, 100) },
          { ...closed, default: {} },
        ),
        admin_concurrency_max: count(64, 1, 100_000),
      },
      { ...closed, default: {} },
    ),
    reembed: Type.Object(
      {
        /** Documents of one checkpoint: what a build that is killed embeds again at most. */
        checkpoint_documents: count(100_000, 1, 100_000_000),
        /** Texts of one call of an encoder of its own or on a device. */
        batch_texts_max: count(1024, 1, 1024),
        /** Threads that embed and link in a build; 0: as encoder.threads, and beside a gateway half of the cores. */
        threads: count(0, 0, 256),
        /** Of a build beside a gateway, as of nice(1): it yields to what serves from the same cores. */
        niceness: count(10, 0, 19),
        /** `idle`: only what nobody else wants (SCHED_IDLE of Linux, by chrt(1)), else by its niceness alone. */
        scheduling: Type.Union([Type.Literal('nice'), Type.Literal('idle')], { default: 'idle' }),
        /** What a build that was given up leaves is removed after so many days without a write. */
        work_keep_days: count(14, 1, 3_650),
      },
      { ...closed, default: {} },
    ),
    /** Of targets that fail. Their share goes to other targets of the same model, where there are any. */
    ejection: Type.Object(
      {
        /** In a row. */
        failures: count(5, 1, 10_000),
        /** The first time; doubles with each trial that fails. */
        first_ms: count(1_000, 1, 3_600_000),
        max_ms: count(60_000, 1, 86_400_000),
        /** A request that could wait so long and was not answered is a failure of its target. */
        timeout_ms: count(1_000, 1, 3_600_000),
      },
      { ...closed, default: {} },
    ),
    archive: Type.Object(
      {
        /** Folder or s3://bucket/prefix; null: said with each command. */
        uri: file,
        s3: Type.Object(
          {
            /** null: AWS itself. Credentials come from where every AWS client takes them. */
            endpoint: file,
            region: Type.String({ minLength: 1, maxLength: 64, default: 'us-east-1' }),
            force_path_style: Type.Boolean({ default: false }),
          },
          { ...closed, default: {} },
        ),
      },
      { ...closed, default: {} },
    ),
    retire: Type.Object(
      {
        /** A version that somebody searched in the last so many days is not retired; 0: that is not asked. */
        quiet_days: count(7, 0, 365),
        /** Deadlines of consumers are warned of from so many days before. */
        deadline_warn_days: count(14, 0, 3_650),
      },
      { ...closed, default: {} },
    ),
    shutdown: Type.Object(
      {
        lame_duck_ms: count(0, 0, 600_000),
        drain_ms: count(10_000, 0, 600_000),
      },
      { ...closed, default: {} },
    ),
    /** OpenTelemetry traces; the standard OTEL_* variables say where they go and how. */
    tracing: Type.Object(
      {
        enabled: Type.Boolean({ default: false }),
        /** Of the requests that come without a trace of their own, in basis points. */
        sample_bps: count(100, 0, 10_000),
        /** Whatever clients ask for. */
        traces_per_s_max: count(100, 1, 100_000),
      },
      { ...closed, default: {} },
    ),
    log: Type.Object(
      {
        /** Requests that took longer are logged, at most ten a second; 0: none. */
        slow_request_ms: count(1_000, 0, 3_600_000),
        level: Type.Union(
          (['debug', 'info', 'warn', 'error', 'silent'] as const).map((level) => Type.Literal(level)),
          { default: 'info' },
        ),
      },
      { ...closed, default: {} },
    ),
  },
  { ...closed, default: {} },
);

export type ConfigFile = Static<typeof ConfigFileSchema>;
