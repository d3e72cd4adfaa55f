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
  #inner: Buffer;
  readonly #outer: Buffer;

  /** Errors: RangeError for a secret shorter than `SECRET_BYTES_MIN`. */
  constructor(secret: Uint8Array) {
    if (secret.length < SECRET_BYTES_MIN)
      throw new RangeError(`the secret of the cache keys must have at least ${SECRET_BYTES_MIN} bytes`);
    const key = Buffer.alloc(BLOCK);
    key.set(secret.length <= BLOCK ? secret : hash('sha256', secret, 'buffer'));
    this.#inner = Buffer.alloc(SCRATCH_BYTES);
    this.#outer = Buffer.alloc(BLOCK + DIGEST_BYTES_OUT);
    for (let i = 0; i < BLOCK; i++) {
      this.#inner[i] = (key[i] as number) ^ INNER_PAD;
      this.#outer[i] = (key[i] as number) ^ OUTER_PAD;
    }
  }

  embedding(fingerprint: Fingerprint, role: InputRole, text: string): CacheKey {
    const scratch = this.#reserve(text.length * UTF8_BYTES_MAX);
    let at = BLOCK;
    scratch[at++] = KIND.embedding;
    scratch[at++] = ROLE[role];
    at += scratch.write(fingerprint, at, FINGERPRINT_BYTES, 'latin1');
    at += scratch.write(text, at, 'utf8');
    return this.#digest(at);
  }

  result(question: ResultQuestion): CacheKey {
    const { query } = question;
    const isText = typeof query === 'string';
    const scratch = this.#reserve(isText ? query.length * UTF8_BYTES_MAX : query.byteLength);
    let at = BLOCK;
    scratch[at++] = KIND.result;
    scratch[at++] = isText ? FORM.text : FORM.vector;
    scratch[at++] = question.withDocument ? 1 : 0;
    at = scratch.writeUInt32LE(question.topK, at);
    at = scratch.writeUInt32LE(question.expansion, at);
    at += scratch.write(question.fingerprint, at, FINGERPRINT_BYTES, 'latin1');
    at += scratch.write(question.build, at, DIGEST_BYTES, 'latin1');
    if (isText) at += scratch.write(query, at, 'utf8');
    else {
      scratch.set(new Uint8Array(query.buffer, query.byteOffset, query.byteLength), at);
      at += query.byteLength;
    }
    return this.#digest(at);
  }

  /** A scratch buffer with room for the query; one of an unusually long query is not kept. */
  #reserve(queryBytes: number): Buffer {
    const needed = BLOCK + 16 + FINGERPRINT_BYTES + DIGEST_BYTES + queryBytes;
    if (needed <= this.#inner.length) return this.#inner;
    const larger = Buffer.alloc(needed);
    larger.set(this.#inner.subarray(0, BLOCK));
    this.#inner = larger;
    return larger;
  }

  /** The outer half of the HMAC, which only entries that are shared need. */
  shared(key: CacheKey): SharedKey {
    this.#outer.write(key, BLOCK, 'latin1');
    return hash('sha256', this.#outer, 'base64url') as SharedKey;
  }

  /** The inner half of HMAC-SHA-256 by its definition: two one-shot hashes cost half of what `createHmac` does. */
  #digest(end: number): CacheKey {
    const key = hash('sha256', this.#inner.subarray(0, end), 'binary') as CacheKey;
    if (this.#inner.length > SCRATCH_BYTES * 4)
      this.#inner = Buffer.from(this.#inner.subarray(0, SCRATCH_BYTES));
    return key;
  }
}
