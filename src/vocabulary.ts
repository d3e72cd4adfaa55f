/**
 * The words of docs/architecture.md as types. Protobuf enums, nulls and wire spellings stop at the edges;
 * inside the process there are only these unions and branded strings.
 */

/** Identity of a vector space: `mf1_` + 32 hex. Computed by `src/encoder/fingerprint.ts`, nowhere else. */
export type Fingerprint = string & { readonly __brand: 'Fingerprint' };
/** SHA-256 of a bundle's manifest, 64 hex. */
export type Digest = string & { readonly __brand: 'Digest' };
/** Position of a vector in a build, 0..count-1; also its usearch key. */
export type RowNumber = number & { readonly __brand: 'RowNumber' };
/** Number of a route's snapshot, rising by one with every change. */
export type Revision = number & { readonly __brand: 'Revision' };

export const METRICS = ['cosine', 'dot', 'l2'] as const;
export type Metric = (typeof METRICS)[number];

export const QUANTIZATIONS = ['f32', 'f16', 'bf16', 'i8', 'b1'] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

export const PRECISIONS = ['fp32', 'fp16', 'int8'] as const;
export type Precision = (typeof PRECISIONS)[number];

export const INPUT_ROLES = ['query', 'document'] as const;
export type InputRole = (typeof INPUT_ROLES)[number];

/** Priority lanes of the encoder and of the search workers, most urgent first. */
export const LANES = ['live', 'shadow', 'bulk'] as const;
export type Lane = (typeof LANES)[number];

/** What a client may say of a request, and the lane it then takes: somebody waits for it, or a program has time. */
export const PRIORITIES = ['live', 'bulk'] as const satisfies readonly Lane[];
export type Priority = (typeof PRIORITIES)[number];

export const TARGET_ROLES = ['active', 'shadow', 'draining'] as const;
export type TargetRole = (typeof TARGET_ROLES)[number];

export const TIERS = ['dram', 'ssd'] as const;
export type Tier = (typeof TIERS)[number];

export const EXECUTION_PROVIDERS = ['cuda', 'webgpu', 'cpu'] as const;
export type ExecutionProvider = (typeof EXECUTION_PROVIDERS)[number];

/** What a model runs on: a provider, and which of its GPUs where there may be several. Plain `cuda` is `cuda:0`. */
export type Device = ExecutionProvider | `cuda:${number}`;

export const DEVICE_PATTERN = /^(?:cuda(?::(?:0|[1-9]\d?))?|webgpu|cpu)$/;
export const isDevice = (text: string): text is Device => DEVICE_PATTERN.test(text);
export const providerOf = (device: Device): ExecutionProvider =>
  device.replace(/:.*/, '') as ExecutionProvider;
export const deviceIdOf = (device: Device): number => Number(device.split(':')[1] ?? 0);

/** Sum of the weights of a route's active targets, in basis points. */
export const WEIGHT_TOTAL_BPS = 10_000;

/**
 * A vector that knows the space it lives in. Invariant 1: the only thing an index can be searched with.
 * `values` has the model's full dimensions, in the model's own scale.
 */
export interface QueryVector {
  readonly fingerprint: Fingerprint;
  readonly values: Float32Array;
}

const NAME = /^[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?$/;
const MODEL_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/;
const VERSION = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,30}[A-Za-z0-9])?$/;
const FINGERPRINT = /^mf1_[0-9a-f]{32}$/;
const DIGEST = /^[0-9a-f]{64}$/;

export const isCorpusName = (text: string): boolean => NAME.test(text);
export const isModelName = (text: string): boolean => MODEL_NAME.test(text);
export const isVersionName = (text: string): boolean => VERSION.test(text);
export const isFingerprint = (text: string): text is Fingerprint => FINGERPRINT.test(text);
export const isDigest = (text: string): text is Digest => DIGEST.test(text);

/** How many characters of a digest name a bundle's folder and a build in an API. */
export const DIGEST_PREFIX_LENGTH = 16;
export const digestPrefix = (digest: Digest): string => digest.slice(0, DIGEST_PREFIX_LENGTH);

/** `name@version`, the human name of a model. Its identity is the fingerprint. */
export const modelRef = (model: { readonly name: string; readonly version: string }): string =>
  `${model.name}@${model.version}`;
