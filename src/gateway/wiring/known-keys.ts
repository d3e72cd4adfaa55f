import { createHmac, timingSafeEqual } from 'node:crypto';
import path from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { SwitchyardError, toSwitchyardError } from '../../errors.js';
import type { StoredKey } from '../../registry/api-keys.js';
import { KEY_ROLES } from '../../registry/schema.js';
import type { Logger } from '../../telemetry/log.js';
import { KEY_ID_PATTERN } from '../auth/api-key.js';
import type { KeySecret } from '../auth/key-secret.js';
import { readSealedFile, writeSealedFile } from './sealed-file.js';

const FORMAT = 'switchyard.known-keys/1';
/** Begins what is sealed, so that no seal is the HMAC of a key. */
const SEAL_OF = 'switchyard known keys ';
/** How much of the keys' time may be lost on the disk: it is written again after this share of it, */
const REWRITTEN_SHARE = 1 / 4;
/** and not more often than this, since many gateways may share a disk far away. */
const REWRITTEN_MS_MIN = 30_000;

/** Of what the file has: whatever comes next is written. */
const NOTHING_KNOWN = { keys: '', readAtMs: Number.NEGATIVE_INFINITY };

const closed = { additionalProperties: false } as const;
const hex = Type.String({ pattern: '^[0-9a-f]{64}$' });
const orNull = <Schema extends ReturnType<typeof Type.Integer>>(schema: Schema) =>
  Type.Union([schema, Type.Null()]);
const limit = orNull(Type.Integer({ minimum: 1 }));

const KeySchema = Type.Object(
  {
    key_id: Type.String({ pattern: KEY_ID_PATTERN }),
    hmac: hex,
    name: Type.String(),
    role: Type.Union(KEY_ROLES.map((role) => Type.Literal(role))),
    corpora: Type.Array(Type.String()),
    requests_per_s: limit,
    concurrency_max: limit,
    created_at: Type.String(),
    expires_at: Type.String(),
    replaced_by: Type.Union([Type.String(), Type.Null()]),
  },
  closed,
);
type KnownKey = Static<typeof KeySchema>;

const Schema = Type.Object(
  {
    /** HMAC of the rest under the secret of the keys: who may only write the file cannot widen a key. */
    seal: hex,
    content: Type.Object(
      { secret_id: Type.String(), read_at: Type.String(), keys: Type.Array(KeySchema) },
      closed,
    ),
  },
  closed,
);
type Content = Static<typeof Schema>['content'];

export interface KnownKeysOptions {
  readonly varDir: string;
  readonly secret: KeySecret;
  /** As the ring has it. */
  readonly stalenessMsMax: number;
  readonly log: Pick<Logger, 'warn'>;
  /** Milliseconds since 1970. */
  readonly wallMs?: () => number;
}

/**
 * The keys that worked when they were last read, under `<varDir>/keys/known.json`, for a gateway that boots while the
 * registry is away: HMACs, of which nobody can make a key. They are as old as that read, and the ring trusts no older
 * ones (invariant 8). Gateways of one var_dir share the file.
 */
export class KnownKeys {
  readonly #options: KnownKeysOptions;
  readonly #file: string;
  readonly #wallMs: () => number;
  #writing: Promise<void> | null = null;
  #written = NOTHING_KNOWN;
  #isFailing = false;

  constructor(options: KnownKeysOptions) {
    this.#options = options;
    this.#file = path.join(options.varDir, 'keys', 'known.json');
    this.#wallMs = options.wallMs ?? Date.now;
  }

  /** Writes in the background where it is worth it; nothing waits for the disk. `readAt`: when the read began. */
  keep(keys: readonly StoredKey[], readAt: Date): void {
    const { secret, stalenessMsMax } = this.#options;
    const known = keys.filter((key) => key.secretId === secret.secretId && this.#works(key)).map(toKnown);
    const text = JSON.stringify(known);
    const readAtMs = readAt.getTime();
    const pauseMs = Math.max(REWRITTEN_MS_MIN, stalenessMsMax * REWRITTEN_SHARE);
    const isFresh = Math.abs(readAtMs - this.#written.readAtMs) < pauseMs;
    // What comes while it is written is in the next read too.
    if (this.#writing !== null || (isFresh && text === this.#written.keys)) return;
    const content = { secret_id: secret.secretId, read_at: readAt.toISOString(), keys: known };
    this.#writing = this.#write(content)
      .then((isWritten) => {
        this.#written = isWritten ? { keys: text, readAtMs } : NOTHING_KNOWN;
      })
      .finally(() => {
        this.#writing = null;
      });
  }

  /** Null where there are none to be trusted: no file, a damaged one, one of another secret or of the future. */
  async read(): Promise<{ readonly keys: readonly StoredKey[]; readonly ageMs: number } | null> {
    const { secret, log } = this.#options;
    try {
      const sealed = await readSealedFile(this.#file, FORMAT, Schema);
      if (sealed === null) return null;
      const { seal, content } = sealed;
      if (!timingSafeEqual(this.#sealOf(content), Buffer.from(seal, 'hex')))
        throw refused('was not written with the HMAC secret of this gateway');
      const ageMs = this.#wallMs() - Date.parse(content.read_at);
      if (!(ageMs >= 0)) throw refused(`was written at ${content.read_at}, which has not come yet`);
      return { keys: content.keys.map((key) => fromKnown(key, secret.secretId)), ageMs };
    } catch (error) {
      log.warn({ err: toSwitchyardError(error) }, 'the keys that were last read here are not used');
      return null;
    }
  }

  /** Resolves when nothing is being written any more. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  /** Whether it was written; else the file may have these keys or those before. */
  async #write(content: Content): Promise<boolean> {
    try {
      await writeSealedFile(this.#file, FORMAT, { seal: this.#sealOf(content).toString('hex'), content });
      this.#isFailing = false;
      return true;
    } catch (error) {
      if (!this.#isFailing)
        this.#options.log.warn(
          { err: toSwitchyardError(error) },
          'the API keys cannot be written down; a boot without the registry would know older ones or none',
        );
      this.#isFailing = true;
      return false;
    }
  }

  #sealOf(content: Content): Buffer {
    return createHmac('sha256', this.#options.secret.secret)
      .update(SEAL_OF)
      .update(JSON.stringify(content))
      .digest();
  }

  #works({ revokedAt, expiresAt }: StoredKey): boolean {
    return revokedAt === null && expiresAt.getTime() > this.#wallMs();
  }
}

const refused = (what: string): SwitchyardError =>
  new SwitchyardError(
    'CORRUPT_SNAPSHOT',
    `known.json ${what}, so no key in it is used; it is written again when the registry can be reached`,
    { details: { file: 'known.json' } },
  );

const toKnown = (key: StoredKey): KnownKey => ({
  key_id: key.keyId,
  hmac: key.hmac.toString('hex'),
  name: key.name,
  role: key.role,
  corpora: [...key.corpora],
  requests_per_s: key.requestsPerS,
  concurrency_max: key.concurrencyMax,
  created_at: key.createdAt.toISOString(),
  expires_at: key.expiresAt.toISOString(),
  replaced_by: key.replacedBy,
});

const fromKnown = (key: KnownKey, secretId: string): StoredKey => ({
  keyId: key.key_id,
  hmac: Buffer.from(key.hmac, 'hex'),
  secretId,
  name: key.name,
  role: key.role,
  corpora: key.corpora,
  requestsPerS: key.requests_per_s,
  concurrencyMax: key.concurrency_max,
  createdAt: new Date(key.created_at),
  expiresAt: new Date(key.expires_at),
  revokedAt: null,
  replacedBy: key.replaced_by,
});
