/**
 * The closed catalogue of error reasons: every failure that crosses a module border is a SwitchyardError with
 * one of these. One line per reason says how each protocol shows it and whether a client may try again.
 * docs/errors.md lists the same reasons; a test compares the two.
 */

/** gRPC status codes by name (the numbers are the protocol's). */
export const GRPC_CODES = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcCodeName = keyof typeof GRPC_CODES;

/** `never`: the same request fails again. `backoff`: try again later. `other`: another replica may answer. */
export type Retry = 'never' | 'backoff' | 'other';

interface ReasonEntry {
  readonly grpc: GrpcCodeName;
  readonly http: number;
  readonly retry: Retry;
  readonly title: string;
}

const CATALOGUE = {
  // The request itself
  MALFORMED_REQUEST: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'The request cannot be decoded',
  },
  INVALID_ARGUMENT: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'A field has a value outside its limits',
  },
  UNKNOWN_FIELD: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'The request has a field that does not exist',
  },
  EMPTY_QUERY: { grpc: 'INVALID_ARGUMENT', http: 400, retry: 'never', title: 'The query is empty' },
  TEXT_TOO_LARGE: {
    grpc: 'INVALID_ARGUMENT',
    http: 413,
    retry: 'never',
    title: 'A text is longer than the limit',
  },
  REQUEST_TOO_LARGE: {
    grpc: 'RESOURCE_EXHAUSTED',
    http: 413,
    retry: 'never',
    title: 'The request is larger than the limit',
  },
  HEADERS_TOO_LARGE: {
    grpc: 'RESOURCE_EXHAUSTED',
    http: 431,
    retry: 'never',
    title: 'The headers are larger than the limit',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    grpc: 'INVALID_ARGUMENT',
    http: 415,
    retry: 'never',
    title: 'The body has another content type than application/json',
  },
  UNSUPPORTED_ENCODING: {
    grpc: 'UNIMPLEMENTED',
    http: 415,
    retry: 'never',
    title: 'The request is compressed',
  },
  METHOD_NOT_ALLOWED: {
    grpc: 'UNIMPLEMENTED',
    http: 405,
    retry: 'never',
    title: 'This address does not take this method',
  },
  UNAUTHENTICATED: {
    grpc: 'UNAUTHENTICATED',
    http: 401,
    retry: 'never',
    title: 'The request has no valid API key',
  },
  PERMISSION_DENIED: {
    grpc: 'PERMISSION_DENIED',
    http: 403,
    retry: 'never',
    title: 'The API key does not allow this',
  },
  QUOTA_EXCEEDED: {
    grpc: 'RESOURCE_EXHAUSTED',
    http: 429,
    retry: 'backoff',
    title: 'The API key has used up its quota',
  },
  ANSWERS_UNREAD: {
    grpc: 'RESOURCE_EXHAUSTED',
    http: 429,
    retry: 'backoff',
    title: 'The connection has too many answers that were not read',
  },
  DIMENSION_MISMATCH: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'The vector has another length than the model',
  },
  NON_FINITE_VECTOR: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'The vector has a number that is not finite',
  },
  ZERO_VECTOR: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'A zero vector has no direction under cosine',
  },
  MODEL_REQUIRED: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'A raw vector must name its model',
  },
  // Things that are not there, or do not fit
  UNKNOWN_CORPUS: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The corpus does not exist' },
  UNKNOWN_CORPUS_VERSION: {
    grpc: 'NOT_FOUND',
    http: 404,
    retry: 'never',
    title: 'The corpus version does not exist or is not routed',
  },
  UNKNOWN_BUILD: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The build does not exist' },
  UNKNOWN_MODEL: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The model does not exist' },
  UNKNOWN_REVISION: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The route has no such revision' },
  UNKNOWN_CONSUMER: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The consumer does not exist' },
  UNKNOWN_GOLDEN_SET: {
    grpc: 'NOT_FOUND',
    http: 404,
    retry: 'never',
    title: 'The golden set does not exist',
  },
  UNKNOWN_EVALUATION: {
    grpc: 'NOT_FOUND',
    http: 404,
    retry: 'never',
    title: 'The evaluation does not exist',
  },
  UNKNOWN_ARCHIVE: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The archive is not recorded' },
  UNKNOWN_RETIREMENT: {
    grpc: 'NOT_FOUND',
    http: 404,
    retry: 'never',
    title: 'The version was never to be retired',
  },
  UNKNOWN_KEY: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'The API key does not exist' },
  UNKNOWN_MIGRATION: {
    grpc: 'NOT_FOUND',
    http: 404,
    retry: 'never',
    title: 'The migration does not exist',
  },
  NOT_FOUND: { grpc: 'NOT_FOUND', http: 404, retry: 'never', title: 'There is nothing at this address' },
  MODEL_MISMATCH: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'never',
    title: 'No target of the route was built by this model',
  },
  ALREADY_EXISTS: {
    grpc: 'ALREADY_EXISTS',
    http: 409,
    retry: 'never',
    title: 'It exists already with another content',
  },
  STATUS_CONFLICT: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'never',
    title: 'The current status does not allow this',
  },
  REVISION_CONFLICT: {
    grpc: 'ABORTED',
    http: 412,
    retry: 'never',
    title: 'The route changed since it was read',
  },
  PRECONDITION_REQUIRED: {
    grpc: 'FAILED_PRECONDITION',
    http: 428,
    retry: 'never',
    title: 'A change must name the revision it was based on',
  },
  INVALID_ROUTE: { grpc: 'INVALID_ARGUMENT', http: 400, retry: 'never', title: 'The route breaks a rule' },
  TARGET_NOT_READY: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'backoff',
    title: 'A live replica has not loaded a target',
  },
  // Files and formats
  INVALID_PLAN: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'The migration plan breaks a rule',
  },
  INVALID_CONFIG: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'The configuration is not valid',
  },
  INVALID_INPUT_FILE: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'An input file is not valid',
  },
  INVALID_MODEL: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'The model files are not usable',
  },
  CORRUPT_MODEL: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'A model file is not what was imported',
  },
  CORRUPT_BUNDLE: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'A bundle file is not what was published',
  },
  CORRUPT_SNAPSHOT: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'A snapshot file is not what was written',
  },
  CORRUPT_ARCHIVE: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'A file of an archive is not what was archived',
  },
  ARCHIVE_UNAVAILABLE: {
    grpc: 'UNAVAILABLE',
    http: 503,
    retry: 'backoff',
    title: 'The place of the archives cannot be reached',
  },
  VERSION_IN_USE: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'never',
    title: 'Somebody still depends on the corpus version',
  },
  CORRUPT_CHECKPOINT: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'A checkpoint of an embedding is not what was written',
  },
  FINGERPRINT_MISMATCH: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'never',
    title: 'Encoder and index belong to different models',
  },
  PROBE_MISMATCH: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'The encoder does not reproduce its probes',
  },
  PROVIDER_UNAVAILABLE: {
    grpc: 'FAILED_PRECONDITION',
    http: 500,
    retry: 'never',
    title: 'The required execution provider cannot be had',
  },
  DOWNLOAD_FAILED: {
    grpc: 'UNAVAILABLE',
    http: 503,
    retry: 'backoff',
    title: 'A file cannot be downloaded',
  },
  UNSUPPORTED_FORMAT: {
    grpc: 'INVALID_ARGUMENT',
    http: 400,
    retry: 'never',
    title: 'This quantization and metric do not go together',
  },
  TRUNCATION_LIMIT: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'never',
    title: 'Too many documents were cut at max tokens',
  },
  BUILD_LOCKED: {
    grpc: 'FAILED_PRECONDITION',
    http: 409,
    retry: 'backoff',
    title: 'Another build of this corpus version is running',
  },
  MEMORY_BUDGET: {
    grpc: 'RESOURCE_EXHAUSTED',
    http: 507,
    retry: 'never',
    title: 'The memory for dram targets does not suffice',
  },
  DISK_FULL: { grpc: 'RESOURCE_EXHAUSTED', http: 507, retry: 'backoff', title: 'The disk is full' },
  // Load, time and parts that are down
  DEADLINE_EXCEEDED: { grpc: 'DEADLINE_EXCEEDED', http: 504, retry: 'backoff', title: 'The deadline passed' },
  REQUEST_TOO_SLOW: {
    grpc: 'DEADLINE_EXCEEDED',
    http: 408,
    retry: 'backoff',
    title: 'The request did not arrive in time',
  },
  OVERLOADED: {
    grpc: 'UNAVAILABLE',
    http: 503,
    retry: 'backoff',
    title: 'The gateway has more to do than it can answer in time',
  },
  QUEUE_FULL: { grpc: 'UNAVAILABLE', http: 503, retry: 'backoff', title: 'The queue is full' },
  ENCODER_UNAVAILABLE: {
    grpc: 'UNAVAILABLE',
    http: 503,
    retry: 'backoff',
    title: 'The encoder is restarting',
  },
  INDEX_UNAVAILABLE: { grpc: 'UNAVAILABLE', http: 503, retry: 'backoff', title: 'The index is not open' },
  REGISTRY_UNAVAILABLE: {
    grpc: 'UNAVAILABLE',
    http: 503,
    retry: 'backoff',
    title: 'The registry cannot be reached',
  },
  SHUTTING_DOWN: { grpc: 'UNAVAILABLE', http: 503, retry: 'other', title: 'The gateway is shutting down' },
  UNIMPLEMENTED: {
    grpc: 'UNIMPLEMENTED',
    http: 501,
    retry: 'never',
    title: 'This is not part of this version',
  },
  INTERNAL: { grpc: 'INTERNAL', http: 500, retry: 'backoff', title: 'An internal error' },
} as const satisfies Record<string, ReasonEntry>;

export type Reason = keyof typeof CATALOGUE;
export const REASONS: Readonly<Record<Reason, ReasonEntry>> = CATALOGUE;

export interface ErrorOptions {
  /** What a program needs to react: limits, names that would work. Never secrets or query texts. */
  readonly details?: Readonly<Record<string, string>>;
  /** Milliseconds after which trying again may help, where that is known better than by the reason alone. */
  readonly retryAfterMs?: number | null;
  /** What went wrong underneath. Logged, never sent. */
  readonly cause?: unknown;
}

/** The one error type that crosses module borders. `message` is for a person: what, the limit, what to do. */
export class SwitchyardError extends Error {
  override readonly name = 'SwitchyardError';
  readonly reason: Reason;
  readonly details: Readonly<Record<string, string>>;
  readonly retryAfterMs: number | null;

  constructor(reason: Reason, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.details = options.details ?? {};
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** Any thrown value as a SwitchyardError; what is unknown becomes INTERNAL with its message kept off the wire. */
export function toSwitchyardError(thrown: unknown): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  return new SwitchyardError('INTERNAL', 'internal error; the log of the gateway has the cause', {
    cause: thrown,
  });
}

/** Errors that cross a process or thread border travel in this shape. */
export interface ErrorFrame {
  readonly reason: Reason;
  readonly message: string;
  readonly details: Readonly<Record<string, string>>;
}

/** The cause's text is dropped on purpose: it may hold a query text. */
export function errorToFrame(thrown: unknown): ErrorFrame {
  const error = toSwitchyardError(thrown);
  return { reason: error.reason, message: error.message, details: error.details };
}

export function errorFromFrame(frame: ErrorFrame): SwitchyardError {
  const reason: Reason = Object.hasOwn(REASONS, frame.reason) ? frame.reason : 'INTERNAL';
  return new SwitchyardError(reason, frame.message, { details: frame.details });
}
