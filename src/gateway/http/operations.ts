import type { Reason } from '../../errors.js';
import type { OperationDocument } from './openapi.js';

const EVERY_REQUEST = [
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'QUOTA_EXCEEDED',
  'ANSWERS_UNREAD',
  'MALFORMED_REQUEST',
  'UNKNOWN_FIELD',
  'INVALID_ARGUMENT',
  'EMPTY_QUERY',
  'TEXT_TOO_LARGE',
  'REQUEST_TOO_LARGE',
  'HEADERS_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'UNSUPPORTED_ENCODING',
  'METHOD_NOT_ALLOWED',
  'UNKNOWN_MODEL',
  'DEADLINE_EXCEEDED',
  'OVERLOADED',
  'QUEUE_FULL',
  'ENCODER_UNAVAILABLE',
  'SHUTTING_DOWN',
  'INTERNAL',
] as const satisfies readonly Reason[];

const EVERY_SEARCH = [
  ...EVERY_REQUEST,
  'DIMENSION_MISMATCH',
  'NON_FINITE_VECTOR',
  'ZERO_VECTOR',
  'MODEL_REQUIRED',
  'UNKNOWN_CORPUS',
  'UNKNOWN_CORPUS_VERSION',
  'MODEL_MISMATCH',
  'INDEX_UNAVAILABLE',
] as const satisfies readonly Reason[];

/** The operations of the public API as the OpenAPI document shows them. */
export const OPERATIONS: readonly OperationDocument[] = [
  {
    path: '/v1/search',
    isTraffic: true,
    operationId: 'search',
    summary: 'The documents of a corpus nearest to a text or a vector.',
    request: 'SearchRequest',
    response: 'SearchResponse',
    example: { corpus: 'wordnet', text: 'a big cat with stripes', top_k: 3, with_document: true },
    reasons: EVERY_SEARCH,
  },
  {
    path: '/v1/search:batch',
    isTraffic: true,
    operationId: 'batchSearch',
    summary:
      'Several searches of one corpus under one route revision; every item has its answer or its error.',
    request: 'BatchSearchRequest',
    response: 'BatchSearchResponse',
    example: {
      requests: [
        { corpus: 'wordnet', text: 'a big cat with stripes', top_k: 1 },
        { corpus: 'wordnet', text: 'a drink made from grapes', top_k: 1 },
      ],
    },
    reasons: EVERY_SEARCH,
  },
  {
    path: '/v1/embed',
    isTraffic: false,
    operationId: 'embed',
    summary: "A text's vector by one model.",
    request: 'EmbedRequest',
    response: 'EmbedResponse',
    example: { model: 'all-MiniLM-L6-v2@1', text: 'a big cat with stripes', input_role: 'query' },
    reasons: EVERY_REQUEST,
  },
];
