import { packageVersion } from '../../package-root.js';
import type { Metrics } from '../../telemetry/metrics.js';
import type { KeyRing } from '../auth/key-ring.js';
import type { ListenerName } from '../bind.js';

/** What lets clients in, and for how long it still will; and which program this is. */
export function observeAccess(
  metrics: Metrics,
  keys: KeyRing | null,
): { readonly onCertificate: (listener: ListenerName, endsAtMs: () => number) => void } {
  const labels = { version: packageVersion(), node: process.version };
  const certificates = new Map<ListenerName, () => number>();
  metrics.observe(
    'switchyard_build_info',
    '1, with the versions of the program and of Node',
    ['version', 'node'],
    () => [[labels, 1]],
  );
  metrics.observe(
    'switchyard_tls_certificate_end_seconds',
    'When the certificate in use ends, in seconds since 1970',
    ['listener'],
    () => [...certificates].map(([listener, endsAtMs]) => [{ listener }, endsAtMs() / 1000] as const),
  );
  metrics.observe(
    'switchyard_api_keys_age_seconds',
    'Since the API keys were last read; beyond auth.staleness_ms_max nobody is let in',
    [],
    () => (keys === null || !Number.isFinite(keys.ageMs) ? [] : [[{}, keys.ageMs / 1000]]),
  );
  return { onCertificate: (listener, endsAtMs) => certificates.set(listener, endsAtMs) };
}
