import path from 'node:path';
import { SwitchyardError } from '../errors.js';
import type { AuthSettings, ListenerSettings } from './config.js';
import type { ConfigFile } from './schema.js';

/** Paths made absolute, what belongs together asserted. Errors: INVALID_CONFIG. */
export function compileListener(
  name: keyof ConfigFile['listen'],
  file: ConfigFile,
  cwd: string,
): ListenerSettings {
  const { host, port, auth, tls, allow_plaintext } = file.listen[name];
  const { cert_file, key_file, client_ca_file } = tls;
  if ((cert_file === null) !== (key_file === null))
    throw invalid(`listen.${name}.tls needs both cert_file and key_file, or neither`);
  if (client_ca_file !== null && cert_file === null)
    throw invalid(`listen.${name}.tls.client_ca_file needs cert_file and key_file beside it`);
  const isTls = cert_file !== null && key_file !== null;
  return {
    host: addressOf(host),
    port,
    auth,
    allowPlaintext: allow_plaintext,
    tls: isTls
      ? {
          certFile: path.resolve(cwd, cert_file),
          keyFile: path.resolve(cwd, key_file),
          clientCaFile: client_ca_file === null ? null : path.resolve(cwd, client_ca_file),
        }
      : null,
  };
}

/**
 * `localhost` is 127.0.0.1 and nothing else, whatever the machine's files say: a name may mean several addresses, or one
 * that others reach, and a listener is one socket.
 */
export const addressOf = (host: string): string => (/^localhost\.?$/i.test(host) ? '127.0.0.1' : host);

/** Errors: INVALID_CONFIG. */
export function compileAuth({ auth }: ConfigFile, cwd: string, varDir: string): AuthSettings {
  if (auth.hmac_secret !== null && auth.hmac_secret_file !== null)
    throw invalid('auth.hmac_secret and auth.hmac_secret_file are both given: give one of the two');
  if (auth.staleness_ms_max < 2 * auth.poll_interval_ms)
    throw invalid(
      `auth.staleness_ms_max ${auth.staleness_ms_max} must be >= 2 × auth.poll_interval_ms ${auth.poll_interval_ms}, or one late answer locks everybody out`,
    );
  if (auth.observe_staleness_ms_max < auth.staleness_ms_max)
    throw invalid(
      `auth.observe_staleness_ms_max ${auth.observe_staleness_ms_max} must be >= auth.staleness_ms_max ${auth.staleness_ms_max}: who may search with a key may be watched with one`,
    );
  return {
    hmacSecret: auth.hmac_secret,
    hmacSecretFile:
      auth.hmac_secret_file === null
        ? path.join(varDir, 'keys', 'hmac-secret')
        : path.resolve(cwd, auth.hmac_secret_file),
    isHmacSecretGiven: auth.hmac_secret_file !== null,
    pollIntervalMs: auth.poll_interval_ms,
    stalenessMsMax: auth.staleness_ms_max,
    observeStalenessMsMax: auth.observe_staleness_ms_max,
    requestsPerS: auth.requests_per_s === 0 ? null : auth.requests_per_s,
    concurrencyMax: auth.concurrency_max === 0 ? null : auth.concurrency_max,
  };
}

const invalid = (message: string): SwitchyardError => new SwitchyardError('INVALID_CONFIG', message);
