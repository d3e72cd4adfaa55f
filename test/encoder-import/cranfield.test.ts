import t from 'tap';
import { ModelSession } from '../../src/encoder/session.js';
import { type CranfieldText, cranfieldAbsence, ndcgAt10, readCranfield } from '../fixtures/cranfield.js';
import { useLiteFolder } from '../fixtures/use-lite.js';

// 1 600 texts of up to 128 tokens take half a minute where several tests share two cores.
t.setTimeout(240_000);

const DIMENSIONS = 512;
/** Measured once with another conversion of the same model. */
const NDCG_EXPECTED = 0.178;
const NDCG_TOLERANCE = 0.01;

t.test('nDCG at 10 weighs relevant documents by rank', (t) => {
  const relevant = new Set(['a', 'b']);
  t.equal(ndcgAt10(['a', 'b', 'x'], relevant), 1);
  t.equal(ndcgAt10(['x', 'y'], relevant), 0);
  t.ok(Math.abs(ndcgAt10(['x', 'a'], new Set(['a'])) - 1 / Math.log2(3)) < 1e-12);
  t.equal(ndcgAt10([...'0123456789', 'a'], relevant), 0, 'the eleventh counts nothing');
  t.equal(ndcgAt10(['a'], new Set()), 0);
  t.end();
});

const absence = cranfieldAbsence();
if (absence !== undefined) t.comment(absence);

t.test(
  'Universal Sentence Encoder lite finds on Cranfield what it is known to find',
  { skip: absence ?? false },
  async (t) => {
    const { documents, queries, relevant } = await readCranfield();
    t.equal(documents.length, 1398);
    t.equal(queries.length, 225);
    const session = await ModelSession.open(await useLiteFolder(), { provider: 'cpu', threads: 2 });
    const vectors = async (
      texts: readonly CranfieldText[],
      role: 'query' | 'document',
    ): Promise<Float32Array> =>
      (
        await session.encode(
          texts.map(({ text }) => text),
          role,
        )
      ).values;
    const documentVectors = await vectors(documents, 'document');
    const queryVectors = await vectors(queries, 'query');
    await session.release();

    const scores = queries.map(({ id }, row) => {
      const query = queryVectors.subarray(row * DIMENSIONS, (row + 1) * DIMENSIONS);
      const ranked = documents
        .map((document, i) => ({ id: document.id, score: dot(query, documentVectors, i * DIMENSIONS) }))
        .sort((a, b) => b.score - a.score);
      return ndcgAt10(
        ranked.slice(0, 10).map((hit) => hit.id),
        relevant.get(id) ?? new Set(),
      );
    });
    const ndcg = scores.reduce((sum, score) => sum + score, 0) / scores.length;
    t.comment(`nDCG@10 ${ndcg.toFixed(4)}`);
    t.ok(Math.abs(ndcg - NDCG_EXPECTED) <= NDCG_TOLERANCE, `nDCG@10 ${ndcg.toFixed(4)}`);
  },
);

function dot(query: Float32Array, documents: Float32Array, start: number): number {
  let sum = 0;
  for (let i = 0; i < query.length; i++) sum += (query[i] as number) * (documents[start + i] as number);
  return sum;
}
