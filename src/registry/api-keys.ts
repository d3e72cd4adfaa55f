import { SwitchyardError } from '../errors.js';
import { isCorpusName } from '../vocabulary.js';
import { type ChangeAuthor, recordChange } from './changes.js';
import type { Database, RegistryTransaction } from './database.js';
import { KEY_ROLES, type KeyRole } from './schema.js';

/** What a key may do; fixed for as long as it lives. */
export interface KeyGrant {
  readonly name: string;
  readonly role: KeyRole;
  /** Of a `search` key: those it may search; empty: all. */
  readonly corpora: readonly string[];
  /** Per gateway process; null: the gateway's default. */
  readonly requestsPerS: number | null;
  readonly concurrencyMax: number | null;
}

/** What is known of a key's text: nothing that helps to find it. */
export interface KeyProof {
  readonly keyId: string;
  /** HMAC-SHA-256 of the whole key. */
  readonly hmac: Buffer;
  /** Names the HMAC's secret. */
  readonly secretId: string;
}

export interface StoredKey extends KeyGrant, KeyProof {
  readonly createdAt: Date;
  readonly expiresAt: Date;
  readonly revokedAt: Date | null;
  /** The key that a rotation made in its place. */
  readonly replacedBy: string | null;
}

const NAME_LENGTH_MAX = 128;
const CORPORA_MAX = 256;
const LIFE_MS_MAX = 10 * 366 * 24 * 3_600_000;

/** The API keys of all gateways of this registry. Changes reach the gateways by notification. */
export class ApiKeys {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** By creation; the ended ones too. */
  async list(): Promise<readonly StoredKey[]> {
    const rows = await this.#database.read((tables) =>
      tables.selectFrom('api_keys').selectAll().orderBy('created_at').orderBy('key_id').execute(),
    );
    return rows.map(toKey);
  }

  /** Errors: INVALID_ARGUMENT. */
  async create(grant: KeyGrant, proof: KeyProof, expiresAt: Date, author: ChangeAuthor): Promise<StoredKey> {
    checkGrant(grant);
    checkExpiry(expiresAt);
    return this.#database.change(async (transaction) => {
      const key = await insertKey(transaction, grant, proof, expiresAt);
      await recordChange(transaction, { ...author, subject: subject(key), before: null, after: shown(key) });
      return key;
    });
  }

  /**
   * A new key with the same rights; the old one is good until `overlapUntil`, so that clients change over at leisure.
   * Errors: UNKNOWN_KEY, INVALID_ARGUMENT; STATUS_CONFLICT for a key that has ended.
   */
  async rotate(
    keyId: string,
    rotation: { readonly proof: KeyProof; readonly expiresAt: Date | null; readonly overlapUntil: Date },
    author: ChangeAuthor,
  ): Promise<StoredKey> {
    return this.#database.change(async (transaction) => {
      const before = await lockKey(transaction, keyId);
      const now = new Date();
      if (before.revokedAt !== null || before.expiresAt <= now)
        throw new SwitchyardError(
          'STATUS_CONFLICT',
          `key ${keyId} has ${before.revokedAt === null ? 'expired' : 'been revoked'}: create a new one`,
        );
      if (before.replacedBy !== null)
        throw new SwitchyardError(
          'STATUS_CONFLICT',
          `key ${keyId} was replaced by ${before.replacedBy} already: rotate that one`,
        );
      const lifeMs = before.expiresAt.getTime() - before.createdAt.getTime();
      const expiresAt = rotation.expiresAt ?? new Date(now.getTime() + lifeMs);
      checkExpiry(expiresAt);
      const key = await insertKey(transaction, before, rotation.proof, expiresAt);
      const endsAt = new Date(Math.min(before.expiresAt.getTime(), rotation.overlapUntil.getTime()));
      await transaction
        .updateTable('api_keys')
        .set({ expires_at: endsAt, replaced_by: key.keyId })
        .where('key_id', '=', keyId)
        .execute();
      await recordChange(transaction, {
        ...author,
        subject: subject(before),
        before: shown(before),
        after: { ...shown(before), expires_at: endsAt, replaced_by: key.keyId },
      });
      await recordChange(transaction, { ...author, subject: subject(key), before: null, after: shown(key) });
      return key;
    });
  }

  /** Once more changes nothing. Errors: UNKNOWN_KEY. */
  async revoke(keyId: string, author: ChangeAuthor): Promise<StoredKey> {
    return this.#database.change(async (transaction) => {
      const before = await lockKey(transaction, keyId);
      if (before.revokedAt !== null) return before;
      const revokedAt = new Date();
      await transaction
        .updateTable('api_keys')
        .set({ revoked_at: revokedAt })
        .where('key_id', '=', keyId)
        .execute();
      const after = { ...before, revokedAt };
      await recordChange(transaction, {
        ...author,
        subject: subject(before),
        before: shown(before),
        after: shown(after),
      });
      return after;
    });
  }
}

async function insertKey(
  transaction: RegistryTransaction,
  grant: KeyGrant,
  proof: KeyProof,
  expiresAt: Date,
): Promise<StoredKey> {
  const row = await transaction
    .insertInto('api_keys')
    .values({
      key_id: proof.keyId,
      key_hmac: proof.hmac,
      hmac_secret_id: proof.secretId,
      name: grant.name,
      role: grant.role,
      corpora: [...grant.corpora],
      requests_per_s: grant.requestsPerS,
      concurrency_max: grant.concurrencyMax,
      expires_at: expiresAt,
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  return toKey(row);
}

async function lockKey(transaction: RegistryTransaction, keyId: string): Promise<StoredKey> {
  const row = await transaction
    .selectFrom('api_keys')
    .selectAll()
    .where('key_id', '=', keyId)
    .forUpdate()
    .executeTakeFirst();
  if (row !== undefined) return toKey(row);
  throw new SwitchyardError(
    'UNKNOWN_KEY',
    `there is no key ${JSON.stringify(keyId.slice(0, 12))}: \`switchyard key list\` shows their ids`,
  );
}

function checkGrant({ name, role, corpora, requestsPerS, concurrencyMax }: KeyGrant): void {
  if (name.trim() === '' || name.length > NAME_LENGTH_MAX)
    throw wrong('name', `name has ${name.trim().length} characters, must be 1..${NAME_LENGTH_MAX}`);
  if (!KEY_ROLES.includes(role)) throw wrong('role', `role must be one of ${KEY_ROLES.join(', ')}`);
  if (corpora.length > CORPORA_MAX)
    throw wrong('corpora', `corpora has ${corpora.length} names, must be <= ${CORPORA_MAX}`);
  if (corpora.length > 0 && role !== 'search')
    throw wrong('corpora', `corpora are for keys of role search; an ${role} key is for all`);
  if (!corpora.every(isCorpusName)) throw wrong('corpora', 'corpora has a name that no corpus can have');
  for (const [field, value] of [
    ['requests_per_s', requestsPerS],
    ['concurrency_max', concurrencyMax],
  ] as const)
    if (value !== null && !(Number.isInteger(value) && value >= 1 && value <= 1_000_000))
      throw wrong(field, `${field} must be a whole number 1..1000000`);
}

function checkExpiry(expiresAt: Date): void {
  const lifeMs = expiresAt.getTime() - Date.now();
  if (lifeMs > 0 && lifeMs <= LIFE_MS_MAX) return;
  throw wrong('expires_at', 'a key must expire in the future, within ten years');
}

const wrong = (field: string, message: string): SwitchyardError =>
  new SwitchyardError('INVALID_ARGUMENT', message, { details: { field } });

const subject = ({ keyId }: KeyProof): string => `api_key ${keyId}`;

/** For the audit: all but the HMAC. */
const shown = (key: StoredKey) => ({
  name: key.name,
  role: key.role,
  corpora: key.corpora,
  requests_per_s: key.requestsPerS,
  concurrency_max: key.concurrencyMax,
  expires_at: key.expiresAt,
  revoked_at: key.revokedAt,
  replaced_by: key.replacedBy,
});

interface KeyRow {
  key_id: string;
  name: string;
  role: KeyRole;
  corpora: string[];
  key_hmac: Buffer;
  hmac_secret_id: string;
  requests_per_s: number | null;
  concurrency_max: number | null;
  created_at: Date;
  expires_at: Date;
  revoked_at: Date | null;
  replaced_by: string | null;
}

const toKey = (row: KeyRow): StoredKey => ({
  keyId: row.key_id,
  name: row.name,
  role: row.role,
  corpora: row.corpora,
  hmac: row.key_hmac,
  secretId: row.hmac_secret_id,
  requestsPerS: row.requests_per_s,
  concurrencyMax: row.concurrency_max,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  revokedAt: row.revoked_at,
  replacedBy: row.replaced_by,
});
