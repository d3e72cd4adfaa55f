import { Type } from '@sinclair/typebox';
import { STEP_KINDS } from '../../lifecycle/migration/plan-schema.js';
import { CAUSES, STATE_KINDS } from '../../lifecycle/migration/state.js';
import { closed, count, oneOf, orNull, type Plain, text, time } from './schema-words.js';

export const MigrationStepView = Type.Object(
  {
    name: text('Kind and what matters of its options: `set_weight 1 %`.'),
    kind: oneOf(STEP_KINDS),
    status: oneOf(['done', 'current', 'waiting'] as const),
  },
  closed,
);
export type MigrationStepView = Plain<typeof MigrationStepView>;

export const MigrationProgressView = Type.Object(
  {
    what: text('What is counted.'),
    done: Type.Number(),
    total: orNull(Type.Number()),
    eta_s: orNull(Type.Number({ description: 'Null: not known.' })),
  },
  closed,
);
export type MigrationProgressView = Plain<typeof MigrationProgressView>;

export const MigrationView = Type.Object(
  {
    migration_id: Type.String(),
    corpus: Type.String(),
    from_version: Type.String(),
    to_version: Type.String(),
    state: oneOf(STATE_KINDS),
    cause: orNull(oneOf(CAUSES, 'Of a pause or a return.')),
    why: orNull(text('For a person.')),
    step: orNull(count('From 1; null when it completed.')),
    attempt: orNull(count('How often the step was begun.')),
    steps: Type.Array(MigrationStepView),
    progress: orNull(MigrationProgressView),
    weight: count('Of the new version, basis points.'),
    gate: orNull(
      oneOf(
        ['passed', 'overridden'] as const,
        'What allows the next weight; overridden: a person promoted an Inconclusive analysis.',
      ),
    ),
    route_revision: count('As the migration made or accepted it.'),
    driver: orNull(text('Gateway that drives it; null: nobody does.')),
    started_at: time('When.'),
    updated_at: time('Its last event.'),
    finished_at: orNull(time('When it ended.')),
    shortest_finish_s: orNull(
      Type.Number({ description: 'By the plan, without builds, loading and confirmations; null: it ended.' }),
    ),
    rollback_within_ms: orNull(
      count(
        'How long a return to the old version takes at most where replicas reach the registry; null: it has to be loaded first (`complete` is done), is not possible, or no gateway was asked.',
      ),
    ),
    rollback_ms: orNull(
      Type.Number({
        description:
          'Of a return: until the last live replica served the old version; null where the new one served nothing.',
      }),
    ),
    lagging: Type.Array(Type.String(), { description: 'Replicas that did not follow a return.' }),
    watermark: orNull(text('Of the source: up to where the new version has it.')),
    updates_stopped: Type.Boolean({
      description: 'The new version is frozen at its watermark since it was verified.',
    }),
    source_lag_documents: orNull(
      count(
        'Documents that changed in the source since; null: not known, since it comes from no feed or that cannot be read now.',
      ),
    ),
    warnings: Type.Array(Type.String(), {
      description:
        'What will stop the plan, a feed that is not followed, and consumers with score thresholds of their own that the new version took over, with both versions’ scores.',
    }),
  },
  closed,
);
export type MigrationView = Plain<typeof MigrationView>;

export const MigrationEventView = Type.Object(
  {
    sequence: count('From 1, without gaps.'),
    at: time('When.'),
    actor: text('Who: an operator, or the gateway that drives.'),
    reason: text('Why.'),
    event: text('What: `step_done`, `route_placed`, `analysis_failed`, …'),
    state: oneOf(STATE_KINDS),
    step: orNull(count('From 1, of the state that follows.')),
    route_revision: orNull(count('That the same transaction made.')),
    detail: Type.Unknown({ description: 'The whole event as JSON, with its findings.' }),
  },
  closed,
);
export type MigrationEventView = Plain<typeof MigrationEventView>;

export const MigrationReportView = Type.Object(
  { markdown: Type.String(), html: text('One file that needs no other: styles and plots are inside.') },
  closed,
);
export type MigrationReportView = Plain<typeof MigrationReportView>;
