import { createSecretKey } from 'node:crypto';
import type { ListenerSettings } from '../../src/config/config.js';
import { keyHmac, mintKey } from '../../src/gateway/auth/api-key.js';
import { KeyRing, type KeyRingOptions } from '../../src/gateway/auth/key-ring.js';
import type { KeySecret } from '../../src/gateway/auth/key-secret.js';
import type { StoredKey } from '../../src/registry/api-keys.js';
import { LOCAL } from '../gateway/harness.js';

export const SECRET: KeySecret = {
  secret: createSecretKey(Buffer.from('a secret of tests, of 32 letters')),
  secretId: '0123456789abcdef',
};

export interface MadeKey {
  readonly token: string;
  readonly stored: StoredKey;
}

/** A key as the registry would keep it. */
export function makeKey(part: Partial<StoredKey> = {}): MadeKey {
  const { keyId, token } = mintKey();
  const stored: StoredKey = {
    keyId,
    hmac: keyHmac(SECRET.secret, token),
    secretId: SECRET.secretId,
    name: 'test',
    role: 'search',
    corpora: [],
    requestsPerS: null,
    concurrencyMax: null,
    createdAt: new Date(),
    expiresAt: new Date(Date.now() + 3_600_000),
    revokedAt: null,
    replacedBy: null,
    ...part,
  };
  return { token, stored };
}

export function ringOf(keys: readonly MadeKey[], options: Partial<KeyRingOptions> = {}): KeyRing {
  const ring = new KeyRing({
    secret: SECRET,
    stalenessMsMax: 3_600_000,
    observeStalenessMsMax: 3_600_000,
    requestsPerS: null,
    concurrencyMax: null,
    ...options,
  });
  ring.replace(keys.map(({ stored }) => stored));
  return ring;
}

const KEYED: ListenerSettings = { ...LOCAL, auth: 'keys' };
export const KEYED_LISTENERS = { grpc: KEYED, http: KEYED, adminHttp: KEYED, adminGrpc: KEYED };

export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
