import { type Kysely, type Migration, sql } from 'kysely';

/** API keys: of each only an HMAC. What a key may do never changes; it ends by expiring or by being revoked. */
export const apiKeys: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await sql`
      CREATE TABLE api_keys (
        key_id          VARCHAR(12) PRIMARY KEY,
        name            VARCHAR(128) NOT NULL,
        role            VARCHAR(16) NOT NULL,
        corpora         TEXT[] NOT NULL, -- empty: all
        key_hmac        BYTEA NOT NULL,
        hmac_secret_id  VARCHAR(16) NOT NULL,
        requests_per_s  INTEGER, -- null: the gateway's default
        concurrency_max INTEGER,
        created_at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
        expires_at      TIMESTAMPTZ NOT NULL,
        revoked_at      TIMESTAMPTZ,
        replaced_by     VARCHAR(12) REFERENCES api_keys (key_id),
        CONSTRAINT api_keys_id_form CHECK (key_id ~ '^[0-9a-z]{12}$'),
        CONSTRAINT api_keys_name_given CHECK (btrim(name) <> ''),
        CONSTRAINT api_keys_role_known CHECK (role IN ('search', 'operator', 'admin')),
        CONSTRAINT api_keys_corpora_of_search CHECK (role = 'search' OR cardinality(corpora) = 0),
        CONSTRAINT api_keys_hmac_form CHECK (octet_length(key_hmac) = 32),
        CONSTRAINT api_keys_quota_positive CHECK (requests_per_s > 0 AND concurrency_max > 0)
      );

      CREATE FUNCTION switchyard_key_rules() RETURNS TRIGGER LANGUAGE plpgsql AS $f$
      BEGIN
        IF TG_OP = 'DELETE' THEN
          PERFORM switchyard_refuse('key_kept', 'a key is revoked, never deleted');
        END IF;
        IF TG_OP = 'UPDATE' THEN
          IF (NEW.key_id, NEW.name, NEW.role, NEW.corpora, NEW.key_hmac, NEW.hmac_secret_id, NEW.requests_per_s,
              NEW.concurrency_max, NEW.created_at)
             IS DISTINCT FROM
             (OLD.key_id, OLD.name, OLD.role, OLD.corpora, OLD.key_hmac, OLD.hmac_secret_id, OLD.requests_per_s,
              OLD.concurrency_max, OLD.created_at) THEN
            PERFORM switchyard_refuse('key_fixed', 'what a key may do never changes');
          END IF;
          IF NEW.expires_at > OLD.expires_at OR (OLD.revoked_at IS NOT NULL AND NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
            PERFORM switchyard_refuse('key_ends', 'a key that ends does not come back');
          END IF;
        END IF;
        PERFORM pg_notify('switchyard_registry', json_build_object('kind', 'api_keys')::TEXT);
        RETURN NEW;
      END $f$;
      CREATE TRIGGER api_keys_rules BEFORE INSERT OR UPDATE OR DELETE ON api_keys
        FOR EACH ROW EXECUTE FUNCTION switchyard_key_rules();
      CREATE TRIGGER api_keys_kept BEFORE TRUNCATE ON api_keys
        FOR EACH STATEMENT EXECUTE FUNCTION switchyard_never('key_kept');
    `.execute(db);
  },
};
