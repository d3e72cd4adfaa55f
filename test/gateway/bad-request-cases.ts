import type { Reason } from '../../src/errors.js';
import { contract, f32le } from './harness.js';

export const MODEL = 'words@1';
export const corpus = 'animals';
const withValue = (ones: readonly number[], value: number): number[] => [...ones.slice(1), value];
const base64 = (values: readonly number[]): string => f32le(values).toString('base64');
const search = contract.lookupType('switchyard.v1.SearchRequest');
export const encode = (message: object): Buffer => Buffer.from(search.encode(message).finish());
const field = (number: number, bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);

export interface Case {
  readonly name: string;
  readonly reason: Reason;
  /** Said to the client: value and bound. */
  readonly message?: RegExp;
  /** Message fields, or raw bytes; absent where gRPC cannot express it. */
  readonly grpc?: object | Buffer;
  readonly http?: object | string | Buffer;
}

/** What a gateway serves, so far as bad requests need to know it. */
export interface Served {
  readonly corpus: string;
  /** name@version of the model that serves it, and its dimensions. */
  readonly model: string;
  readonly dimensions: number;
  /** A known model of the same dimensions that no target of the corpus is built by. */
  readonly otherModel: string;
}

/** Each is sent over every protocol that can express it, and gets exactly its reason. */
export function badRequestCases({ corpus, model, dimensions, otherModel }: Served): readonly Case[] {
  const ones = Array.from({ length: dimensions }, () => 1);
  const vector = vectorCases({ corpus, model });
  const json = (rest: string): string => `{"corpus":"${corpus}",${rest}`;
  const textAndVector = Buffer.concat([
    encode({ corpus, text: 'fish', model }),
    encode({ vector: { values: ones } }),
  ]);
  return [
    both('an empty text', 'EMPTY_QUERY', { corpus, text: '' }),
    both('a text of white space', 'EMPTY_QUERY', { corpus, text: ' \t\n\u3000' }),
    {
      ...both('a text of 1 MB', 'TEXT_TOO_LARGE', { corpus, text: 'fish '.repeat(200_000) }),
      message: /text has 1000000 bytes, must be <= 65536/,
    },
    {
      ...both('a text that is within the limit in characters and beyond it in bytes', 'TEXT_TOO_LARGE', {
        corpus,
        text: '魚'.repeat(40_000),
      }),
      message: /120000 bytes/,
    },
    vector('a vector of the wrong length', 'DIMENSION_MISMATCH', [1, 2, 3]),
    vector('a vector of too many dimensions', 'INVALID_ARGUMENT', new Array(16_385).fill(0.5)),
    vector('a vector with Infinity', 'NON_FINITE_VECTOR', withValue(ones, Number.POSITIVE_INFINITY), {
      http: json(`"model":"${model}","vector":[${ones.slice(1)},1e999]}`),
    }),
    vector(
      'a vector with a number beyond float32',
      'NON_FINITE_VECTOR',
      withValue(ones, Number.POSITIVE_INFINITY),
      {
        http: { corpus, model, vector: withValue(ones, 1e39) },
      },
    ),
    vector('a vector with NaN', 'NON_FINITE_VECTOR', withValue(ones, Number.NaN), {
      http: { corpus, model, vector: { f32le: base64(withValue(ones, Number.NaN)) } },
    }),
    {
      name: 'packed bytes with NaN',
      reason: 'NON_FINITE_VECTOR',
      message: new RegExp(`vector\\[${dimensions - 1}\\] is NaN`),
      grpc: { corpus, model, vector: { f32le: f32le(withValue(ones, Number.NaN)) } },
      http: { corpus, model, vector: { f32le: base64(withValue(ones, Number.NaN)) } },
    },
    { name: 'the word NaN in JSON', reason: 'MALFORMED_REQUEST', http: json('"vector":[NaN]}') },
    vector('a zero vector', 'ZERO_VECTOR', new Array(dimensions).fill(0)),
    vector('an empty vector', 'EMPTY_QUERY', []),
    {
      name: 'packed bytes of a length that is no number of values',
      reason: 'MALFORMED_REQUEST',
      message: /7 bytes/,
      grpc: { corpus, model, vector: { f32le: Buffer.alloc(7) } },
      http: { corpus, model, vector: { f32le: Buffer.alloc(7).toString('base64') } },
    },
    {
      name: 'packed bytes that are not base64',
      reason: 'MALFORMED_REQUEST',
      http: { corpus, model, vector: { f32le: '*not base64*' } },
    },
    {
      name: 'values and packed bytes together',
      reason: 'INVALID_ARGUMENT',
      grpc: { corpus, model, vector: { values: ones, f32le: f32le(ones) } },
    },
    {
      name: 'a vector with a text among its numbers',
      reason: 'INVALID_ARGUMENT',
      message: /vector\[1\] must be a number/,
      http: { corpus, model, vector: [1, '2'] },
    },
    {
      name: 'a vector that is a number',
      reason: 'INVALID_ARGUMENT',
      http: { corpus, model, vector: 3 },
    },
    {
      name: 'a vector with an unknown member',
      reason: 'UNKNOWN_FIELD',
      message: /f64le/,
      http: { corpus, model, vector: { f64le: '' } },
    },
    {
      ...both('top_k 0', 'INVALID_ARGUMENT', { corpus, text: 'fish', top_k: 0 }),
      message: /top_k 0 must be >= 1/,
    },
    {
      ...both('a huge top_k', 'INVALID_ARGUMENT', { corpus, text: 'fish', top_k: 5000 }),
      message: /top_k 5000 must be <= 1000/,
    },
    {
      name: 'a negative top_k',
      reason: 'INVALID_ARGUMENT',
      // As an encoder of int32 writes -1: ten bytes.
      grpc: Buffer.concat([
        encode({ corpus, text: 'fish' }),
        Buffer.from([0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
      ]),
      http: { corpus, text: 'fish', top_k: -1 },
    },
    {
      name: 'a top_k whose lower 32 bits would be valid',
      reason: 'INVALID_ARGUMENT',
      message: /top_k 4294967301 must be <= 1000/,
      grpc: Buffer.concat([
        encode({ corpus, text: 'fish' }),
        Buffer.from([0x20, 0x85, 0x80, 0x80, 0x80, 0x10]),
      ]),
      http: { corpus, text: 'fish', top_k: 4294967301 },
    },
    {
      name: 'a fractional top_k',
      reason: 'INVALID_ARGUMENT',
      message: /top_k 1.5 must be a whole number/,
      http: { corpus, text: 'fish', top_k: 1.5 },
    },
    {
      name: 'a top_k that is a text',
      reason: 'INVALID_ARGUMENT',
      message: /top_k must be/,
      http: { corpus, text: 'fish', top_k: '10' },
    },
    {
      name: 'top_k with the wire type of a text',
      reason: 'MALFORMED_REQUEST',
      grpc: Buffer.concat([encode({ corpus, text: 'fish' }), field(4, Buffer.from('10'))]),
    },
    { name: 'a text that is null', reason: 'INVALID_ARGUMENT', http: { corpus, text: null } },
    both('an unknown corpus', 'UNKNOWN_CORPUS', { corpus: 'minerals', text: 'quartz' }),
    both('no corpus', 'INVALID_ARGUMENT', { text: 'fish' }),
    both('a corpus that is no name', 'INVALID_ARGUMENT', { corpus: '../etc/passwd', text: 'fish' }),
    both('an unknown corpus version', 'UNKNOWN_CORPUS_VERSION', {
      corpus,
      text: 'fish',
      corpus_version: 'v9',
    }),
    both('a corpus version that is no name', 'INVALID_ARGUMENT', {
      corpus,
      text: 'fish',
      corpus_version: 'a/b',
    }),
    both('an unknown model', 'UNKNOWN_MODEL', { corpus, text: 'fish', model: 'words@9' }),
    both('a model that is no name', 'INVALID_ARGUMENT', { corpus, text: 'fish', model: 'words' }),
    vector('a vector of a model that no target has', 'MODEL_MISMATCH', ones, { model: otherModel }),
    vector('a vector without its model', 'MODEL_REQUIRED', ones, { model: '' }),
    {
      name: 'both text and vector',
      reason: 'INVALID_ARGUMENT',
      message: /both text and vector/,
      grpc: textAndVector,
      http: { corpus, text: 'fish', model, vector: ones },
    },
    both('neither text nor vector', 'EMPTY_QUERY', { corpus }),
    both('a long affinity key', 'INVALID_ARGUMENT', { corpus, text: 'fish', affinity_key: 'k'.repeat(257) }),
    {
      name: 'a truncated protobuf',
      reason: 'MALFORMED_REQUEST',
      grpc: encode({ corpus, text: 'a big cat with stripes' }).subarray(0, -4),
    },
    { name: 'random bytes', reason: 'MALFORMED_REQUEST', grpc: Buffer.from('0fdb8e11c9a3', 'hex') },
    {
      name: 'an unknown protobuf field',
      reason: 'UNKNOWN_FIELD',
      message: /no field 9/,
      grpc: Buffer.concat([encode({ corpus, text: 'fish' }), field(9, Buffer.from('color = red'))]),
    },
    {
      name: 'an unknown JSON field',
      reason: 'UNKNOWN_FIELD',
      message: /no field "topk"/,
      http: { corpus, text: 'fish', topk: 3 },
    },
    { name: 'JSON that does not end', reason: 'MALFORMED_REQUEST', http: json('"text":"fish"') },
    { name: 'an empty body', reason: 'MALFORMED_REQUEST', http: '' },
    { name: 'a JSON array', reason: 'MALFORMED_REQUEST', http: '[]' },
    { name: 'a JSON null', reason: 'MALFORMED_REQUEST', http: 'null' },
    {
      name: 'invalid UTF-8 in the text',
      reason: 'MALFORMED_REQUEST',
      message: /UTF-8/,
      grpc: Buffer.concat([encode({ corpus }), field(2, Buffer.from([0x66, 0xff, 0x66]))]),
      http: Buffer.concat([Buffer.from(json('"text":"f')), Buffer.from([0xff]), Buffer.from('f"}')]),
    },
    {
      name: 'a UTF-8 sequence that is cut short',
      reason: 'MALFORMED_REQUEST',
      grpc: Buffer.concat([encode({ corpus }), field(2, Buffer.from([0xe9, 0xad]))]),
    },
    {
      name: 'UTF-8 of half a surrogate pair',
      reason: 'MALFORMED_REQUEST',
      grpc: Buffer.concat([encode({ corpus }), field(2, Buffer.from([0xed, 0xa0, 0x80]))]),
      http: json('"text":"\\ud800"}'),
    },
    {
      name: 'the same key twice',
      reason: 'MALFORMED_REQUEST',
      message: /same key twice/,
      http: json('"text":"fish","text":"dog"}'),
    },
    {
      name: 'the same key twice, once escaped',
      reason: 'MALFORMED_REQUEST',
      message: /same key twice/,
      http: json('"text":"fish","t\\u0065xt":"dog"}'),
    },
    {
      name: '__proto__',
      reason: 'UNKNOWN_FIELD',
      http: json('"text":"fish","__proto__":{"top_k":3}}'),
    },
    {
      name: 'constructor',
      reason: 'UNKNOWN_FIELD',
      http: json('"text":"fish","constructor":{"prototype":{}}}'),
    },
    {
      name: 'deep nesting',
      reason: 'MALFORMED_REQUEST',
      message: /nested deeper/,
      http: json(`"vector":${'['.repeat(500_000)}${']'.repeat(500_000)}}`),
    },
    {
      name: 'deep nesting of objects',
      reason: 'MALFORMED_REQUEST',
      http: `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`,
    },
  ];
}

function both(name: string, reason: Reason, request: object): Case {
  return { name, reason, grpc: request, http: request };
}

const vectorCases =
  ({ corpus, model: usual }: Pick<Served, 'corpus' | 'model'>) =>
  (
    name: string,
    reason: Reason,
    values: readonly number[],
    options: { readonly model?: string; readonly http?: object | string } = {},
  ): Case => {
    const model = options.model ?? usual;
    const named = model === '' ? { corpus } : { corpus, model };
    return {
      name,
      reason,
      grpc: { ...named, vector: { values } },
      http: options.http ?? { ...named, vector: values },
    };
  };
