import { hash } from 'node:crypto';
import type { Digest, Fingerprint, InputRole } from '../vocabulary.js';

/** Names an entry in this process: a digest, under the secret, of everything the value depends on. */
export type CacheKey = string & { readonly __brand: 'CacheKey' };
/** The same outside it: HMAC-SHA-256, base64url. The only form in which a query leaves the process. */
export type SharedKey = string & { readonly __brand: 'SharedKey' };
export const SHARED_KEY_LENGTH = 43;
const DIGEST_BYTES_OUT = 32;

export interface ResultQuestion {
  readonly build: Digest;
  readonly fingerprint: Fingerprint;
  readonly expansion: number;
  readonly topK: number;
  readonly withDocument: boolean;
  readonly query: string | Float32Array;
}

export const SECRET_BYTES_MIN = 16;

const BLOCK = 64;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;
/** Fixed lengths before the query, so that no two questions give the same bytes. */
const FINGERPRINT_BYTES = 36;
const DIGEST_BYTES = 64;
const KIND = { embedding: 1, result: 2 } as const;
const FORM = { text: 1, vector: 2 } as const;
const ROLE = { query: 1, document: 2 } as const satisfies Record<InputRole, number>;
const SCRATCH_BYTES = 16_384;
/** A UTF-16 unit is at most three bytes of UTF-8. */
const UTF8_BYTES_MAX = 3;

/**
 * Names of cache entries under one secret. Gateways that share Redis must share the secret, and without it a key says
 * nothing about the query. Synchronous, and not to be used by two threads.
 */
export class CacheKeys {
  readonly #embedding: Scratch;
  readonly #result: Scratch;
  readonly #outer: Buffer;
  /** What the fixed part of `#result` says at present: most questions differ in their query alone. */
  #asked: Omit<ResultQuestion, 'query'> | null = null;

  /** Errors: RangeError for a secret shorter than `SECRET_BYTES_MIN`. */
  constructor(secret: Uint8Array) {
    if (secret.length < SECRET_BYTES_MIN)
      throw new RangeError(`the secret of the cache keys must have at least ${SECRET_BYTES_MIN} bytes`);
    const key = Buffer.alloc(BLOCK);
    key.set(secret.length <= BLOCK ? secret : hash('sha256', secret, 'buffer'));
    const inner = key.map((byte) => byte ^ INNER_PAD);
    this.#embedding = new Scratch(inner);
    this.#result = new Scratch(inner);
    this.#outer = Buffer.alloc(BLOCK + DIGEST_BYTES_OUT);
    this.#outer.set(key.map((byte) => byte ^ OUTER_PAD));
  }

  embedding(fingerprint: Fingerprint, role: InputRole, text: string): CacheKey {
    const { bytes } = this.#embedding;
    bytes[BLOCK] = KIND.embedding;
    bytes[BLOCK + 1] = ROLE[role];
    bytes.write(fingerprint, BLOCK + 2, FINGERPRINT_BYTES, 'latin1');
    return this.#embedding.digest(BLOCK + 2 + FINGERPRINT_BYTES, text);
  }

  result(question: ResultQuestion): CacheKey {
    const { query } = question;
    const { bytes } = this.#result;
    if (!isAskedAlike(question, this.#asked)) this.#writeFixedPart(question);
    bytes[BLOCK + 1] = typeof query === 'string' ? FORM.text : FORM.vector;
    return this.#result.digest(RESULT_QUERY_AT, query);
  }

  #writeFixedPart({ build, fingerprint, expansion, topK, withDocument }: ResultQuestion): void {
    const { bytes } = this.#result;
    bytes[BLOCK] = KIND.result;
    bytes[BLOCK + 2] = withDocument ? 1 : 0;
    let at = bytes.writeUInt32LE(topK, BLOCK + 3);
    at = bytes.writeUInt32LE(expansion, at);
    at += bytes.write(fingerprint, at, FINGERPRINT_BYTES, 'latin1');
    bytes.write(build, at, DIGEST_BYTES, 'latin1');
    this.#asked = { build, fingerprint, expansion, topK, withDocument };
  }

  /** The outer half of the HMAC, which only entries that are shared need. */
  shared(key: CacheKey): SharedKey {
    this.#outer.write(key, BLOCK, 'latin1');
    return hash('sha256', this.#outer, 'base64url') as SharedKey;
  }
}

const RESULT_QUERY_AT = BLOCK + 3 + 2 * 4 + FINGERPRINT_BYTES + DIGEST_BYTES;

const isAskedAlike = (question: ResultQuestion, asked: Omit<ResultQuestion, 'query'> | null): boolean =>
  asked !== null &&
  question.build === asked.build &&
  question.fingerprint === asked.fingerprint &&
  question.expansion === asked.expansion &&
  question.topK === asked.topK &&
  question.withDocument === asked.withDocument;

/** The bytes of the inner half of an HMAC: the padded key, a fixed part that its user writes, and the query. */
class Scratch {
  readonly bytes = Buffer.alloc(SCRATCH_BYTES);

  constructor(paddedKey: Uint8Array) {
    this.bytes.set(paddedKey);
  }

  /** The inner half of HMAC-SHA-256 by its definition: two one-shot hashes cost half of what `createHmac` does. */
  digest(queryAt: number, query: string | Float32Array): CacheKey {
    const isText = typeof query === 'string';
    const room = this.#withRoom(queryAt, isText ? query.length * UTF8_BYTES_MAX : query.byteLength);
    let end = queryAt;
    if (isText) end += room.write(query, queryAt, 'utf8');
    else {
      room.set(new Uint8Array(query.buffer, query.byteOffset, query.byteLength), queryAt);
      end += query.byteLength;
    }
    return hash('sha256', room.subarray(0, end), 'binary') as CacheKey;
  }

  /** The scratch bytes, or a copy for an unusually long query, which is not kept. */
  #withRoom(queryAt: number, queryBytes: number): Buffer {
    if (queryAt + queryBytes <= SCRATCH_BYTES) return this.bytes;
    const larger = Buffer.alloc(queryAt + queryBytes);
    larger.set(this.bytes.subarray(0, queryAt));
    return larger;
  }
}
