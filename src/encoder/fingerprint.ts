import { sha256Hex } from '../files/hash.js';
import type { Fingerprint } from '../vocabulary.js';
import type { ModelManifest } from './manifest.js';

/** JSON without what RFC 8785 makes hard: the identity of a model has no fractions, nulls or booleans. */
export type CanonicalValue =
  | string
  | number
  | readonly CanonicalValue[]
  | { readonly [key: string]: CanonicalValue };

/**
 * RFC 8785 (JSON Canonicalization Scheme): no blanks, keys sorted by UTF-16 code units, strings escaped as
 * ECMAScript does. Numbers must be safe integers, where the RFC and JSON.stringify agree by definition.
 */
export function canonicalJson(value: CanonicalValue): string {
  if (typeof value === 'string') {
    if (/\p{Surrogate}/u.test(value))
      throw new TypeError('a string with a lone surrogate has no canonical form');
    return JSON.stringify(value);
  }
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new TypeError(`${value} is not a safe integer`);
    return JSON.stringify(value);
  }
  if (isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  // The default sort compares UTF-16 code units, which is what RFC 8785 section 3.2.3 asks for.
  const members = Object.keys(value)
    .sort()
    .map((key) => `${canonicalJson(key)}:${canonicalJson(value[key] as CanonicalValue)}`);
  return `{${members.join(',')}}`;
}

const isArray = (value: CanonicalValue): value is readonly CanonicalValue[] => Array.isArray(value);

/** What makes two models the same vector space. Names, paths and dates are not in it. */
export type ModelIdentity = Pick<
  ModelManifest,
  'pooling' | 'normalisation' | 'query_prefix' | 'document_prefix' | 'max_tokens' | 'precision'
> & {
  readonly onnxSha256: string;
  /** File name (the graph refers to it) and SHA-256 of each external data file. */
  readonly externalDataSha256: Readonly<Record<string, string>>;
  readonly tokenizerSha256: string;
};

const FINGERPRINT_HEX_LENGTH = 32;

/** `mf1_` + the first 32 hex of the SHA-256 of the identity's RFC 8785 JSON. */
export function computeFingerprint(identity: ModelIdentity): Fingerprint {
  const canonical = canonicalJson({
    onnx: identity.onnxSha256,
    external_data: identity.externalDataSha256,
    tokenizer: identity.tokenizerSha256,
    pooling: identity.pooling,
    normalisation: identity.normalisation,
    query_prefix: identity.query_prefix,
    document_prefix: identity.document_prefix,
    max_tokens: identity.max_tokens,
    precision: identity.precision,
  });
  return `mf1_${sha256Hex(canonical).slice(0, FINGERPRINT_HEX_LENGTH)}` as Fingerprint;
}
