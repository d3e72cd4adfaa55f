import { type Static, Type } from '@sinclair/typebox';
import { QUANTIZATIONS } from '../../vocabulary.js';

const closed = { additionalProperties: false } as const;
const DAY_S = 86_400;
/** Without a request before a version is retired, where a plan says nothing of it. */
export const QUIET_DAYS = 7;
const seconds = (value: number, maximum = 365 * DAY_S) =>
  Type.Number({ minimum: 0, maximum, default: value });
const count = (value: number, minimum = 0) =>
  Type.Integer({ minimum, maximum: 1_000_000_000, default: value });
const share = (value: number) => Type.Number({ minimum: 0, maximum: 1, default: value });
const orNull = <Schema extends ReturnType<typeof Type.Number> | ReturnType<typeof Type.String>>(
  schema: Schema,
) => Type.Union([schema, Type.Null()], { default: null });
const bps = (value: number, minimum = 0) => Type.Integer({ minimum, maximum: 10_000, default: value });

/** Brings the new version up. One that is built already is taken as it is, when it is what the step says. */
export const BuildStep = Type.Object(
  {
    /** File of documents or a feed in the gateways' `sources` folder; null: the texts that the old version keeps. */
    source: orNull(Type.String({ minLength: 1, maxLength: 4096 })),
    /** name@version or fingerprint; null: that of the version, which was built or begun before. */
    model: orNull(Type.String({ minLength: 1, maxLength: 256 })),
    /** null: that of the old version. */
    document_template: orNull(Type.String({ minLength: 1, maxLength: 4096 })),
    /** Of one chunk of a long document; 0: documents are not cut; null: as those of the old version. */
    chunk_tokens: Type.Union([Type.Integer({ minimum: 0, maximum: 1_000_000 }), Type.Null()], {
      default: null,
    }),
    /** That neighbouring chunks share; null: 0, or as in the old version when its chunking is taken. */
    chunk_overlap: Type.Union([Type.Integer({ minimum: 0, maximum: 500_000 }), Type.Null()], {
      default: null,
    }),
    /** null: bf16. */
    quantization: Type.Union([...QUANTIZATIONS.map((word) => Type.Literal(word)), Type.Null()], {
      default: null,
    }),
    /** null: 128. */
    expansion_search: Type.Union([Type.Integer({ minimum: 1, maximum: 10_000 }), Type.Null()], {
      default: null,
    }),
    truncated_share_max: share(0.01),
    /** A killed build embeds at most so many documents once more; null: `reembed.checkpoint_documents`. */
    checkpoint_documents: Type.Union([Type.Integer({ minimum: 1, maximum: 10_000_000 }), Type.Null()], {
      default: null,
    }),
  },
  closed,
);

/** Hashes the bundle, checks it against its model, and freezes the version at its watermark. */
export const VerifyStep = Type.Object(
  {
    /** Cutover is refused while the source is further ahead of the watermark; null: whatever it is. */
    source_lag_documents_max: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()], { default: 1_000 }),
    /** The new version may have so much fewer documents than the old one. */
    missing_share_max: share(0.01),
  },
  closed,
);

/** Mirrors served reads to the new version, until enough were compared. */
export const ShadowStep = Type.Object(
  {
    mirror_bps: bps(10_000, 1),
    duration_s: seconds(600),
    compared_min: count(500),
    /** Then it goes on with what there is, and the analysis says that it is too little. */
    timeout_s: seconds(DAY_S),
  },
  closed,
);

export const GoldenCheck = Type.Object(
  {
    /** `name` or `name@number`; null: the one named as the corpus. */
    golden_set: orNull(Type.String({ minLength: 1, maxLength: 128 })),
    metric: Type.Union(
      (['ndcg@10', 'mrr@10', 'recall@10', 'map'] as const).map((word) => Type.Literal(word)),
      { default: 'ndcg@10' },
    ),
    /** Absolute. */
    margin: Type.Number({ exclusiveMinimum: 0, maximum: 0.5, default: 0.02 }),
  },
  closed,
);

export const ShadowCheck = Type.Object(
  {
    compared_min: count(500, 1),
    /** Share of answers in which the new version has fewer hits. */
    shorter_share_max: share(0.01),
    /** Share of those that were compared or failed, that failed; not of those dropped for want of room. */
    failed_share_max: share(0.01),
    /** Share of mirrored reads that were not answered by the mirrors' deadline: beyond it those that were compared are a choice. */
    late_share_max: share(0.05),
    /** Change is not quality: by default it is shown and decides nothing. */
    overlap_min: orNull(Type.Number({ minimum: 0, maximum: 1 })),
    /** Of the overlap that the old version has with a second build of itself (the noise floor). */
    noise_floor_share_min: orNull(Type.Number({ minimum: 0, maximum: 1 })),
  },
  closed,
);

/** Of mirrored reads before the new version has weight, without queues; of served ones after that, as clients see it. */
export const ServiceTimeCheck = Type.Object(
  {
    quantile: Type.Number({ minimum: 0.01, maximum: 0.999, default: 0.95 }),
    /** The new version's over the old one's. */
    ratio_max: Type.Number({ minimum: 0.1, maximum: 1_000, default: 1.5 }),
    /** Fast enough whatever the ratio. */
    allowance_ms: Type.Number({ minimum: 0, maximum: 3_600_000, default: 20 }),
    samples_min: count(200, 10),
  },
  closed,
);

export const ErrorRateCheck = Type.Object(
  {
    /** The new version's share of failed requests may exceed the old one's by so much. */
    increase_max: share(0.01),
    samples_min: count(200, 1),
  },
  closed,
);

/** What a query and its index cost: shown always, decides where a limit is set. */
export const CostCheck = Type.Object(
  {
    bytes_ratio_max: orNull(Type.Number({ minimum: 0 })),
    service_ratio_max: orNull(Type.Number({ minimum: 0 })),
  },
  closed,
);

export const AnalysisStep = Type.Object(
  {
    golden: Type.Optional(GoldenCheck),
    shadow: Type.Optional(ShadowCheck),
    service_time: Type.Optional(ServiceTimeCheck),
    error_rate: Type.Optional(ErrorRateCheck),
    cost: Type.Optional(CostCheck),
    /** At least so long is looked before it is Successful; a failure ends it at once. */
    duration_s: seconds(0),
    /** Inconclusive when there is too little to decide by then. */
    timeout_s: seconds(DAY_S),
    interval_s: Type.Number({ minimum: 0.05, maximum: 3_600, default: 10 }),
  },
  closed,
);

export const SetWeightStep = Type.Object(
  {
    /** Of the new version, basis points. */
    weight: Type.Integer({ minimum: 1, maximum: 10_000 }),
    /** How long replicas may take to load the new version and to apply the change. */
    timeout_s: seconds(1_800),
  },
  closed,
);

/** null: until somebody promotes it. */
export const PauseStep = Type.Object(
  { duration_s: orNull(Type.Number({ minimum: 0, maximum: 365 * DAY_S })) },
  closed,
);

/** Takes the old version out of the route: until here it is warm. Waits for a person where somebody still reads it. */
export const CompleteStep = Type.Object(
  {
    /** Who pinned it, or a model that it is of, in so many days counts as reading it; 0: nobody; null: as in retire. */
    quiet_days: orNull(Type.Number({ minimum: 0, maximum: 3_650 })),
  },
  closed,
);

/** drain → archive (where `archive.uri` says) → verify the archive → delete the serving copy. */
export const RetireStep = Type.Object(
  {
    /** The old version had no traffic for so long. */
    quiet_days: Type.Number({ minimum: 0, maximum: 3_650, default: QUIET_DAYS }),
  },
  closed,
);

export const STEP_SCHEMAS = {
  build: BuildStep,
  verify: VerifyStep,
  shadow: ShadowStep,
  analysis: AnalysisStep,
  set_weight: SetWeightStep,
  pause: PauseStep,
  complete: CompleteStep,
  retire: RetireStep,
} as const;
export type StepKind = keyof typeof STEP_SCHEMAS;
export const STEP_KINDS = Object.keys(STEP_SCHEMAS) as readonly StepKind[];

export type StepOptions<Kind extends StepKind> = Static<(typeof STEP_SCHEMAS)[Kind]>;
/** One step of a plan: its kind and its options, every default filled in. */
export type PlanStep = {
  readonly [Kind in StepKind]: { readonly kind: Kind; readonly options: Readonly<StepOptions<Kind>> };
}[StepKind];
export type StepOf<Kind extends StepKind> = Extract<PlanStep, { readonly kind: Kind }>;

export interface MigrationPlan {
  readonly steps: readonly PlanStep[];
}

/** Errors: TypeError when the plan has no such step; a state never names one. */
export function stepOfPlan({ steps }: MigrationPlan, at: number): PlanStep {
  const step = steps[at];
  if (step === undefined) throw new TypeError(`the plan has no step ${at}`);
  return step;
}
