import { type TSchema, Type } from '@sinclair/typebox';
import type { Limits } from '../../config/config.js';
import { INPUT_ROLES, PRIORITIES, TIERS } from '../../vocabulary.js';
import { AFFINITY_KEY_BYTES_MAX, DIMENSIONS_MAX, TOP_K_DEFAULT } from '../limits.js';

const closed = { additionalProperties: false } as const;
const count = (description: string) => Type.Integer({ minimum: 0, description });

/** What every failure is answered with, on both HTTP listeners. */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'urn:switchyard:reason:<reason>' }),
    title: Type.String(),
    status: Type.Integer({ minimum: 400, maximum: 599 }),
    detail: Type.String({ description: 'For a person: what was wrong, the limit, what to do.' }),
    reason: Type.String({ description: 'A reason of the error catalogue.' }),
    instance: Type.String({ description: "The request's id, as in x-request-id." }),
  },
  { additionalProperties: true, description: 'RFC 9457. Further members are details of the reason.' },
);

/**
 * The JSON of the public API, one schema per message. OpenAPI shows them as they stand; requests are validated by
 * their structure (`structure.ts`), and the limits in them are enforced for both protocols by `limits.ts`.
 */
export function apiSchemas(limits: Limits) {
  const Vector = Type.Union(
    [
      Type.Array(Type.Number(), { minItems: 1, maxItems: DIMENSIONS_MAX }),
      Type.Object(
        {
          f32le: Type.String({
            contentEncoding: 'base64',
            description: 'Little-endian float32 values, base64.',
          }),
        },
        closed,
      ),
    ],
    { description: "The query's vector in its model's full dimensions. Needs `model`." },
  );
  const SearchRequest = Type.Object(
    {
      corpus: Type.String({ description: 'The corpus to search.', examples: ['wordnet'] }),
      text: Type.Optional(
        Type.String({
          minLength: 1,
          description: `The query as text, at most ${limits.textBytesMax} bytes of UTF-8. Give text or vector.`,
          examples: ['a big cat with stripes'],
        }),
      ),
      vector: Type.Optional(Vector),
      model: Type.Optional(
        Type.String({
          description:
            'name@version or fingerprint. Required with a vector; with a text it restricts the targets to that model.',
          examples: ['all-MiniLM-L6-v2@1'],
        }),
      ),
      top_k: Type.Optional(
        Type.Integer({
          minimum: 1,
          maximum: limits.topKMax,
          default: TOP_K_DEFAULT,
          description: 'Documents wanted.',
        }),
      ),
      corpus_version: Type.Optional(
        Type.String({
          description: 'Pins the corpus version: for operators, evaluation and registered consumers.',
          examples: ['v2'],
        }),
      ),
      affinity_key: Type.Optional(
        Type.String({
          description: `Requests with the same key go to the same target while the route stays the same. At most ${AFFINITY_KEY_BYTES_MAX} bytes.`,
        }),
      ),
      with_document: Type.Optional(
        Type.Boolean({ default: false, description: 'Send the stored fields of each hit.' }),
      ),
      bypass_cache: Type.Optional(
        Type.Boolean({
          default: false,
          description: 'Encode and search whatever is remembered, and remember nothing: for measurements.',
        }),
      ),
      priority: Type.Optional(
        oneOf(PRIORITIES, {
          default: 'live',
          description:
            'bulk: a program has time for the answer. It waits behind live requests and is refused before them.',
        }),
      ),
    },
    closed,
  );
  const BatchSearchRequest = Type.Object(
    {
      requests: Type.Array(SearchRequest, {
        minItems: 1,
        maxItems: limits.batchItemsMax,
        description: 'All of one corpus.',
      }),
    },
    closed,
  );
  const EmbedRequest = Type.Object(
    {
      model: Type.String({ description: 'name@version or fingerprint.', examples: ['all-MiniLM-L6-v2@1'] }),
      text: Type.String({ minLength: 1, examples: ['a big cat with stripes'] }),
      input_role: Type.Optional(oneOf(INPUT_ROLES, { default: 'query' })),
      priority: Type.Optional(oneOf(PRIORITIES, { default: 'live', description: 'As of a search.' })),
    },
    closed,
  );

  const StoredDocument = Type.Object(
    {
      title: Type.Optional(Type.String()),
      text: Type.Optional(Type.String()),
      attributes: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    },
    closed,
  );
  const Hit = Type.Object(
    {
      id: Type.String(),
      chunk: count('The best chunk of the document, from 0.'),
      score: Type.Number({ description: 'Larger is better for every metric.' }),
      distance: Type.Number({ description: "The metric's own: smaller is nearer." }),
      document: Type.Optional(StoredDocument),
    },
    closed,
  );
  const ServedBy = Type.Object(
    {
      corpus_version: Type.String(),
      build: Type.String({ description: 'Digest prefix of the build.' }),
      model: Type.String({ description: 'name@version' }),
      fingerprint: Type.String(),
      route_revision: count('Revision of the route that was read.'),
      tier: oneOf(TIERS, {}),
      result_cache: oneOf(['HIT', 'MISS', 'BYPASS'], {}),
    },
    closed,
  );
  const Timings = Type.Object(
    {
      queue_us: count('Waiting, in microseconds.'),
      encode_us: count('Encoding.'),
      search_us: count('Searching.'),
      total_us: count('From the call to the answer.'),
    },
    closed,
  );
  const SearchResponse = Type.Object(
    {
      query_id: Type.String(),
      hits: Type.Array(Hit),
      served_by: ServedBy,
      degraded: Type.Array(Type.String(), {
        description: 'What was worse than it should be while this was answered.',
      }),
      timings: Timings,
    },
    closed,
  );
  const ItemError = Type.Object(
    {
      reason: Type.String({ description: 'A reason of the error catalogue.' }),
      message: Type.String(),
      details: Type.Record(Type.String(), Type.String()),
    },
    closed,
  );
  const BatchSearchResponse = Type.Object(
    {
      items: Type.Array(
        Type.Union([
          Type.Object({ response: SearchResponse }, closed),
          Type.Object({ error: ItemError }, closed),
        ]),
        { description: 'In the order of the requests.' },
      ),
    },
    closed,
  );
  const EmbedResponse = Type.Object(
    {
      model: Type.String({ description: 'name@version' }),
      fingerprint: Type.String(),
      dimensions: count('Length of the vector.'),
      vector: Type.Array(Type.Number(), { description: 'Fits `vector` of a search as it is.' }),
      token_count: count('Tokens of the text before cutting.'),
      truncated: Type.Boolean({ description: "Whether the text was cut at the model's max tokens." }),
    },
    closed,
  );
  return {
    Vector,
    SearchRequest,
    BatchSearchRequest,
    EmbedRequest,
    StoredDocument,
    Hit,
    ServedBy,
    Timings,
    SearchResponse,
    ItemError,
    BatchSearchResponse,
    EmbedResponse,
    Problem,
  };
}

export type ApiSchemas = ReturnType<typeof apiSchemas>;

/** The same for a schema and for the copy that `Type.Optional` makes of it. */
export const schemaIdentity = (schema: unknown): unknown => {
  const { properties, anyOf } = schema as { readonly properties?: unknown; readonly anyOf?: unknown };
  return properties ?? anyOf ?? schema;
};

/** A closed list of words as a JSON-schema enum. */
function oneOf(words: readonly string[], options: Record<string, unknown>): TSchema {
  return Type.Union(
    words.map((word) => Type.Literal(word)),
    options,
  );
}
