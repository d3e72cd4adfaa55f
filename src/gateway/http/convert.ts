import { SwitchyardError } from '../../errors.js';
import type { Hit } from '../../index/search-index.js';
import type { EmbedOutcome, SearchOutcome } from '../../router/query.js';
import { digestPrefix, type InputRole, type Priority } from '../../vocabulary.js';
import { float32View } from '../float32.js';
import {
  DIMENSIONS_MAX,
  type EmbedInput,
  echo,
  invalidArgument,
  type SearchInput,
  tooManyDimensions,
} from '../limits.js';

/** The bodies after their structure was checked; `vector` is checked here, while it is read. */
export interface SearchBody {
  readonly corpus: string;
  readonly text?: string;
  readonly vector?: unknown;
  readonly model?: string;
  readonly top_k?: number;
  readonly corpus_version?: string;
  readonly affinity_key?: string;
  readonly with_document?: boolean;
  readonly bypass_cache?: boolean;
  readonly priority?: Priority;
}
export interface BatchBody {
  readonly requests: readonly SearchBody[];
}
export interface EmbedBody {
  readonly model: string;
  readonly text: string;
  readonly input_role?: InputRole;
  readonly priority?: Priority;
}

export function searchInput(body: SearchBody): SearchInput {
  return {
    corpus: body.corpus,
    text: body.text ?? null,
    vector: body.vector === undefined ? null : readVector(body.vector),
    topK: body.top_k ?? null,
    model: body.model ?? '',
    corpusVersion: body.corpus_version ?? '',
    affinityKey: body.affinity_key ?? '',
    withDocument: body.with_document ?? false,
    bypassCache: body.bypass_cache ?? false,
    priority: body.priority ?? 'live',
  };
}

export const embedInput = (body: EmbedBody): EmbedInput => ({
  model: body.model,
  text: body.text,
  role: body.input_role ?? 'query',
  priority: body.priority ?? 'live',
});

/** Numbers, or `{"f32le": base64}`. A number beyond float32 becomes infinite here and is refused by the limits. */
function readVector(value: unknown): Float32Array {
  if (Array.isArray(value)) return readNumbers(value);
  if (typeof value !== 'object' || value === null)
    throw invalidArgument('vector', 'vector must be an array of numbers or {"f32le": base64}');
  for (const name of Object.keys(value)) {
    if (name !== 'f32le')
      throw new SwitchyardError('UNKNOWN_FIELD', `vector has no field ${echo(name)}`, {
        details: { field: `vector.${name.slice(0, 64)}` },
      });
  }
  const { f32le } = value as { readonly f32le?: unknown };
  if (typeof f32le !== 'string')
    throw invalidArgument('vector.f32le', 'vector.f32le must be a base64 string');
  return float32View('vector.f32le', readBase64(f32le));
}

function readNumbers(numbers: readonly unknown[]): Float32Array {
  if (numbers.length > DIMENSIONS_MAX) throw tooManyDimensions();
  const values = new Float32Array(numbers.length);
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i];
    if (typeof number !== 'number') throw invalidArgument('vector', `vector[${i}] must be a number`);
    values[i] = number;
  }
  return values;
}

/** Node's decoder skips what is not base64; a text that does not come back the same was not base64. */
function readBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  const stripped = text.replace(/=+$/, '');
  if (text.length % 4 === 1 || bytes.toString('base64').replace(/=+$/, '') !== stripped)
    throw new SwitchyardError('MALFORMED_REQUEST', 'vector.f32le is not base64', {
      details: { field: 'vector.f32le' },
    });
  return bytes;
}

export function searchJson(outcome: SearchOutcome): Record<string, unknown> {
  const { servedBy, timings } = outcome;
  return {
    query_id: outcome.queryId,
    hits: outcome.hits.map(hitJson),
    served_by: {
      corpus_version: servedBy.corpusVersion,
      build: digestPrefix(servedBy.build),
      model: servedBy.model,
      fingerprint: servedBy.fingerprint,
      route_revision: servedBy.routeRevision,
      tier: servedBy.tier,
      result_cache: servedBy.resultCache,
    },
    degraded: outcome.degraded,
    timings: {
      queue_us: Math.round(timings.queueUs),
      encode_us: Math.round(timings.encodeUs),
      search_us: Math.round(timings.searchUs),
      total_us: Math.round(timings.totalUs),
    },
  };
}

export function batchJson(outcomes: readonly (SearchOutcome | SwitchyardError)[]): Record<string, unknown> {
  return {
    items: outcomes.map((outcome) =>
      outcome instanceof SwitchyardError
        ? { error: { reason: outcome.reason, message: outcome.message, details: outcome.details } }
        : { response: searchJson(outcome) },
    ),
  };
}

export const embedJson = (outcome: EmbedOutcome): Record<string, unknown> => ({
  model: outcome.model,
  fingerprint: outcome.fingerprint,
  dimensions: outcome.values.length,
  vector: Array.from(outcome.values),
  token_count: outcome.tokenCount,
  truncated: outcome.truncated,
});

function hitJson(hit: Hit): Record<string, unknown> {
  const { id, chunk, score, distance, document } = hit;
  return document === null ? { id, chunk, score, distance } : { id, chunk, score, distance, document };
}
