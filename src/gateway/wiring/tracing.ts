import type { Config } from '../../config/config.js';
import { packageVersion } from '../../package-root.js';
import type { Logger } from '../../telemetry/log.js';
import type { Metrics } from '../../telemetry/metrics.js';
import { Tracer } from '../../telemetry/tracer.js';

/** Null where tracing is off: then nothing of the SDK is loaded. */
export async function openTracing(
  { tracing }: Pick<Config, 'tracing'>,
  gatewayId: string,
  log: Logger,
): Promise<Tracer | null> {
  if (!tracing.enabled) return null;
  const { openOtlp } = await import('../../telemetry/otlp.js');
  return new Tracer({
    sampleBps: tracing.sampleBps,
    tracesPerSMax: tracing.tracesPerSMax,
    sink: openOtlp(log, { version: packageVersion(), instance: gatewayId }),
    nowMs: () => performance.now(),
    random: Math.random,
  });
}

export function observeTraces(metrics: Metrics, { counters }: Tracer): void {
  metrics.observeTotal(
    'switchyard_traces_total',
    'Requests that were traced, and those beyond tracing.traces_per_s_max that were not',
    ['outcome'],
    () => [
      [{ outcome: 'sampled' }, counters.sampled],
      [{ outcome: 'over_limit' }, counters.overLimit],
    ],
  );
}
