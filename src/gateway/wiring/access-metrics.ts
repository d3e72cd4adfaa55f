import { packageVersion } from '../../package-root.js';
import type { Metrics } from '../../telemetry/metrics.js';
import type { ArrivingCounts } from '../arriving/arriving-requests.js';
import type { KeyRing } from '../auth/key-ring.js';
import { LISTENER_NAMES, type ListenerName } from '../bind.js';
import type { ListenerConnections } from '../connection-limit.js';

/** Keys that go on for longer are nobody's business yet, and would be a series each. */
const KEYS_ENDING_WITHIN_MS = 30 * 86_400_000;

export interface AccessMetrics {
  readonly onCertificate: (listener: ListenerName, endsAtMs: () => number) => void;
  readonly onUnread: (bytes: () => number) => void;
  readonly onArriving: (counts: () => ArrivingCounts) => void;
  readonly onConnections: (listener: ListenerName, counts: () => ListenerConnections) => void;
}

/** What lets clients in, and for how long it still will; and which program this is. */
export function observeAccess(metrics: Metrics, keys: KeyRing | null): AccessMetrics {
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
    'Since the API keys were last read, or since the gateway began where they never were; beyond auth.staleness_ms_max nobody is let in but to observe',
    [],
    () => (keys === null ? [] : [[{}, keys.unreadMs / 1000]]),
  );
  metrics.observe(
    'switchyard_api_key_end_seconds',
    'When an API key that works and was not rotated ends, in seconds since 1970; of those that end within 30 days',
    ['key_id', 'key_name'],
    () =>
      (keys?.endingBefore(Date.now() + KEYS_ENDING_WITHIN_MS) ?? []).map(
        ({ keyId, name, expiresAt }) =>
          [{ key_id: keyId, key_name: name }, expiresAt.getTime() / 1000] as const,
      ),
  );
  const connections = new Map<ListenerName, () => ListenerConnections>();
  metrics.observe('switchyard_connections', 'Open connections', ['listener'], () =>
    [...connections].map(([listener, counts]) => [{ listener }, counts().open] as const),
  );
  metrics.observeTotal(
    'switchyard_connections_dropped_total',
    'Connections that were closed: at once, since there were as many as may be (limit); since their client read nothing for too long (stalled), or the memory for unread answers was used up (memory)',
    ['listener', 'reason'],
    () =>
      [...connections].flatMap(([listener, counts]) => {
        const { dropped, hungUp } = counts();
        return [
          [{ listener, reason: 'limit' }, dropped] as const,
          [{ listener, reason: 'stalled' }, hungUp.stalled] as const,
          [{ listener, reason: 'memory' }, hungUp.memory] as const,
        ];
      }),
  );
  let unreadBytes = (): number => 0;
  metrics.observe(
    'switchyard_unread_answer_bytes',
    'Bytes of answers that are written and that clients did not read yet, at most',
    [],
    () => [[{}, unreadBytes()]],
  );
  let arriving = (): ArrivingCounts => ({ bytes: 0, ended: new Map() });
  metrics.observe(
    'switchyard_arriving_request_bytes',
    'Bytes that are held for requests which have not arrived whole, at most',
    [],
    () => [[{}, arriving().bytes]],
  );
  metrics.observeTotal(
    'switchyard_arriving_requests_ended_total',
    'Requests that had not arrived whole and were ended, to make room for others in limits.arriving_bytes_max',
    ['listener'],
    () => LISTENER_NAMES.map((listener) => [{ listener }, arriving().ended.get(listener) ?? 0] as const),
  );
  return {
    onArriving: (counts) => {
      arriving = counts;
    },
    onUnread: (bytes) => {
      unreadBytes = bytes;
    },
    onCertificate: (listener, endsAtMs) => certificates.set(listener, endsAtMs),
    onConnections: (listener, counts) => connections.set(listener, counts),
  };
}
