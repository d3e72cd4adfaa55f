import { errorFromFrame, SwitchyardError } from '../errors.js';
import type { PendingQuery } from './local-index.js';
import { ANSWERED, EXPIRED, FAILED, monotonicMs, QUERY_FIELDS } from './search-protocol.js';

/** A group's queries as one message. */
export function packQueries(queries: readonly PendingQuery[]): {
  queries: Float64Array;
  vectors: Float32Array;
} {
  let length = 0;
  for (const { vector } of queries) length += vector.length;
  const fields = new Float64Array(queries.length * QUERY_FIELDS);
  const vectors = new Float32Array(length);
  const clockOffsetMs = monotonicMs() - performance.now();
  let fieldAt = 0;
  let vectorAt = 0;
  for (const { index, topK, withDocument, deadlineAtMs, vector } of queries) {
    fields[fieldAt] = index;
    fields[fieldAt + 1] = topK;
    fields[fieldAt + 2] = withDocument ? 1 : 0;
    fields[fieldAt + 3] = deadlineAtMs + clockOffsetMs;
    fields[fieldAt + 4] = vector.length;
    fieldAt += QUERY_FIELDS;
    vectors.set(vector, vectorAt);
    vectorAt += vector.length;
  }
  return { queries: fields, vectors };
}

/** Settles the answered queries of a group; `failed` gets null for one that expired in the worker. */
export function unpackAnswers(
  queries: readonly PendingQuery[],
  answers: {
    readonly packed: Uint32Array;
    readonly documents: readonly (string | null)[] | null;
    readonly errors: readonly Parameters<typeof errorFromFrame>[0][] | null;
  },
  failed: (query: PendingQuery, error: SwitchyardError | null) => void,
): void {
  const { packed } = answers;
  const distances = new Float32Array(packed.buffer, packed.byteOffset, packed.length);
  let at = 0;
  let documentAt = 0;
  let errorAt = 0;
  for (const query of queries) {
    const [outcome, count, searchUs] = [packed[at], packed[at + 1] as number, packed[at + 2] as number];
    const rowsAt = at + 3;
    at = rowsAt + 2 * count;
    if (outcome === ANSWERED) {
      const documents = query.withDocument
        ? (answers.documents?.slice(documentAt, documentAt + count) ?? null)
        : null;
      if (query.withDocument) documentAt += count;
      query.resolve({
        rows: packed.subarray(rowsAt, rowsAt + count),
        distances: distances.subarray(rowsAt + count, at),
        documents,
        searchUs,
      });
    } else if (outcome === EXPIRED) failed(query, null);
    else if (outcome === FAILED && answers.errors?.[errorAt] !== undefined)
      failed(query, errorFromFrame(answers.errors[errorAt++] as Parameters<typeof errorFromFrame>[0]));
    else failed(query, new SwitchyardError('INTERNAL', 'a search worker answered with an unknown outcome'));
  }
}
