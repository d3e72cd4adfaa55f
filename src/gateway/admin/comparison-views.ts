import { Type } from '@sinclair/typebox';
import { closed, count, orNull, type Plain, text } from './schema-words.js';

export const DistributionView = Type.Object(
  {
    count: count('Values seen.'),
    mean: orNull(Type.Number()),
    min: orNull(Type.Number()),
    max: orNull(Type.Number()),
    buckets: Type.Array(
      Type.Object(
        {
          le: orNull(Type.Number({ description: 'Null: no upper bound.' })),
          count: count('Of this bucket.'),
        },
        closed,
      ),
      {
        description: '`count` values are at most `le` and above the one before. Empty buckets are left out.',
      },
    ),
  },
  closed,
);
export type DistributionView = Plain<typeof DistributionView>;

export const ComparedTargetView = Type.Object(
  {
    version: Type.String(),
    build: text('Digest prefix.'),
    model: text('name@version'),
    fingerprint: Type.String(),
  },
  closed,
);
export type ComparedTargetView = Plain<typeof ComparedTargetView>;

export const WorstQueryView = Type.Object(
  {
    query_hash: Type.String(),
    text: orNull(text('Only where comparison.keep_texts is set.')),
    k: count('Documents compared.'),
    rbo: Type.Number(),
    overlap: Type.Number(),
    jaccard: Type.Number(),
    primary_ids: Type.Array(Type.String()),
    shadow_ids: Type.Array(Type.String()),
    at: Type.String({ format: 'date-time' }),
  },
  closed,
);
export type WorstQueryView = Plain<typeof WorstQueryView>;

export const PairView = Type.Object(
  {
    primary: ComparedTargetView,
    shadow: ComparedTargetView,
    compared: count('Answers compared since this process began.'),
    top1_match_share: orNull(Type.Number()),
    shadow_shorter: count('Answers in which the shadow had fewer hits.'),
    distributions: Type.Record(Type.String(), DistributionView),
    worst: Type.Array(WorstQueryView, { description: 'Lowest RBO first; outlives restarts.' }),
  },
  closed,
);
export type PairView = Plain<typeof PairView>;

export const ComparisonView = Type.Object(
  {
    corpus: Type.String(),
    gateway_id: Type.String(),
    pairs: Type.Array(PairView),
    noise_floor: Type.Array(PairView, {
      description:
        'Pairs of builds of the same embeddings and parameters in another insertion order: they differ by chance alone.',
    }),
  },
  {
    ...closed,
    description:
      'What the mirrors of one gateway process found: replicas share nothing, so each answers for itself.',
  },
);
export type ComparisonView = Plain<typeof ComparisonView>;
