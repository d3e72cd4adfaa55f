import { type Static, Type } from '@sinclair/typebox';
import { TARGET_ROLES, TIERS } from '../../vocabulary.js';

const closed = { additionalProperties: false } as const;
const oneOf = <Word extends string>(words: readonly Word[]) =>
  Type.Union(words.map((word) => Type.Literal(word)));
/** Who and why, in every body. The header x-switchyard-actor may name the actor instead. */
const author = {
  reason: Type.String({ description: 'Why; kept in the audit.' }),
  actor: Type.Optional(Type.String({ description: 'Who; wins over the header x-switchyard-actor.' })),
};
const force = Type.Optional(
  Type.Boolean({ description: 'Do not wait for replicas to have loaded what gets weight.' }),
);

export const SETTABLE_MODEL_STATUSES = ['active', 'deprecated', 'archived'] as const;

/** Bodies of the admin API. Limits in them are enforced by the registry, with reasons of their own. */
export const RouteBody = Type.Object(
  {
    targets: Type.Array(
      Type.Object(
        {
          version: Type.String(),
          build: Type.Optional(
            Type.String({ description: 'Digest or at least 8 characters of it; absent: the default build.' }),
          ),
          weight: Type.Integer({ description: 'Basis points; those of active targets sum to 10 000.' }),
          role: oneOf(TARGET_ROLES),
          tier: oneOf(TIERS),
          mirror_bps: Type.Integer({ description: 'Share of served reads that a shadow gets a copy of.' }),
        },
        closed,
      ),
    ),
    force,
    ...author,
  },
  closed,
);
export const RollbackBody = Type.Object({ to_revision: Type.Integer(), force, ...author }, closed);
export const DesiredTargetBody = Type.Object(
  { version: Type.String(), build: Type.Optional(Type.String()), tier: oneOf(TIERS), ...author },
  closed,
);
export const ModelStatusBody = Type.Object({ status: oneOf(SETTABLE_MODEL_STATUSES), ...author }, closed);
export const ArchiveBody = Type.Object({ ...author }, closed);
export const DefaultBuildBody = Type.Object({ build: Type.String(), ...author }, closed);
export const ConsumerBody = Type.Object(
  {
    corpus: Type.String(),
    version: Type.String(),
    service_name: Type.String(),
    team_owner: Type.String(),
    migration_deadline: Type.Optional(Type.String({ description: 'ISO 8601 date or time.' })),
    ...author,
  },
  closed,
);
export const MigratedBody = Type.Object({ migrated: Type.Boolean(), ...author }, closed);

export type RouteBody = Static<typeof RouteBody>;
export type RollbackBody = Static<typeof RollbackBody>;
export type DesiredTargetBody = Static<typeof DesiredTargetBody>;
export type ModelStatusBody = Static<typeof ModelStatusBody>;
export type ArchiveBody = Static<typeof ArchiveBody>;
export type DefaultBuildBody = Static<typeof DefaultBuildBody>;
export type ConsumerBody = Static<typeof ConsumerBody>;
export type MigratedBody = Static<typeof MigratedBody>;
