import { SwitchyardError } from '../../errors.js';
import type { KeyProof, StoredKey } from '../../registry/api-keys.js';
import type { ChangeAuthor } from '../../registry/changes.js';
import type { Registry } from '../../registry/registry.js';
import type { KeyRole } from '../../registry/schema.js';
import type { KeyView, NewKeyView } from '../admin/key-views.js';
import { keyHmac, mintKey } from './api-key.js';
import type { KeySecret } from './key-secret.js';

export interface NewKey extends ChangeAuthor {
  readonly name: string;
  readonly role: KeyRole;
  /** Absent or empty: all. */
  readonly corpora?: readonly string[];
  readonly requests_per_s?: number;
  readonly concurrency_max?: number;
  /** ISO 8601; absent: in a year. */
  readonly expires_at?: string;
}

export interface KeyRotation extends ChangeAuthor {
  readonly key_id: string;
  /** How long the old key goes on working; absent: a day. */
  readonly overlap_s?: number;
  /** Of the new key; absent: it lives as long as the old one was to live. */
  readonly expires_at?: string;
}

const LIFE_MS_DEFAULT = 365 * 24 * 3_600_000;
const OVERLAP_S_DEFAULT = 24 * 3_600;
const OVERLAP_S_MAX = 90 * 24 * 3_600;

/** Making, replacing and ending API keys: the one place where a key's text and the registry meet. */
export class KeyOperations {
  readonly #registry: () => Registry;
  readonly #secret: () => Promise<KeySecret>;

  /** `registry` throws REGISTRY_UNAVAILABLE while there is none. */
  constructor(registry: () => Registry, secret: () => Promise<KeySecret>) {
    this.#registry = registry;
    this.#secret = secret;
  }

  async listKeys(): Promise<readonly KeyView[]> {
    return (await this.#registry().apiKeys.list()).map(keyView);
  }

  /** Errors: INVALID_ARGUMENT. */
  async createKey(input: NewKey): Promise<NewKeyView> {
    const { key, proof } = await this.#mint();
    const grant = {
      name: input.name,
      role: input.role,
      corpora: [...new Set(input.corpora ?? [])].sort(),
      requestsPerS: input.requests_per_s ?? null,
      concurrencyMax: input.concurrency_max ?? null,
    };
    const expiresAt = dateOf(input.expires_at) ?? new Date(Date.now() + LIFE_MS_DEFAULT);
    const stored = await this.#registry().apiKeys.create(grant, proof, expiresAt, authorOf(input));
    return { ...keyView(stored), key };
  }

  /** Errors: UNKNOWN_KEY, STATUS_CONFLICT, INVALID_ARGUMENT. */
  async rotateKey(input: KeyRotation): Promise<NewKeyView> {
    const overlapS = input.overlap_s ?? OVERLAP_S_DEFAULT;
    if (!Number.isInteger(overlapS) || overlapS < 0 || overlapS > OVERLAP_S_MAX)
      throw wrong('overlap_s', `overlap_s must be a whole number of seconds 0..${OVERLAP_S_MAX}`);
    const { key, proof } = await this.#mint();
    const overlapUntil = new Date(Date.now() + overlapS * 1_000);
    const rotation = { proof, expiresAt: dateOf(input.expires_at), overlapUntil };
    const stored = await this.#registry().apiKeys.rotate(input.key_id, rotation, authorOf(input));
    return { ...keyView(stored), key };
  }

  /** Errors: UNKNOWN_KEY. */
  async revokeKey(input: ChangeAuthor & { readonly key_id: string }): Promise<KeyView> {
    return keyView(await this.#registry().apiKeys.revoke(input.key_id, authorOf(input)));
  }

  async #mint(): Promise<{ readonly key: string; readonly proof: KeyProof }> {
    const { secret, secretId } = await this.#secret();
    const { keyId, token } = mintKey();
    return { key: token, proof: { keyId, hmac: keyHmac(secret, token), secretId } };
  }
}

function keyView(key: StoredKey): KeyView {
  const isOver = key.expiresAt.getTime() <= Date.now();
  return {
    key_id: key.keyId,
    name: key.name,
    role: key.role,
    corpora: key.corpora,
    state: key.revokedAt !== null ? 'revoked' : isOver ? 'expired' : 'valid',
    requests_per_s: key.requestsPerS,
    concurrency_max: key.concurrencyMax,
    created_at: key.createdAt.toISOString(),
    expires_at: key.expiresAt.toISOString(),
    revoked_at: key.revokedAt?.toISOString() ?? null,
    replaced_by: key.replacedBy,
  };
}

const authorOf = ({ actor, reason }: ChangeAuthor): ChangeAuthor => ({ actor, reason });

function dateOf(text: string | undefined): Date | null {
  if (text === undefined) return null;
  const date = new Date(text);
  if (/^\d{4}-\d{2}-\d{2}/.test(text) && !Number.isNaN(date.getTime())) return date;
  throw wrong('expires_at', 'expires_at must be an ISO 8601 date or time, e.g. 2027-01-31');
}

const wrong = (field: string, message: string): SwitchyardError =>
  new SwitchyardError('INVALID_ARGUMENT', message, { details: { field } });
