import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config, ListenerSettings } from '../config/config.js';
import { MigrationMeter } from '../lifecycle/migration/meter.js';
import { removeAbandonedWork } from '../lifecycle/reembed/abandoned-work.js';
import { deleteLeftCopies } from '../lifecycle/retire/left-copies.js';
import { RetirementRunner } from '../lifecycle/retire/retirement-runner.js';
import { systemTimers } from '../process/timers.js';
import { openRegistry, type Registry } from '../registry/registry.js';
import { ComparisonRecorder, DEFAULT_RECORDER } from '../router/comparison-recorder.js';
import { DEFAULT_MIRROR } from '../router/mirror-lane.js';
import { Router } from '../router/router.js';
import type { Logger } from '../telemetry/log.js';
import { Metrics } from '../telemetry/metrics.js';
import { AdminOperations } from './admin/operations.js';
import { KeyRing } from './auth/key-ring.js';
import { loadKeySecret } from './auth/key-secret.js';
import { Overload } from './overload/overload.js';
import { type Faces, startFaces } from './server.js';
import { TrafficCounter } from './traffic.js';
import { observeAccess } from './wiring/access-metrics.js';
import { adminViews, processFacts } from './wiring/admin-views.js';
import { observeCaches } from './wiring/cache-metrics.js';
import { openCaches } from './wiring/caches.js';
import { observeComparisons } from './wiring/comparison-metrics.js';
import { ComparisonStore, readHashKey } from './wiring/comparison-store.js';
import { ConsumerDeadlines } from './wiring/consumer-deadlines.js';
import { forgetGoneTargets, observeControl, observeRegistry } from './wiring/control-metrics.js';
import { DiskSnapshots } from './wiring/disk-snapshots.js';
import { Engines } from './wiring/engines.js';
import { Heartbeats } from './wiring/heartbeats.js';
import { KeyFollower } from './wiring/key-follower.js';
import { KnownKeys } from './wiring/known-keys.js';
import { faceMetrics, observeEngines, routerMetrics } from './wiring/metrics.js';
import { observeMigrations } from './wiring/migration-metrics.js';
import { Migrations } from './wiring/migrations.js';
import { observeOverload } from './wiring/overload-metrics.js';
import { RegistryLink } from './wiring/registry-link.js';
import { Regularly } from './wiring/regularly.js';
import { RouteFollower } from './wiring/route-follower.js';
import { RunMarker } from './wiring/run-marker.js';
import { observeTiers } from './wiring/tier-metrics.js';
import { TierWatch } from './wiring/tier-watch.js';
import { observeTraces, openTracing } from './wiring/tracing.js';
import { TrafficReports } from './wiring/traffic-reports.js';

const HOST_NAME_LENGTH_MAX = 40;
const DAY_MS = 86_400_000;
const TIDY_INTERVAL_MS = 3_600_000;

export interface Gateway {
  readonly gatewayId: string;
  readonly addresses: Faces['addresses'];
  /** Drains, then ends every process and thread that was started. */
  close(): Promise<void>;
}

/**
 * Puts one gateway process together: registry, engines, router, faces. The listeners open last, when every route that
 * could be loaded is loaded. Without the registry it begins with the routes on its disk.
 * Errors: INVALID_CONFIG; REGISTRY_UNAVAILABLE or CORRUPT_SNAPSHOT when there is neither a registry nor anything on
 * disk; after one nothing is left running.
 */
export async function startGateway(
  config: Config,
  log: Logger,
  engines: Engines = new Engines(config, log),
): Promise<Gateway> {
  const closers: (() => Promise<void> | void)[] = [];
  const closeAll = async (): Promise<void> => {
    for (const close of closers.splice(0).reverse()) await close();
  };
  closers.push(() => engines.close());
  try {
    const gatewayId = newGatewayId();
    const { databaseUrl, varDir } = config;
    const metrics = new Metrics();
    closers.push(() => metrics.close());
    const marker = await RunMarker.begin(varDir, log);
    closers.push(() => marker.end());
    metrics.observeTotal(
      'switchyard_unclean_exits_total',
      'Gateways over this var folder that ended without closing: killed, or by a crash in native code',
      [],
      () => [[{}, marker.uncleanExits]],
    );
    const link = new RegistryLink(
      () => openRegistry({ databaseUrl, varDir, log, applicationName: 'switchyard-gateway' }),
      log,
    );
    closers.push(() => link.close());
    await link.connect();
    observeRegistry(metrics, () => link.registry?.circuit() ?? null);

    observeEngines(metrics, engines);
    const tiers = new TierWatch(engines, log);
    closers.push(() => tiers.close());
    observeTiers(metrics, engines, tiers);
    const caches = await openCaches(config, log);
    closers.push(() => caches.close());
    observeCaches(metrics, caches);
    const recorder = new ComparisonRecorder({
      ...DEFAULT_RECORDER,
      ...config.comparison,
      hashKey: await readHashKey(varDir),
    });
    const overload = new Overload(config.overload, systemTimers);
    observeOverload(metrics, overload);
    const meter = new MigrationMeter();
    let follower: RouteFollower | null = null;
    const router = new Router({
      factories: engines,
      limits: config.limits,
      metrics: routerMetrics(metrics, meter, log),
      ejection: config.ejection,
      mirror: { ...DEFAULT_MIRROR, ...config.mirror },
      recorder,
      caches,
      isKnownModel: (model) => follower?.isKnownModel(model) ?? false,
      primaryIsBusy: (running) => engines.isBehind || !overload.hasRoomForMirrors(running),
      onError: (what, error) => log.error({ what, err: error }, 'background work failed'),
    });
    closers.push(() => router.close());
    const corpora = (): string[] => router.routeStatus().map(({ corpus }) => corpus);
    observeComparisons(metrics, recorder, corpora);

    const following = new RouteFollower({
      link,
      router,
      snapshots: new DiskSnapshots(varDir),
      pollIntervalMs: config.router.pollIntervalMs,
      log,
    });
    follower = following;
    closers.push(() => following.close());
    observeControl(metrics, router, following);
    await following.start();
    const { keepTexts } = config.comparison;
    const comparisons = new ComparisonStore({ varDir, recorder, keepTexts, corpora, log });
    closers.push(() => comparisons.close());
    await comparisons.start();

    const tracer = await openTracing(config, gatewayId, log);
    closers.push(() => tracer?.close());
    if (tracer !== null) observeTraces(metrics, tracer);
    const migrations = new Migrations({ config, gatewayId, link, queries: router, recorder, meter, log });
    closers.push(() => migrations.close());
    observeMigrations(metrics, () => migrations.unfinished);

    const retirements = new RetirementRunner({ registry: () => link.registry, gatewayId, config, log });
    closers.push(() => retirements.close());
    const chores = tidyBundles(config, () => link.registry, log);
    closers.push(() => chores.close());
    const forgetting = new Regularly(
      'ending the series of targets that are gone',
      TIDY_INTERVAL_MS,
      async () => forgetGoneTargets(metrics, router.targets()),
      log,
    );
    closers.push(() => forgetting.close());
    const keys = await followKeys(config, link, log, closers);
    const access = observeAccess(metrics, keys);
    const registry = () => link.registry;
    const traffic = new TrafficCounter();
    const { heartbeatIntervalMs } = config.router;
    const reports = new TrafficReports({ counter: traffic, registry, intervalMs: heartbeatIntervalMs, log });
    closers.push(() => reports.close());
    const { deadlineWarnDays } = config.retire;
    const deadlines = new ConsumerDeadlines({ metrics, registry, warnDays: deadlineWarnDays, log });
    closers.push(() => deadlines.close());
    const faces = await startFaces({
      traffic,
      keys,
      tlsReloadIntervalMs: config.tls.reloadIntervalMs,
      service: router,
      admin: {
        api: new AdminOperations({
          registry: () => link.require(),
          facts: processFacts(gatewayId, router, engines, recorder, migrations.facts, {
            place: config.archive.uri,
            quietDays: config.retire.quietDays,
            look: () => retirements.look(),
          }),
          storage: config,
          keySecret: () => loadKeySecret(config.auth),
        }),
        views: adminViews({ gatewayId, varDir, router, engines, metrics, follower: following }),
        routes: following.feed,
      },
      listen: config.listen,
      limits: config.limits,
      log,
      metrics: faceMetrics(metrics),
      tracer,
      onCertificate: access.onCertificate,
      slowRequestMs: config.log.slowRequestMs,
      overload,
      connectionAgeMsMax: config.connectionAgeMsMax,
      connectionsMax: config.connectionsMax,
      unread: config.unread,
      onConnections: access.onConnections,
      onUnread: access.onUnread,
      arrivingBytesMax: config.arrivingBytesMax,
      onArriving: access.onArriving,
    });
    const heartbeats = new Heartbeats({
      router,
      registry,
      gatewayId,
      address: urlOf(faces.addresses.adminHttp),
      intervalMs: config.router.heartbeatIntervalMs,
      lastError: () => following.lastError(),
      log,
    });
    // The row goes when nothing is served any more: until then a change must wait for this replica as for any other.
    closers.push(() => heartbeats.close());
    closers.push(() => faces.drain(config.shutdown));
    return { gatewayId, addresses: faces.addresses, close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

/** What builds that were given up left beside the bundles, and copies of versions that were retired elsewhere. */
function tidyBundles(
  { bundlesDir, reembed }: Config,
  registry: () => Registry | null,
  log: Logger,
): Regularly {
  const keepMs = reembed.workKeepDays * DAY_MS;
  return new Regularly(
    'tidying the bundles folder',
    TIDY_INTERVAL_MS,
    async () => {
      await removeAbandonedWork(bundlesDir, Date.now() - keepMs, log);
      const open = registry();
      if (open !== null) await deleteLeftCopies(open, bundlesDir, log);
    },
    log,
  );
}

/** The keys, once read, from the registry or else from the disk; null where no listener asks for one. Errors: INVALID_CONFIG. */
async function followKeys(
  { auth, listen, varDir }: Config,
  link: RegistryLink,
  log: Logger,
  closers: (() => Promise<void> | void)[],
): Promise<KeyRing | null> {
  if (Object.values(listen).every((listener) => listener.auth === 'off')) return null;
  const secret = await loadKeySecret(auth);
  const ring = new KeyRing({ ...auth, secret });
  const { pollIntervalMs, stalenessMsMax } = auth;
  const known = new KnownKeys({ varDir, secret, stalenessMsMax, log });
  const follower = new KeyFollower({ link, ring, known, pollIntervalMs, log });
  closers.push(() => follower.close());
  await follower.start();
  return ring;
}

/** Of one process: a replica that starts again is another one, since it holds nothing of what the old one held. */
const newGatewayId = (): string =>
  `${hostname().slice(0, HOST_NAME_LENGTH_MAX)}-${process.pid}-${randomBytes(4).toString('hex')}`;

const urlOf = ({ host, port, tls }: ListenerSettings): string =>
  `${tls === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
