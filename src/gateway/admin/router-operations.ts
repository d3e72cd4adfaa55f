import { Type } from '@sinclair/typebox';
import { TARGET_ROLES, TIERS } from '../../vocabulary.js';
import { LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX } from './callers.js';
import { ComparisonView } from './comparison-views.js';
import { operation } from './operation.js';
import { closed, oneOf, type Plain, text } from './schema-words.js';
import { DesiredTargetView, RevisionView, RouteView } from './views.js';

/** Who and why: every change is audited with it (invariant 5). */
export const author = {
  reason: text('Why; kept in the audit.'),
  actor: text('Who; wins over the header x-switchyard-actor.'),
};
export const corpus = text('Name of the corpus.');
export const version = text('The corpus version.');
export const build = text('Digest or at least 8 characters of it; absent: the default build.');
const tier = oneOf(TIERS);
export const limit = Type.Optional(
  Type.Integer({
    minimum: 1,
    maximum: LIST_LIMIT_MAX,
    default: LIST_LIMIT_DEFAULT,
    description: 'How many, latest first.',
  }),
);
const expected_revision = Type.Optional(
  Type.Integer({
    description: 'The revision the change is based on; 0 makes the route. Not stated: refused.',
  }),
);
const force = Type.Optional(
  Type.Boolean({
    default: false,
    description:
      'Do not wait for replicas to have loaded what gets weight, nor ask whether it fits into the memory of tier dram.',
  }),
);

const TargetChange = Type.Object(
  {
    version: Type.String(),
    build: Type.Optional(build),
    weight: Type.Integer({ description: 'Basis points; those of active targets sum to 10 000.' }),
    role: oneOf(TARGET_ROLES),
    tier,
    mirror_bps: Type.Integer({ description: 'Share of served reads that a shadow gets a copy of.' }),
  },
  closed,
);
export type TargetChange = Plain<typeof TargetChange>;

const ROUTE_CHANGE_REASONS = [
  'PRECONDITION_REQUIRED',
  'REVISION_CONFLICT',
  'INVALID_ROUTE',
  'TARGET_NOT_READY',
  'UNKNOWN_CORPUS',
  'UNKNOWN_CORPUS_VERSION',
  'UNKNOWN_BUILD',
  'STATUS_CONFLICT',
  'MEMORY_BUDGET',
] as const;

/** Limits of the fields are enforced by the registry, with reasons of their own. */
export const ROUTER_OPERATIONS = {
  listRoutes: operation({
    method: 'GET',
    address: '/v1/routes',
    summary: 'Every route, with its live replicas.',
    input: Type.Object({}, closed),
    output: Type.Array(RouteView),
    envelope: 'routes',
    reasons: [],
  }),
  getRoute: operation({
    method: 'GET',
    address: '/v1/routes/{corpus}',
    summary: 'The route of a corpus; its revision is the ETag.',
    input: Type.Object({ corpus }, closed),
    output: RouteView,
    reasons: ['UNKNOWN_CORPUS'],
  }),
  updateRoute: operation({
    method: 'PUT',
    address: '/v1/routes/{corpus}',
    summary: 'Replace the targets of a route, all or nothing, with its audit row.',
    input: Type.Object(
      { corpus, expected_revision, targets: Type.Array(TargetChange), force, ...author },
      closed,
    ),
    output: RouteView,
    reasons: ROUTE_CHANGE_REASONS,
  }),
  rollbackRoute: operation({
    method: 'POST',
    address: '/v1/routes/{corpus}:rollback',
    summary: 'The targets of an earlier revision as a new revision.',
    input: Type.Object({ corpus, expected_revision, to_revision: Type.Integer(), force, ...author }, closed),
    output: RouteView,
    reasons: ['UNKNOWN_REVISION', ...ROUTE_CHANGE_REASONS],
  }),
  listRouteRevisions: operation({
    method: 'GET',
    address: '/v1/routes/{corpus}/revisions',
    summary: 'Who changed a route, when, why, before and after.',
    input: Type.Object(
      {
        corpus,
        limit,
        before: Type.Optional(
          Type.Integer({
            minimum: 1,
            description: 'Only revisions below this one: how a long history is read on.',
          }),
        ),
      },
      closed,
    ),
    output: Type.Array(RevisionView),
    envelope: 'revisions',
    reasons: ['UNKNOWN_CORPUS'],
  }),
  listDesiredTargets: operation({
    method: 'GET',
    address: '/v1/corpora/{corpus}/desired-targets',
    summary: 'Builds that every replica should hold beside those of the route.',
    input: Type.Object({ corpus }, closed),
    output: Type.Array(DesiredTargetView),
    envelope: 'desired_targets',
    reasons: [],
  }),
  addDesiredTarget: operation({
    method: 'POST',
    address: '/v1/corpora/{corpus}/desired-targets',
    summary: 'Have every replica load a build: loading comes before routing.',
    input: Type.Object({ corpus, version, build: Type.Optional(build), tier, ...author }, closed),
    output: DesiredTargetView,
    reasons: [
      'UNKNOWN_CORPUS',
      'UNKNOWN_CORPUS_VERSION',
      'UNKNOWN_BUILD',
      'STATUS_CONFLICT',
      'MEMORY_BUDGET',
    ],
  }),
  removeDesiredTarget: operation({
    method: 'DELETE',
    address: '/v1/corpora/{corpus}/desired-targets/{version}',
    summary: 'Hold a build no longer, unless a route needs it.',
    input: Type.Object({ corpus, version, build: Type.Optional(build), ...author }, closed),
    output: null,
    reasons: ['UNKNOWN_CORPUS', 'UNKNOWN_CORPUS_VERSION', 'UNKNOWN_BUILD'],
  }),
  getComparison: operation({
    method: 'GET',
    address: '/v1/comparisons/{corpus}',
    summary: "What this process's mirrors found.",
    input: Type.Object({ corpus }, closed),
    output: ComparisonView,
    reasons: ['UNKNOWN_CORPUS'],
  }),
};
