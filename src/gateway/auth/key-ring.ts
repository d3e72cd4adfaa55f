import { timingSafeEqual } from 'node:crypto';
import { SwitchyardError } from '../../errors.js';
import type { StoredKey } from '../../registry/api-keys.js';
import { claimedKeyId, keyHmac } from './api-key.js';
import { type Caller, KeyHolder } from './caller.js';
import type { KeySecret } from './key-secret.js';
import { Quota, type QuotaLimits } from './quota.js';

export interface KeyRingOptions extends QuotaLimits {
  readonly secret: KeySecret;
  /** Keys that were not read again for this long let nobody in. */
  readonly stalenessMsMax: number;
  /** The same for who only looks how the gateway is. */
  readonly observeStalenessMsMax: number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

interface RingKey {
  readonly stored: StoredKey;
  readonly caller: Caller & { readonly role: StoredKey['role'] };
  readonly quota: Quota;
  /** The key's own bytes once its HMAC was right: comparing them costs a fraction of another HMAC. */
  proven: Buffer | null;
}

/** The keys of the registry as of the last read, in memory: no request waits for PostgreSQL. */
export class KeyRing {
  readonly #options: KeyRingOptions;
  readonly #now: () => number;
  #keys: ReadonlyMap<string, RingKey> = new Map();
  #readAtMs = Number.NEGATIVE_INFINITY;
  readonly #begunAtMs: number;

  constructor(options: KeyRingOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#begunAtMs = this.#now();
  }

  get count(): number {
    return this.#keys.size;
  }

  /** Since the keys were last read; Infinity before they were. */
  get ageMs(): number {
    return this.#now() - this.#readAtMs;
  }

  /** The same as a number for watchers: where they were never read, since this ring began. */
  get unreadMs(): number {
    return Number.isFinite(this.ageMs) ? this.ageMs : this.#now() - this.#begunAtMs;
  }

  /** Keys that still work and end before `untilMs` (since 1970) with nothing that takes their place. */
  endingBefore(untilMs: number): readonly StoredKey[] {
    const nowMs = Date.now();
    return [...this.#keys.values()]
      .map(({ stored }) => stored)
      .filter(({ revokedAt, replacedBy, expiresAt }) => {
        const endsAtMs = expiresAt.getTime();
        return revokedAt === null && replacedBy === null && endsAtMs > nowMs && endsAtMs < untilMs;
      });
  }

  /** `keys`: by creation. `readAtMs`: when the read began, by the ring's clock. Ids of live keys made with another secret come back. */
  replace(keys: readonly StoredKey[], readAtMs: number = this.#now()): readonly string[] {
    const { secret } = this.#options;
    const next = new Map<string, RingKey>();
    /** By the key that comes next in its chain of rotations: both are one consumer's, and share what it may use up. */
    const inherited = new Map<string, Quota>();
    for (const stored of keys) {
      if (stored.secretId !== secret.secretId) continue;
      const known = this.#keys.get(stored.keyId);
      // What a key may do is fixed, so its quota and what was proven of it go on.
      const quota = known?.quota ?? inherited.get(stored.keyId) ?? this.#newQuota(stored);
      if (stored.replacedBy !== null) inherited.set(stored.replacedBy, quota);
      const caller =
        known?.caller ?? new KeyHolder(stored, stored.role, stored.corpora, quota, this.#checkStanding);
      next.set(stored.keyId, { stored, caller, quota, proven: known?.proven ?? null });
    }
    this.#keys = next;
    this.#readAtMs = Math.max(this.#readAtMs, readAtMs);
    return keys
      .filter(
        ({ secretId, revokedAt, expiresAt }) =>
          secretId !== secret.secretId && revokedAt === null && expiresAt.getTime() > Date.now(),
      )
      .map(({ keyId }) => keyId);
  }

  /**
   * Who holds this key. `toObserve`: for nothing but metrics and status, which have to be seen in an outage too. Why a key
   * that nobody has is refused is not told: only who knows the secret learns that it expired or was revoked. Errors: UNAUTHENTICATED; REGISTRY_UNAVAILABLE when the keys are too old to be trusted.
   */
  verify(token: string, toObserve = false): Caller & { readonly role: StoredKey['role'] } {
    this.#checkAge(toObserve);
    const keyId = claimedKeyId(token);
    const key = keyId === null ? undefined : this.#keys.get(keyId);
    if (key === undefined || !this.#isProven(key, token)) throw unknown();
    checkNotEnded(key.stored);
    return key.caller;
  }

  /** The same of a key that was verified before. One function for all holders. */
  readonly #checkStanding = (keyId: string): void => {
    this.#checkAge(false);
    const key = this.#keys.get(keyId);
    if (key === undefined) throw unknown();
    checkNotEnded(key.stored);
  };

  #checkAge(toObserve: boolean): void {
    const { stalenessMsMax, observeStalenessMsMax } = this.#options;
    const limitMs = toObserve ? observeStalenessMsMax : stalenessMsMax;
    if (this.ageMs > limitMs) throw this.#stale(limitMs);
  }

  #newQuota(stored: StoredKey): Quota {
    const { requestsPerS, concurrencyMax } = this.#options;
    const limits = {
      requestsPerS: stored.requestsPerS ?? requestsPerS,
      concurrencyMax: stored.concurrencyMax ?? concurrencyMax,
    };
    return new Quota(limits, this.#now);
  }

  #isProven(key: RingKey, token: string): boolean {
    const given = Buffer.from(token, 'latin1');
    if (key.proven !== null && timingSafeEqual(given, key.proven)) return true;
    if (!timingSafeEqual(keyHmac(this.#options.secret.secret, token), key.stored.hmac)) return false;
    key.proven = given;
    return true;
  }

  #stale(limitMs: number): SwitchyardError {
    const since = Number.isFinite(this.ageMs)
      ? `for ${Math.round(this.ageMs / 1_000)} s`
      : 'since this gateway began';
    return new SwitchyardError(
      'REGISTRY_UNAVAILABLE',
      `the keys could not be read ${since} (limit ${limitMs / 1_000} s), so none is trusted: check that PostgreSQL runs`,
    );
  }
}

function checkNotEnded(stored: StoredKey): void {
  const { revokedAt, expiresAt } = stored;
  if (revokedAt !== null) throw ended(stored, 'was revoked');
  if (expiresAt.getTime() <= Date.now()) throw ended(stored, `expired at ${expiresAt.toISOString()}`);
}

const unknown = (): SwitchyardError =>
  new SwitchyardError('UNAUTHENTICATED', 'the API key is not valid: check that it was copied whole');

const ended = ({ keyId }: StoredKey, how: string): SwitchyardError =>
  new SwitchyardError('UNAUTHENTICATED', `API key ${keyId} ${how}: ask an operator for a new one`, {
    details: { key_id: keyId },
  });
