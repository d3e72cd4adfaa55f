import type {
  AdminApi,
  Author,
  BuildName,
  NewConsumer,
  RouteChange,
  RouteReturn,
} from '../gateway/admin/api.js';
import type {
  BuildView,
  ChangeView,
  ComparisonView,
  ConsumerView,
  CorpusVersionView,
  DesiredTargetView,
  GatewayView,
  ModelView,
  RevisionView,
  RouteView,
} from '../gateway/admin/views.js';
import type { GatewayClient } from './gateway-client.js';

const part = encodeURIComponent;
const routePath = (corpus: string): string => `/v1/routes/${part(corpus)}`;
const desiredPath = (corpus: string): string => `/v1/corpora/${part(corpus)}/desired-targets`;

/** The operations by way of a running gateway's admin HTTP API. */
export class RemoteAdmin implements AdminApi {
  readonly #client: GatewayClient;

  constructor(client: GatewayClient) {
    this.#client = client;
  }

  async listRoutes() {
    return (await this.#client.get<{ readonly routes: readonly RouteView[] }>('/v1/routes')).routes;
  }

  getRoute(corpus: string) {
    return this.#client.get<RouteView>(routePath(corpus));
  }

  changeRoute({ corpus, expected_revision, ...body }: RouteChange) {
    const headers = precondition(expected_revision);
    return this.#client.request<RouteView>('PUT', routePath(corpus), body, headers);
  }

  rollBackRoute({ corpus, expected_revision, ...body }: RouteReturn) {
    const headers = precondition(expected_revision);
    return this.#client.request<RouteView>('POST', `${routePath(corpus)}:rollback`, body, headers);
  }

  async listRevisions(corpus: string, limit: number) {
    const path = `${routePath(corpus)}/revisions?limit=${limit}`;
    return (await this.#client.get<{ readonly revisions: readonly RevisionView[] }>(path)).revisions;
  }

  async listDesiredTargets(corpus: string) {
    const answer = await this.#client.get<{ readonly desired_targets: readonly DesiredTargetView[] }>(
      desiredPath(corpus),
    );
    return answer.desired_targets;
  }

  addDesiredTarget({ corpus, ...body }: Parameters<AdminApi['addDesiredTarget']>[0]) {
    return this.#client.post<DesiredTargetView>(desiredPath(corpus), body);
  }

  async removeDesiredTarget({ corpus, version, build, reason, actor }: BuildName & Author) {
    const query = new URLSearchParams({ reason, actor, ...(build === undefined ? {} : { build }) });
    await this.#client.request<undefined>('DELETE', `${desiredPath(corpus)}/${part(version)}?${query}`);
  }

  async listGateways() {
    return (await this.#client.get<{ readonly gateways: readonly GatewayView[] }>('/v1/gateways')).gateways;
  }

  async listModels() {
    return (await this.#client.get<{ readonly models: readonly ModelView[] }>('/v1/models')).models;
  }

  setModelStatus({ model, ...body }: Parameters<AdminApi['setModelStatus']>[0]) {
    return this.#client.request<ModelView>('PATCH', `/v1/models/${part(model)}`, body);
  }

  async listCorpusVersions(corpus: string | null) {
    const path = corpus === null ? '/v1/corpora' : `/v1/corpora/${part(corpus)}/versions`;
    const answer = await this.#client.get<{ readonly corpus_versions: readonly CorpusVersionView[] }>(path);
    return answer.corpus_versions;
  }

  archiveCorpusVersion({ corpus, version, ...body }: Parameters<AdminApi['archiveCorpusVersion']>[0]) {
    const path = `/v1/corpora/${part(corpus)}/versions/${part(version)}:archive`;
    return this.#client.post<CorpusVersionView>(path, body);
  }

  async listBuilds(corpus: string, version: string | null) {
    const query = version === null ? '' : `?version=${part(version)}`;
    const path = `/v1/corpora/${part(corpus)}/builds${query}`;
    return (await this.#client.get<{ readonly builds: readonly BuildView[] }>(path)).builds;
  }

  setDefaultBuild({ corpus, version, ...body }: Required<BuildName> & Author) {
    const path = `/v1/corpora/${part(corpus)}/versions/${part(version)}/default-build`;
    return this.#client.request<BuildView>('PUT', path, body);
  }

  async listConsumers(corpus: string | null) {
    const path = corpus === null ? '/v1/consumers' : `/v1/consumers?corpus=${part(corpus)}`;
    return (await this.#client.get<{ readonly consumers: readonly ConsumerView[] }>(path)).consumers;
  }

  addConsumer(consumer: NewConsumer) {
    return this.#client.post<ConsumerView>('/v1/consumers', consumer);
  }

  setConsumerMigrated({ consumer_id, ...body }: Parameters<AdminApi['setConsumerMigrated']>[0]) {
    return this.#client.request<ConsumerView>('PATCH', `/v1/consumers/${part(consumer_id)}`, body);
  }

  async listChanges(subject: string | null, limit: number) {
    const query = new URLSearchParams({ limit: String(limit), ...(subject === null ? {} : { subject }) });
    return (await this.#client.get<{ readonly changes: readonly ChangeView[] }>(`/v1/changes?${query}`))
      .changes;
  }

  getComparison(corpus: string) {
    return this.#client.get<ComparisonView>(`/v1/comparisons/${part(corpus)}`);
  }
}

function precondition(revision: number | null): Readonly<Record<string, string>> {
  if (revision === null) return {};
  return revision === 0 ? { 'if-none-match': '*' } : { 'if-match': `"${revision}"` };
}
