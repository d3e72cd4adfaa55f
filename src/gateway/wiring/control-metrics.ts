import type { CircuitReport } from '../../registry/circuit.js';
import type { Router } from '../../router/router.js';
import type { TargetReport } from '../../router/targets.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { type Digest, digestPrefix } from '../../vocabulary.js';
import type { RouteFollower } from './route-follower.js';

/** The breaker before the registry's server. `circuit`: null while the registry was not opened yet. */
export function observeRegistry(metrics: Metrics, circuit: () => CircuitReport | null): void {
  metrics.observe(
    'switchyard_registry_breaker_open',
    '1 while the registry is asked nothing, since it does not answer',
    [],
    () => [[{}, OPEN_BY_STATE[circuit()?.state ?? 'closed']]],
  );
  metrics.observeTotal(
    'switchyard_registry_breaker_opened_total',
    'How often the registry was given up',
    [],
    () => [[{}, circuit()?.openedCount ?? 0]],
  );
}

const OPEN_BY_STATE = { closed: 0, trial: 1, open: 1 } as const satisfies Record<
  CircuitReport['state'],
  number
>;

/** Targets that this process holds no more have no series: their last counts were scraped long before. */
export function forgetGoneTargets(metrics: Metrics, targets: readonly Pick<TargetReport, 'spec'>[]): void {
  const held = new Set(
    targets.map(({ spec: { corpus, version, build } }) => `${corpus}/${version}/${digestPrefix(build)}`),
  );
  metrics.forgetTargets((corpus, version, build) => held.has(`${corpus}/${version}/${build}`));
}

/** Routes, registry and mirrors as they are when Prometheus asks. */
export function observeControl(metrics: Metrics, router: Router, follower: RouteFollower): void {
  metrics.declareTargets(() =>
    router.targets().map(({ spec: { corpus, version, build } }) => ({
      corpus,
      version,
      build: digestPrefix(build),
    })),
  );
  metrics.observe(
    'switchyard_registry_up',
    '1 while the registry answers; 0: serving goes on from the last snapshot, changes are refused',
    [],
    () => [[{}, follower.isRegistryUp ? 1 : 0]],
  );
  metrics.observe(
    'switchyard_serving_disk_snapshot',
    '1 while routes are served that were read from disk at boot and not yet confirmed by the registry',
    [],
    () => [[{}, follower.isServingFromDisk ? 1 : 0]],
  );
  metrics.observe('switchyard_route_revision', 'Route revision applied by this process', ['corpus'], () =>
    router
      .routeStatus()
      .flatMap(({ corpus, applied }) => (applied === null ? [] : [[{ corpus }, applied] as const])),
  );
  metrics.observe(
    'switchyard_route_revision_wanted',
    'Newer route revision that waits for its targets in this process',
    ['corpus'],
    () =>
      router
        .routeStatus()
        .flatMap(({ corpus, wanted }) => (wanted === null ? [] : [[{ corpus }, wanted] as const])),
  );
  metrics.observe(
    'switchyard_replicas_lagging',
    'Live replicas that do not serve the newest route revision, as last read from the registry',
    ['corpus'],
    () => [...follower.replicasLagging].map(([corpus, count]) => [{ corpus }, count] as const),
  );
  metrics.observe(
    'switchyard_targets',
    'Targets that this process holds, by state; failed also while it is tried again, until it is ready',
    ['corpus', 'version', 'build', 'isolation', 'state'],
    () =>
      router.targets().map(({ spec, state, error }) => {
        const { corpus, version, build, isolation } = spec;
        // Each attempt is a moment of `loading`, and an alert that waits would begin anew with it.
        const shown = error === null ? state : 'failed';
        return [{ corpus, version, build: digestPrefix(build), isolation, state: shown }, 1] as const;
      }),
  );
  metrics.observe(
    'switchyard_encoder_info',
    '1 for each model, with the state of its encoder and the execution provider really used; failed until it is ready',
    ['model', 'fingerprint', 'provider', 'state'],
    () =>
      router
        .encoders()
        .map(({ model: { modelRef, fingerprint }, provider, state }) => [
          { model: modelRef, fingerprint, provider: provider ?? 'none', state },
          1,
        ]),
  );
  const ejection = <Of extends 'ejections' | 'fallbacks'>(of: Of) =>
    router
      .ejectionReports()
      .map(({ corpus, version, build, [of]: count }) => [{ corpus, version, build }, count] as const);
  metrics.observe(
    'switchyard_target_ejected',
    '1 for a target that fails, with its state: ejected, or failing where nothing of its model can take its place',
    ['corpus', 'version', 'build', 'state'],
    () =>
      router
        .ejectionReports()
        .flatMap(({ corpus, version, build, state }) =>
          state === 'in_use' ? [] : [[{ corpus, version, build, state }, 1] as const],
        ),
  );
  metrics.observeTotal(
    'switchyard_target_ejections_total',
    'How often a target failed so often that it was kept away from traffic',
    ['corpus', 'version', 'build'],
    () => ejection('ejections'),
  );
  metrics.observeTotal(
    'switchyard_target_fallbacks_total',
    'Requests meant for a target that another one of its model took',
    ['corpus', 'version', 'build'],
    () => ejection('fallbacks'),
  );
  const lanes = () =>
    router.mirrorStates().map(({ corpus, build, lane }) => ({
      labels: { corpus, build: digestPrefix(build as Digest) },
      lane,
    }));
  metrics.observe('switchyard_mirrors_running', 'Mirrors at work, by shadow', ['corpus', 'build'], () =>
    lanes().map(({ labels, lane }) => [labels, lane.running] as const),
  );
  metrics.observe('switchyard_mirrors_waiting', 'Mirrors that wait, by shadow', ['corpus', 'build'], () =>
    lanes().map(({ labels, lane }) => [labels, lane.waiting] as const),
  );
  metrics.observe(
    'switchyard_mirror_breaker_open',
    '1 while the breaker of a shadow keeps mirrors away from it',
    ['corpus', 'build'],
    () => lanes().map(({ labels, lane }) => [labels, lane.breaker === 'closed' ? 0 : 1] as const),
  );
}
