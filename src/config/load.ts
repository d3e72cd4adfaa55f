import { availableParallelism, totalmem } from 'node:os';
import path from 'node:path';
import { Value } from '@sinclair/typebox/value';
import { SwitchyardError } from '../errors.js';
import type { Config } from './config.js';
import { compileEncoder } from './encoder.js';
import { addressOf, compileAuth, compileListener } from './listeners.js';
import { type ConfigFile, ConfigFileSchema } from './schema.js';
import { settingAt } from './setting-names.js';
import { readSettingsFile } from './settings-file.js';

/** Of the memory, for tier dram where no limit is configured. */
const DRAM_SHARE = 0.6;
/** Of the memory, for answers that clients did not read yet. */
const UNREAD_SHARE = 0.1;
/** The same of requests that have not arrived whole, and the least of it. */
const ARRIVING_SHARE = 0.1;
const ARRIVING_BYTES_MIN = 33_554_432;
const ARRIVING_REQUESTS_MIN = 8;

export interface ConfigSources {
  /** Path of a YAML file; null: `config/switchyard.yaml` under `cwd` when there is one, else defaults alone. */
  readonly file: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Settings of the command line by their dotted file names (`listen.http.port`); they win over file and environment. */
  readonly overrides: Readonly<Record<string, string | number | boolean>>;
}

/** More often, clients do little else than connect. */
const CONNECTION_AGE_MS_MIN = 1_000;

/** Variables of the command line's clients and of the tests: no settings. */
const NOT_SETTINGS: ReadonlySet<string> = new Set([
  'SWITCHYARD_API_KEY',
  'SWITCHYARD_API_KEY_FILE',
  'SWITCHYARD_CA_FILE',
  'SWITCHYARD_CLIENT_CERT_FILE',
  'SWITCHYARD_CLIENT_KEY_FILE',
  'SWITCHYARD_FUZZ_SEED',
]);

/**
 * defaults → file → environment → command line, validated as a whole. The environment spells a setting
 * `SWITCHYARD_LISTEN__HTTP__PORT` (dots are two underscores); DATABASE_URL is read as it is.
 * Errors: INVALID_CONFIG, naming the setting, the value's limit and where it came from.
 */
export function loadConfig(sources: ConfigSources): Config {
  const merged = readSettingsFile(sources);
  for (const [name, text] of Object.entries(sources.env)) {
    if (text === undefined || text === '') continue;
    if (name === 'DATABASE_URL') setPath(merged, 'database_url', text);
    else if (name.startsWith('SWITCHYARD_') && !NOT_SETTINGS.has(name)) {
      const setting = name.slice('SWITCHYARD_'.length).toLowerCase().replaceAll('__', '.');
      setPath(merged, setting, fromText(setting, text));
    }
  }
  for (const [setting, value] of Object.entries(sources.overrides)) setPath(merged, setting, value);

  const withDefaults: unknown = Value.Default(ConfigFileSchema, merged);
  const first = Value.Errors(ConfigFileSchema, withDefaults).First();
  if (first !== undefined) {
    const setting = settingAt(first.path);
    const known = first.message.startsWith('Unexpected') ? '; docs/operations.md lists the settings' : '';
    const choices = (first.schema as { anyOf?: readonly Choice[] }).anyOf?.map(nameOfChoice);
    const { errorMessage } = first.schema as { errorMessage?: string };
    const problem = choices === undefined ? first.message : `must be one of ${choices.join(', ')}`;
    throw invalid(`${setting}: ${errorMessage ?? problem}${known}`);
  }
  return compile(withDefaults as ConfigFile, sources.cwd);
}

interface Choice {
  readonly const?: string;
  readonly type: string;
  readonly minLength?: number;
  readonly maxLength?: number;
}

const nameOfChoice = ({ const: literal, type, minLength = 0, maxLength }: Choice): string =>
  literal ??
  (type === 'string'
    ? `a text of ${minLength} ${maxLength === undefined ? 'or more' : `to ${maxLength}`} characters`
    : type);

/** Numbers, booleans and comma lists of the environment, by the type that the schema has at this place. */
function fromText(setting: string, text: string): unknown {
  const kind = schemaTypeAt(setting);
  if (kind === 'integer' && /^-?\d+$/.test(text)) return Number(text);
  if (kind === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  if (kind === 'array')
    return text
      .split(',')
      .map((part) => part.trim())
      .map((part) => (itemsAt(setting) === 'integer' && /^\d+$/.test(part) ? Number(part) : part));
  return text;
}

const schemaTypeAt = (setting: string): string | undefined => schemaAt(setting)?.type;
const itemsAt = (setting: string): string | undefined => schemaAt(setting)?.items?.type;

function schemaAt(
  setting: string,
): { readonly type?: string; readonly items?: { readonly type?: string } } | undefined {
  let node: unknown = ConfigFileSchema;
  for (const key of setting.split('.')) {
    const properties = (node as { properties?: Record<string, unknown> }).properties;
    if (properties === undefined || !Object.hasOwn(properties, key)) return undefined;
    node = properties[key];
  }
  return node as { readonly type?: string };
}

function setPath(target: Record<string, unknown>, setting: string, value: unknown): void {
  const keys = setting.split('.');
  const last = keys.pop();
  if (last === undefined || [...keys, last].includes('__proto__'))
    throw invalid(`${setting} is not a setting`);
  let node = target;
  for (const key of keys) {
    const next = node[key];
    if (typeof next === 'object' && next !== null && !Array.isArray(next))
      node = next as Record<string, unknown>;
    else {
      const fresh: Record<string, unknown> = {};
      node[key] = fresh;
      node = fresh;
    }
  }
  node[last] = value;
}

/** Without a limit cgroups say 0, or a number beyond any machine. */
function memoryShare(share: number): number {
  const limit = process.constrainedMemory();
  return Math.floor(share * (limit > 0 ? Math.min(limit, totalmem()) : totalmem()));
}

function compileUnread(limits: ConfigFile['limits']): Config['unread'] {
  const { connection_unread_bytes_max: connectionBytesMax, unread_bytes_max: given } = limits;
  if (given !== 0 && given < connectionBytesMax) {
    throw invalid(
      `limits.unread_bytes_max ${given} must be 0 (a share of the memory) or >= limits.connection_unread_bytes_max ${connectionBytesMax}`,
    );
  }
  const bytesMax = given === 0 ? Math.max(memoryShare(UNREAD_SHARE), connectionBytesMax) : given;
  return { connectionBytesMax, bytesMax, sendTimeoutMs: limits.send_timeout_ms };
}

/** One request of the largest size may hold nearly twice its bytes, and is to be no reason to end another. */
function compileArriving(limits: ConfigFile['limits']): number {
  const { request_bytes_max: requestBytesMax, arriving_bytes_max: given } = limits;
  const least = Math.max(ARRIVING_BYTES_MIN, requestBytesMax * ARRIVING_REQUESTS_MIN);
  if (given !== 0 && given < least) {
    throw invalid(
      `limits.arriving_bytes_max ${given} must be 0 (a share of the memory) or >= ${least} (${ARRIVING_REQUESTS_MIN} times limits.request_bytes_max, and at least ${ARRIVING_BYTES_MIN})`,
    );
  }
  return given === 0 ? Math.max(memoryShare(ARRIVING_SHARE), least) : given;
}

function compile(file: ConfigFile, cwd: string): Config {
  const { limits } = file;
  if (limits.deadline_ms_default > limits.deadline_ms_max) {
    throw invalid(
      `limits.deadline_ms_default ${limits.deadline_ms_default} must be <= limits.deadline_ms_max ${limits.deadline_ms_max}`,
    );
  }
  if (limits.text_bytes_max > limits.request_bytes_max) {
    throw invalid(
      `limits.text_bytes_max ${limits.text_bytes_max} must be <= limits.request_bytes_max ${limits.request_bytes_max}`,
    );
  }
  if (limits.text_bytes_max > file.encoder.queue_bytes_max) {
    throw invalid(
      `limits.text_bytes_max ${limits.text_bytes_max} must be <= encoder.queue_bytes_max ${file.encoder.queue_bytes_max}`,
    );
  }
  const { mirror } = file;
  if (limits.connection_age_ms_max !== 0 && limits.connection_age_ms_max < CONNECTION_AGE_MS_MIN) {
    throw invalid(
      `limits.connection_age_ms_max ${limits.connection_age_ms_max} must be 0 (never) or >= ${CONNECTION_AGE_MS_MIN}`,
    );
  }
  if (mirror.deadline_ms > limits.deadline_ms_max) {
    throw invalid(
      `mirror.deadline_ms ${mirror.deadline_ms} must be <= limits.deadline_ms_max ${limits.deadline_ms_max}`,
    );
  }
  const ports = Object.entries(file.listen).filter(([, at]) => at.port !== 0);
  for (const [name, at] of ports) {
    const twin = ports.find(
      ([other, there]) =>
        other !== name && there.port === at.port && addressOf(there.host) === addressOf(at.host),
    );
    if (twin !== undefined)
      throw invalid(`listen.${name} and listen.${twin[0]} are both ${addressOf(at.host)}:${at.port}`);
  }
  const varDir = path.resolve(cwd, file.var_dir);
  const cores = availableParallelism();
  return Object.freeze({
    varDir,
    modelsDir: path.join(varDir, 'models'),
    bundlesDir: path.join(varDir, 'bundles'),
    databaseUrl: file.database_url,
    listen: {
      grpc: compileListener('grpc', file, cwd),
      http: compileListener('http', file, cwd),
      adminHttp: compileListener('admin_http', file, cwd),
      adminGrpc: compileListener('admin_grpc', file, cwd),
    },
    auth: compileAuth(file, cwd, varDir),
    tls: { reloadIntervalMs: file.tls.reload_interval_ms },
    limits: {
      textBytesMax: limits.text_bytes_max,
      topKMax: limits.top_k_max,
      batchItemsMax: limits.batch_items_max,
      requestBytesMax: limits.request_bytes_max,
      deadlineMsDefault: limits.deadline_ms_default,
      deadlineMsMax: limits.deadline_ms_max,
    },
    connectionAgeMsMax: limits.connection_age_ms_max === 0 ? null : limits.connection_age_ms_max,
    connectionsMax: limits.connections_max === 0 ? null : limits.connections_max,
    unread: compileUnread(limits),
    arrivingBytesMax: compileArriving(limits),
    encoder: compileEncoder(file.encoder, cores),
    search: {
      workers: file.search.workers === 0 ? cores : file.search.workers,
      ssdWorkers: file.search.ssd_workers === 0 ? cores : file.search.ssd_workers,
      queueLengthMax: file.search.queue_length_max,
    },
    tiers: {
      memoryDir: ['auto', 'none'].includes(file.tiers.memory_dir)
        ? file.tiers.memory_dir
        : path.resolve(cwd, file.tiers.memory_dir),
      dramBytesMax: file.tiers.dram_bytes_max === 0 ? memoryShare(DRAM_SHARE) : file.tiers.dram_bytes_max,
    },
    router: {
      pollIntervalMs: file.router.poll_interval_ms,
      heartbeatIntervalMs: file.router.heartbeat_interval_ms,
    },
    mirror: {
      concurrencyMax: mirror.concurrency_max,
      queueLengthMax: mirror.queue_length_max,
      queueBytesMax: mirror.queue_bytes_max,
      deadlineMs: mirror.deadline_ms,
      niceness: mirror.niceness,
    },
    migration: {
      drive: file.migration.drive,
      leaseMs: file.migration.lease_ms,
      pollIntervalMs: file.migration.poll_interval_ms,
      sampleIntervalMs: file.migration.sample_interval_ms,
      settleTimeoutMs: file.migration.settle_timeout_ms,
      samplesKeepDays: file.migration.samples_keep_days,
    },
    comparison: {
      keepTexts: file.comparison.keep_texts,
      worstQueriesMax: file.comparison.worst_queries_max,
    },
    cache: compileCache(file.cache),
    overload: compileOverload(file),
    reembed: {
      checkpointDocuments: file.reembed.checkpoint_documents,
      batchTextsMax: file.reembed.batch_texts_max,
      threads: file.reembed.threads || encoderThreads(file, cores),
      threadsBeside: file.reembed.threads || Math.max(1, Math.floor(cores / 2)),
      niceness: file.reembed.niceness,
      scheduling: file.reembed.scheduling,
      workKeepDays: file.reembed.work_keep_days,
    },
    ejection: compileEjection(file.ejection),
    archive: {
      uri: file.archive.uri,
      s3: {
        endpoint: file.archive.s3.endpoint,
        region: file.archive.s3.region,
        forcePathStyle: file.archive.s3.force_path_style,
      },
    },
    retire: { quietDays: file.retire.quiet_days, deadlineWarnDays: file.retire.deadline_warn_days },
    shutdown: { lameDuckMs: file.shutdown.lame_duck_ms, drainMs: file.shutdown.drain_ms },
    tracing: {
      enabled: file.tracing.enabled,
      sampleBps: file.tracing.sample_bps,
      tracesPerSMax: file.tracing.traces_per_s_max,
    },
    log: { level: file.log.level, slowRequestMs: file.log.slow_request_ms },
  });
}

function compileOverload({ overload, limits }: ConfigFile): Config['overload'] {
  const { limit_min, limit_max, queue_ms_target, queue_ms_max, shares } = overload;
  if (limit_min > limit_max)
    throw invalid(`overload.limit_min ${limit_min} must be <= overload.limit_max ${limit_max}`);
  if (queue_ms_target > limits.deadline_ms_max)
    throw invalid(
      `overload.queue_ms_target ${queue_ms_target} must be <= limits.deadline_ms_max ${limits.deadline_ms_max}`,
    );
  if (queue_ms_max < queue_ms_target)
    throw invalid(
      `overload.queue_ms_max ${queue_ms_max} must be >= overload.queue_ms_target ${queue_ms_target}`,
    );
  const sum = shares.live + shares.shadow + shares.bulk;
  if (sum > 100) throw invalid(`overload.shares are ${sum} per cent together, must be <= 100`);
  return {
    enabled: overload.enabled,
    queueMsTarget: queue_ms_target,
    queueMsMax: queue_ms_max,
    limitMin: limit_min,
    limitMax: limit_max,
    shares: { live: shares.live / 100, shadow: shares.shadow / 100, bulk: shares.bulk / 100 },
    adminConcurrencyMax: overload.admin_concurrency_max,
  };
}

const encoderThreads = ({ encoder }: ConfigFile, cores: number): number =>
  encoder.threads === 0 ? cores : encoder.threads;

function compileEjection({
  failures,
  first_ms,
  max_ms,
  timeout_ms,
}: ConfigFile['ejection']): Config['ejection'] {
  if (first_ms > max_ms) throw invalid(`ejection.first_ms ${first_ms} must be <= ejection.max_ms ${max_ms}`);
  return {
    breaker: { failuresToOpen: failures, openMsFirst: first_ms, openMsMax: max_ms },
    timeoutMs: timeout_ms,
  };
}

const CACHE_SECRET_LENGTH_MIN = 32;

/** No message repeats the secret or the address, which may hold a password. */
function compileCache({ secret, embeddings, results, redis }: ConfigFile['cache']): Config['cache'] {
  if (secret !== null && secret.length < CACHE_SECRET_LENGTH_MIN)
    throw invalid(
      `cache.secret has ${secret.length} characters, must be >= ${CACHE_SECRET_LENGTH_MIN}: take random ones`,
    );
  if (redis.url !== null && !isRedisAddress(redis.url))
    throw invalid('cache.redis.url must be redis://host:port, rediss://host:port or the path of a socket');
  const size = (entries: typeof results) => ({
    enabled: entries.enabled,
    memoryBytes: entries.memory_bytes,
    ttlMs: entries.ttl_s * 1000,
  });
  return {
    secret,
    embeddings: size(embeddings),
    results: size(results),
    redis:
      redis.url === null
        ? null
        : {
            url: redis.url,
            keyPrefix: redis.key_prefix,
            timeoutMs: redis.timeout_ms,
            connectTimeoutMs: redis.connect_timeout_ms,
          },
  };
}

const isRedisAddress = (url: string): boolean =>
  path.isAbsolute(url) || (/^rediss?:\/\//.test(url) && URL.canParse(url));

const invalid = (message: string): SwitchyardError => new SwitchyardError('INVALID_CONFIG', message);
