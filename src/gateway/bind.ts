import { isIPv4 } from 'node:net';
import type { Listener, ListenerSettings } from '../config/config.js';
import { SwitchyardError } from '../errors.js';

/** Setting of a listener in the configuration file, as a person writes it. */
export const LISTENER_NAMES = ['grpc', 'http', 'admin_http', 'admin_grpc'] as const;
export type ListenerName = (typeof LISTENER_NAMES)[number];

/** INVALID_CONFIG for a listener that strangers could reach without a key, or on whose way keys could be read. */
export function assertGuarded(name: ListenerName, listener: ListenerSettings): void {
  if (isLoopback(listener.host)) return;
  const where = `listen.${name}.host ${JSON.stringify(listener.host)} can be reached from other machines`;
  if (listener.auth !== 'keys')
    throw new SwitchyardError(
      'INVALID_CONFIG',
      `${where} and no authentication is configured: set listen.${name}.auth to keys, or use 127.0.0.1 or ::1`,
      { details: { setting: `listen.${name}.auth` } },
    );
  if (listener.tls === null && !listener.allowPlaintext)
    throw new SwitchyardError(
      'INVALID_CONFIG',
      `${where} and keys would travel unencrypted: set listen.${name}.tls.cert_file and key_file, or listen.${name}.allow_plaintext where something in front of the gateway ends TLS`,
      { details: { setting: `listen.${name}.tls` } },
    );
}

/** Of an address. A name is none, `localhost` either: what it stands for is not ours to say. */
export const isLoopback = (host: string): boolean =>
  isIPv4(host) ? host.startsWith('127.') : host === '::1';

/** What moves a listener for one command. */
const OPTIONS: Readonly<Record<ListenerName, string>> = {
  grpc: '--grpc-port',
  http: '--http-port',
  admin_http: '--admin-port',
  admin_grpc: '--admin-grpc-port',
};

/** A failure to listen, with the address and the setting that changes it. */
export function bindError(name: ListenerName, listener: Listener, cause: unknown): SwitchyardError {
  const code = (cause as NodeJS.ErrnoException | null)?.code;
  const at = `${listener.host}:${listener.port}`;
  const setting = `listen.${name}.port`;
  const why =
    code === 'EADDRINUSE'
      ? 'is in use by another process'
      : code === 'EACCES'
        ? 'needs privileges'
        : `cannot be listened on${code === undefined ? '' : ` (${code})`}`;
  const environment = `SWITCHYARD_LISTEN__${name.toUpperCase()}__PORT`;
  return new SwitchyardError(
    'INVALID_CONFIG',
    `port ${at} ${why}: stop that process, or choose another port with ${OPTIONS[name]}, or with ${setting} (environment: ${environment})`,
    { details: { setting, port: String(listener.port) }, cause },
  );
}
