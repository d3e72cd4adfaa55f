import { Type } from '@sinclair/typebox';
import { RETIREMENT_STEPS } from '../../lifecycle/retire/steps.js';
import { RETIREMENT_STATES } from '../../registry/schema.js';
import { closed, count, oneOf, orNull, type Plain, text, time } from './schema-words.js';

export const TrafficView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    key_name: text('Of the API key that the requests came with; empty where none was asked for.'),
    kind: text('`split`: chosen by the weights. `pinned`: the request named the version, or a model.'),
    requests: count('In the days that were asked for.'),
    last_at: time('When the last of them was counted.'),
    registered: Type.Boolean({ description: 'Whether a consumer of the version has the name of the key.' }),
  },
  { ...closed, description: 'Who searched a version, as the gateways counted it.' },
);
export type TrafficView = Plain<typeof TrafficView>;

export const RetirementStepView = Type.Object(
  {
    step: oneOf(RETIREMENT_STEPS),
    detail: text('What it did.'),
    at: time('When it was done.'),
  },
  closed,
);
export type RetirementStepView = Plain<typeof RetirementStepView>;

export const RetirementView = Type.Object(
  {
    retirement_id: Type.String(),
    corpus: Type.String(),
    version: Type.String(),
    state: oneOf(RETIREMENT_STATES),
    why: orNull(text('Why it failed, or what is tried again.')),
    steps: Type.Array(RetirementStepView, {
      description: 'Those that are done, in their order: drain, archive, verify, delete.',
    }),
    place: text('Where its archive goes.'),
    quiet_days: Type.Number({ description: 'Without a request before it is retired.' }),
    driver: orNull(text('Gateway that carries it out; null: nobody does.')),
    actor: text('Who asked for it.'),
    reason: text('Why it was asked for.'),
    started_at: time('When.'),
    updated_at: time('Its last step.'),
    finished_at: orNull(time('When it ended.')),
  },
  { ...closed, description: 'The retirement of a corpus version, as gateways carry it out.' },
);
export type RetirementView = Plain<typeof RetirementView>;

export const ArchiveView = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    build: text('Digest of the build that was archived.'),
    uri: text('Where it lies.'),
    sha256: text('Of its archive.json.'),
    archived_at: time('When it was written.'),
    verified_at: orNull(time('When every byte of it was read back last.')),
    deleted_at: orNull(time('When the serving copy was deleted.')),
    restored_at: orNull(time('When the version came back from it.')),
  },
  { ...closed, description: 'A build of a version as Parquet in an archive.' },
);
export type ArchiveView = Plain<typeof ArchiveView>;
