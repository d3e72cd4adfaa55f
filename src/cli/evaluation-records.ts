import type { AdminApi, Author } from '../gateway/admin/api.js';
import { LIST_LIMIT_MAX } from '../gateway/admin/callers.js';
import { goldenQueryOf, goldenQueryView } from '../gateway/admin/evaluation-admin.js';
import type { EvaluationView, GoldenSetView } from '../gateway/admin/evaluation-views.js';
import type { EvaluatedVersion } from '../lifecycle/evaluation/evaluate.js';
import type { ReadGoldenSet } from '../lifecycle/evaluation/golden-builder.js';
import { type GoldenQuery, goldenSetSha256 } from '../registry/golden-sets.js';
import type { Gain } from '../registry/schema.js';

/** Of a part's JSON; well below what the admin listeners take at once. */
const PART_BYTES_MAX = 100_000;

/** Items in parts of which none is larger than a request may be, unless one item is. */
export function* inParts<Item>(items: readonly Item[], bytesMax = PART_BYTES_MAX): Iterable<readonly Item[]> {
  let part: Item[] = [];
  let bytes = 0;
  for (const item of items) {
    const size = Buffer.byteLength(JSON.stringify(item));
    if (part.length > 0 && bytes + size > bytesMax) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(item);
    bytes += size;
  }
  if (part.length > 0) yield part;
}

/** What was read becomes a version of the golden set, unless it is one already. */
export async function storeGoldenSet(
  admin: AdminApi,
  golden_set: string,
  { queries, source }: ReadGoldenSet,
  author: Author,
): Promise<GoldenSetView> {
  const content_sha256 = goldenSetSha256(queries);
  const known = await admin.listGoldenSets({ golden_set });
  const same = known.find((version) => version.content_sha256 === content_sha256);
  if (same !== undefined) return same;
  for (const part of inParts(queries.map(goldenQueryView)))
    await admin.addGoldenQueries({ golden_set, content_sha256, queries: part, ...author });
  return admin.sealGoldenSet({ golden_set, content_sha256, source, ...author });
}

/** All queries of one version of a golden set. */
export async function loadGoldenQueries(
  admin: AdminApi,
  { name, number }: Pick<GoldenSetView, 'name' | 'number'>,
): Promise<readonly GoldenQuery[]> {
  const all: GoldenQuery[] = [];
  for (;;) {
    const after = all.at(-1)?.id;
    const page = await admin.listGoldenQueries({
      golden_set: name,
      number,
      limit: LIST_LIMIT_MAX,
      ...(after === undefined ? {} : { after }),
    });
    all.push(...page.map(goldenQueryOf));
    if (page.length < LIST_LIMIT_MAX) return all;
  }
}

export interface EvaluationPlace {
  readonly corpus: string;
  readonly goldenSet: Pick<GoldenSetView, 'name' | 'number'>;
  readonly k: number;
  readonly depth: number;
  readonly gain: Gain;
}

/** The scores of one version, kept. */
export async function storeEvaluation(
  admin: AdminApi,
  { corpus, goldenSet, k, depth, gain }: EvaluationPlace,
  { version, servedBy, scores }: EvaluatedVersion,
  author: Author,
): Promise<EvaluationView> {
  const { evaluation_id } = await admin.beginEvaluation({
    corpus,
    version,
    build: servedBy.build,
    golden_set: goldenSet.name,
    number: goldenSet.number,
    k,
    depth,
    gain,
    ...author,
  });
  const rows = [...scores].map(([query_id, values]) => ({ query_id, ...values }));
  for (const part of inParts(rows))
    await admin.addEvaluationScores({ evaluation_id, scores: part, ...author });
  return admin.finishEvaluation({ evaluation_id, ...author });
}
