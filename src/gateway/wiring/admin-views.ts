import { packageVersion } from '../../package-root.js';
import type { ComparisonRecorder } from '../../router/comparison-recorder.js';
import type { Router } from '../../router/router.js';
import type { Metrics } from '../../telemetry/metrics.js';
import type { RetirementFacts } from '../admin/archive-admin.js';
import type { MigrationFacts } from '../admin/migration-handlers.js';
import type { ProcessFacts } from '../admin/operations.js';
import type { AdminViews } from '../faces.js';
import type { Engines } from './engines.js';
import type { RouteFollower } from './route-follower.js';

export interface ProcessSources {
  readonly gatewayId: string;
  readonly varDir: string;
  readonly router: Router;
  readonly engines: Engines;
  readonly metrics: Metrics;
  readonly follower: RouteFollower;
}

/** What this process says about itself, whether or not the registry answers. */
export function adminViews({ gatewayId, varDir, router, metrics, follower }: ProcessSources): AdminViews {
  return {
    status: async () => ({
      version: packageVersion(),
      pid: process.pid,
      gateway_id: gatewayId,
      var_dir: varDir,
      registry: follower.isRegistryUp ? 'up' : 'unavailable',
      serving_disk_snapshot: follower.isServingFromDisk,
      health: router.health(),
      routes: router.routeStatus().map(({ corpus, applied, wanted, error }) => ({
        corpus,
        applied,
        wanted,
        error: error === null ? null : { reason: error.reason, message: error.message },
      })),
      ejections: router
        .ejectionReports()
        .filter(({ state, ejections }) => state !== 'in_use' || ejections > 0),
      targets: router.targets().map(({ spec, state, error }) => ({
        corpus: spec.corpus,
        version: spec.version,
        build: spec.build,
        tier: spec.tier,
        isolation: spec.isolation,
        state,
        error: error === null ? null : { reason: error.reason, message: error.message },
      })),
    }),
    metrics: async () => ({ contentType: metrics.registry.contentType, text: await metrics.text() }),
  };
}

/** What the operations need of the process that they run in. */
export const processFacts = (
  gatewayId: string,
  router: Router,
  engines: Engines,
  recorder: ComparisonRecorder,
  migrations: MigrationFacts,
  retirement: RetirementFacts,
): ProcessFacts => ({
  gatewayId,
  migrations,
  retirement,
  encoderOf: (fingerprint) =>
    router.encoders().find(({ model }) => model.fingerprint === fingerprint) ?? null,
  comparisons: (corpus) => recorder.report(corpus),
  refuseOverBudget: (claims) => engines.dram.budget.check(claims),
});
