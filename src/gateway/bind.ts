import { createServer, isIPv4 } from 'node:net';
import type { Listener } from '../config/config.js';
import { SwitchyardError } from '../errors.js';

/** Setting of a listener in the configuration file, as a person writes it. */
export type ListenerName = 'grpc' | 'http' | 'admin_http' | 'admin_grpc';

/** INVALID_CONFIG for a listener that strangers could reach: there is no authentication yet, so there is no way around. */
export function assertLoopback(name: ListenerName, listener: Listener): void {
  if (isLoopback(listener.host)) return;
  throw new SwitchyardError(
    'INVALID_CONFIG',
    `listen.${name}.host ${JSON.stringify(listener.host)} can be reached from other machines and no authentication is configured: use 127.0.0.1 or ::1, and a proxy that authenticates in front`,
    { details: { setting: `listen.${name}.host` } },
  );
}

export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith('127.');
  return host === '::1' || host === 'localhost';
}

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
    `port ${at} ${why}: stop that process, or choose another port with ${setting} (environment: ${environment})`,
    { details: { setting, port: String(listener.port) }, cause },
  );
}

/**
 * Listens and lets go again. grpc-js reports a failed bind as text alone, and prints it; asking the system first
 * gives the error code.
 */
export function probePort(listener: Listener): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: listener.host, port: listener.port, exclusive: true }, () => {
      server.close(() => resolve());
    });
  });
}
