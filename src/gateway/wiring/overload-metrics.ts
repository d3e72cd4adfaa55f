import type { Metrics } from '../../telemetry/metrics.js';
import type { Overload } from '../overload/overload.js';
import { PARTITIONS } from '../overload/partitions.js';

const SECONDS = 1e-3;

/** The limits of what may be in flight, read when Prometheus asks. */
export function observeOverload(metrics: Metrics, overload: Overload): void {
  metrics.observe(
    'switchyard_overload_limit',
    'Requests that may be in flight, adapted to their queue time',
    ['kind'],
    () => overload.states().map(({ kind, limit }) => [{ kind }, limit]),
  );
  metrics.observe(
    'switchyard_overload_bulk_limit',
    'Bulk requests that may be in flight, adapted to ten times the queue time',
    ['kind'],
    () => overload.states().map(({ kind, bulkLimit }) => [{ kind }, bulkLimit]),
  );
  metrics.observe(
    'switchyard_overload_queue_seconds',
    'Standing queue time: the least of the last interval',
    ['kind'],
    () => overload.states().map(({ kind, queueMs }) => [{ kind }, queueMs * SECONDS]),
  );
  metrics.observe(
    'switchyard_overload_in_flight',
    'Requests in flight by partition; mirrors are in switchyard_mirrors_running',
    ['kind', 'partition'],
    () => [
      ...overload
        .states()
        .flatMap(({ kind, inFlight }) =>
          PARTITIONS.map((partition) => [{ kind, partition }, inFlight[partition]] as const),
        ),
      [{ kind: 'admin', partition: 'admin' }, overload.admin.inFlight] as const,
    ],
  );
  metrics.observeTotal(
    'switchyard_overload_refused_total',
    'Requests and items of batches refused with OVERLOADED, at once or from a queue, and mirrors that were not started, by partition',
    ['kind', 'partition'],
    () => [
      ...overload
        .states()
        .flatMap(({ kind, refused }) =>
          PARTITIONS.map((partition) => [{ kind, partition }, refused[partition]] as const),
        ),
      [{ kind: 'admin', partition: 'admin' }, overload.admin.refused] as const,
    ],
  );
}
