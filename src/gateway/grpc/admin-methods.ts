import type { TargetRole, Tier } from '../../vocabulary.js';
import type { AdminApi, Author, TargetChange } from '../admin/api.js';
import { listLimit } from '../admin/callers.js';
import { SETTABLE_MODEL_STATUSES } from '../admin/schemas.js';
import { echo, invalidArgument } from '../limits.js';
import type { Fields } from './message-codec.js';

/** One unary method of an admin service: messages of the contract in, an operation, a message out. */
export interface AdminMethod {
  readonly request: string;
  readonly response: string;
  run(api: AdminApi, request: Fields, actor: string): Promise<object>;
}

type SettableStatus = (typeof SETTABLE_MODEL_STATUSES)[number];

const text = (fields: Fields, name: string): string => fields[name] as string;
const orNull = (fields: Fields, name: string): string | null => text(fields, name) || null;
const author = (fields: Fields, actor: string): Author => ({
  actor: text(fields, 'actor') || actor,
  reason: text(fields, 'reason'),
});
const build = (fields: Fields): { readonly build?: string } =>
  text(fields, 'build') === '' ? {} : { build: text(fields, 'build') };
const expected = (fields: Fields): number | null => (fields.expected_revision as number | undefined) ?? null;

/** An enum that was left UNSPECIFIED is not guessed. */
function word<Word extends string>(fields: Fields, name: string): Word {
  const value = fields[name];
  if (value === undefined) throw invalidArgument(name, `${name} is missing`);
  return value as Word;
}

const target = (fields: Fields): TargetChange => ({
  version: text(fields, 'version'),
  ...build(fields),
  role: word<TargetRole>(fields, 'role'),
  weight: fields.weight as number,
  tier: word<Tier>(fields, 'tier'),
  mirror_bps: fields.mirror_bps as number,
});

export const ROUTER_METHODS: Readonly<Record<string, AdminMethod>> = {
  ListRoutes: {
    request: 'ListRoutesRequest',
    response: 'ListRoutesResponse',
    run: async (api) => ({ routes: await api.listRoutes() }),
  },
  GetRoute: {
    request: 'GetRouteRequest',
    response: 'Route',
    run: (api, fields) => api.getRoute(text(fields, 'corpus')),
  },
  UpdateRoute: {
    request: 'UpdateRouteRequest',
    response: 'Route',
    run: (api, fields, actor) =>
      api.changeRoute({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        expected_revision: expected(fields),
        targets: (fields.targets as readonly Fields[]).map(target),
        force: fields.force as boolean,
      }),
  },
  RollbackRoute: {
    request: 'RollbackRouteRequest',
    response: 'Route',
    run: (api, fields, actor) =>
      api.rollBackRoute({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        expected_revision: expected(fields),
        to_revision: fields.to_revision as number,
        force: fields.force as boolean,
      }),
  },
  ListRouteRevisions: {
    request: 'ListRouteRevisionsRequest',
    response: 'ListRouteRevisionsResponse',
    run: async (api, fields) => {
      const limit = listLimit((fields.limit as number | undefined) ?? null);
      return { revisions: await api.listRevisions(text(fields, 'corpus'), limit) };
    },
  },
  ListDesiredTargets: {
    request: 'ListDesiredTargetsRequest',
    response: 'ListDesiredTargetsResponse',
    run: async (api, fields) => ({ desired_targets: await api.listDesiredTargets(text(fields, 'corpus')) }),
  },
  AddDesiredTarget: {
    request: 'AddDesiredTargetRequest',
    response: 'DesiredTarget',
    run: (api, fields, actor) =>
      api.addDesiredTarget({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        version: text(fields, 'version'),
        ...build(fields),
        tier: word<Tier>(fields, 'tier'),
      }),
  },
  RemoveDesiredTarget: {
    request: 'RemoveDesiredTargetRequest',
    response: 'RemoveDesiredTargetResponse',
    run: async (api, fields, actor) => {
      await api.removeDesiredTarget({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        version: text(fields, 'version'),
        ...build(fields),
      });
      return {};
    },
  },
};

export const REGISTRY_METHODS: Readonly<Record<string, AdminMethod>> = {
  ListModels: {
    request: 'ListModelsRequest',
    response: 'ListModelsResponse',
    run: async (api) => ({ models: await api.listModels() }),
  },
  SetModelStatus: {
    request: 'SetModelStatusRequest',
    response: 'Model',
    run: (api, fields, actor) => {
      const status = word<string>(fields, 'status');
      if (!SETTABLE_MODEL_STATUSES.some((settable) => settable === status))
        throw invalidArgument(
          'status',
          `status ${echo(status)} must be one of ${SETTABLE_MODEL_STATUSES.join(', ')}`,
        );
      return api.setModelStatus({
        ...author(fields, actor),
        model: text(fields, 'model'),
        status: status as SettableStatus,
      });
    },
  },
  ListCorpusVersions: {
    request: 'ListCorpusVersionsRequest',
    response: 'ListCorpusVersionsResponse',
    run: async (api, fields) => ({
      corpus_versions: await api.listCorpusVersions(orNull(fields, 'corpus')),
    }),
  },
  ArchiveCorpusVersion: {
    request: 'ArchiveCorpusVersionRequest',
    response: 'CorpusVersion',
    run: (api, fields, actor) =>
      api.archiveCorpusVersion({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        version: text(fields, 'version'),
      }),
  },
  ListBuilds: {
    request: 'ListBuildsRequest',
    response: 'ListBuildsResponse',
    run: async (api, fields) => ({
      builds: await api.listBuilds(text(fields, 'corpus'), orNull(fields, 'version')),
    }),
  },
  SetDefaultBuild: {
    request: 'SetDefaultBuildRequest',
    response: 'Build',
    run: (api, fields, actor) =>
      api.setDefaultBuild({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        version: text(fields, 'version'),
        build: text(fields, 'build'),
      }),
  },
  ListConsumers: {
    request: 'ListConsumersRequest',
    response: 'ListConsumersResponse',
    run: async (api, fields) => ({ consumers: await api.listConsumers(orNull(fields, 'corpus')) }),
  },
  AddConsumer: {
    request: 'AddConsumerRequest',
    response: 'Consumer',
    run: (api, fields, actor) =>
      api.addConsumer({
        ...author(fields, actor),
        corpus: text(fields, 'corpus'),
        version: text(fields, 'version'),
        service_name: text(fields, 'service_name'),
        team_owner: text(fields, 'team_owner'),
        ...(fields.migration_deadline === undefined
          ? {}
          : { migration_deadline: fields.migration_deadline as string }),
      }),
  },
  SetConsumerMigrated: {
    request: 'SetConsumerMigratedRequest',
    response: 'Consumer',
    run: (api, fields, actor) =>
      api.setConsumerMigrated({
        ...author(fields, actor),
        consumer_id: text(fields, 'consumer_id'),
        migrated: fields.migrated as boolean,
      }),
  },
  ListGateways: {
    request: 'ListGatewaysRequest',
    response: 'ListGatewaysResponse',
    run: async (api) => ({ gateways: await api.listGateways() }),
  },
};
