import type { Command } from 'commander';
import type { GatewayView, RouteView } from '../../gateway/admin/views.js';
import { gatewayClient, withAdmin } from '../admin-session.js';
import { type CommonOptions, commandConfig, commandOutput } from '../options.js';
import { age, table } from '../output.js';

/** A replica, and how far it is behind each route. */
interface Replica extends GatewayView {
  /** Corpora whose current revision it does not serve. */
  readonly lagging: readonly string[];
  readonly current_revisions: Readonly<Record<string, number>>;
}

export function addGatewayCommands(program: Command): void {
  const gateway = program.command('gateway').description('the replicas that serve');
  gateway
    .command('list')
    .description('every replica: what it has applied and loaded, and when it last said so')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const replicas = await withAdmin(options, async (admin) =>
        withLag(await admin.listGateways(), await admin.listRoutes()),
      );
      commandOutput(options).answer(replicas, formatReplicas);
    });

  gateway
    .command('status')
    .description('what the running gateway says about itself; no registry is needed')
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const status = await gatewayClient(commandConfig(options), options).get<object>('/v1/status');
      commandOutput(options).answer(status, (view) => JSON.stringify(view, null, 2));
    });

  gateway
    .command('metrics')
    .description("the running gateway's metrics as Prometheus reads them; no registry is needed")
    .action(async (_options: unknown, command: Command) => {
      const options = command.optsWithGlobals<CommonOptions>();
      const text = await gatewayClient(commandConfig(options), options).getText('/metrics');
      commandOutput(options).answer({ text }, (metrics) => metrics.text.trimEnd());
    });
}

const withLag = (gateways: readonly GatewayView[], routes: readonly RouteView[]): readonly Replica[] =>
  gateways.map((gateway) => ({
    ...gateway,
    lagging: routes
      .filter(({ corpus, revision }) => gateway.applied_revisions[corpus] !== revision)
      .map(({ corpus }) => corpus),
    current_revisions: Object.fromEntries(routes.map(({ corpus, revision }) => [corpus, revision])),
  }));

function formatReplicas(replicas: readonly Replica[]): string {
  if (replicas.length === 0) return 'no gateway runs; start one with `switchyard serve`';
  const rows = replicas.map((replica) => [
    replica.gateway_id,
    replica.address,
    replica.alive ? 'alive' : 'DEAD',
    age(replica.heartbeat_age_ms),
    Object.entries(replica.current_revisions)
      .map(([corpus, current]) => revisionText(corpus, replica.applied_revisions[corpus], current))
      .join(', ') || '-',
    replica.ready_builds.join(', ') || '-',
  ]);
  const errors = replicas
    .filter(({ last_error }) => last_error !== null)
    .map(({ gateway_id, last_error }) => `${gateway_id}: ${last_error}`);
  return [table(['gateway', 'admin', 'state', 'heard', 'revisions', 'ready builds'], rows), ...errors].join(
    '\n',
  );
}

const revisionText = (corpus: string, applied: number | undefined, current: number): string =>
  applied === current ? `${corpus} ${applied}` : `${corpus} ${applied ?? 'none'} (LAGS: ${current})`;
