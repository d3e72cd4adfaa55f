import { rm, stat } from 'node:fs/promises';
import path from 'node:path';
import t from 'tap';
import type { AuthSettings } from '../../src/config/config.js';
import { KeyOperations } from '../../src/gateway/auth/key-operations.js';
import { KeyRing } from '../../src/gateway/auth/key-ring.js';
import { loadKeySecret } from '../../src/gateway/auth/key-secret.js';
import { KeyFollower } from '../../src/gateway/wiring/key-follower.js';
import { KnownKeys } from '../../src/gateway/wiring/known-keys.js';
import { RegistryLink } from '../../src/gateway/wiring/registry-link.js';
import { openRegistry } from '../../src/registry/registry.js';
import { sleep, until } from '../control/yard.js';
import { silentLog, startTestRegistry, temporaryFolder } from '../fixtures/postgres.js';
import { layRegistry } from '../fixtures/registry-template.js';
import { rawSession } from '../registry/registry-fixtures.js';

const refusal = (reason: string) => ({ reason, message: /./ });
const AUTHOR = { actor: 'test', reason: 'a test' };

t.test('keys in the registry', async (t) => {
  const varDir = await temporaryFolder(t);
  await layRegistry(varDir);
  const registry = await startTestRegistry(t, { varDir });
  const settings: AuthSettings = {
    hmacSecret: null,
    hmacSecretFile: path.join(varDir, 'keys', 'hmac-secret'),
    isHmacSecretGiven: false,
    pollIntervalMs: 20_000,
    stalenessMsMax: 60_000,
    observeStalenessMsMax: 60_000,
    requestsPerS: null,
    concurrencyMax: null,
  };
  const keys = new KeyOperations(
    () => registry,
    () => loadKeySecret(settings),
  );
  const create = (part: object = {}) =>
    keys.createKey({
      name: 'shop',
      role: 'search',
      corpora: ['docs'],
      ...AUTHOR,
      ...part,
    });
  const secret = await loadKeySecret(settings);
  t.equal((await stat(settings.hmacSecretFile)).mode & 0o777, 0o600, 'the secret is its user’s alone');
  const raw = await rawSession(t, registry);

  await t.test('nothing that is stored or shown again has the key', async (t) => {
    const { key, key_id } = await create();
    const tables = await raw.query('SELECT * FROM api_keys');
    const audit = await raw.query('SELECT * FROM registry_changes');
    const shown = JSON.stringify([await keys.listKeys(), tables.rows, audit.rows]);
    const secretPart = key.slice(16);
    t.notOk(shown.includes(secretPart));
    t.notOk(JSON.stringify(tables.rows).includes(Buffer.from(secretPart).toString('base64')));
    t.match(audit.rows, [{ actor: 'test', subject: `api_key ${key_id}`, after: { role: 'search' } }]);
  });

  await t.test('what a key may do is never changed, nor an end taken back, by whatever means', async (t) => {
    const { key_id } = await create();
    await keys.revokeKey({ key_id, ...AUTHOR });
    for (const change of [
      "role = 'admin'",
      "corpora = '{}'",
      "key_hmac = decode(repeat('00', 32), 'hex')",
      'revoked_at = NULL',
      "expires_at = expires_at + interval '1 day'",
    ])
      await t.rejects(
        raw.query(`UPDATE api_keys SET ${change} WHERE key_id = $1`, [key_id]),
        { code: '23000' },
        change,
      );
    await t.rejects(raw.query('DELETE FROM api_keys'), { code: '23000' });
    await t.rejects(raw.query('TRUNCATE api_keys CASCADE'), { code: '23000' });
  });

  await t.test('what cannot be is refused', async (t) => {
    for (const part of [
      { name: ' ' },
      { name: 'n'.repeat(129) },
      { role: 'admin' },
      { corpora: ['../etc'] },
      { requests_per_s: 0 },
      { concurrency_max: 1.5 },
      { expires_at: '2001-01-01' },
      { expires_at: '2999-01-01' },
      { expires_at: 'tomorrow' },
      { reason: '' },
    ])
      await t.rejects(create(part), refusal('INVALID_ARGUMENT'), JSON.stringify(part));
    await t.rejects(keys.revokeKey({ key_id: 'nothing', ...AUTHOR }), refusal('UNKNOWN_KEY'));
  });

  const link = new RegistryLink(
    () => openRegistry({ databaseUrl: null, varDir, log: silentLog, applicationName: 'switchyard-test' }),
    silentLog,
  );
  await link.connect();
  const ring = new KeyRing({ ...settings, secret });
  const { stalenessMsMax } = settings;
  const known = new KnownKeys({ varDir, secret, stalenessMsMax, log: silentLog });
  // Polling is far too slow for what follows: the notifications do it.
  const follower = new KeyFollower({ link, ring, known, pollIntervalMs: 600_000, log: silentLog });
  await follower.start();
  t.teardown(async () => {
    await follower.close();
    await link.close();
  });
  const verifies = (key: string): boolean => {
    try {
      return ring.verify(key).keyId !== null;
    } catch {
      return false;
    }
  };

  await t.test('a new key works, a revoked one ends, without a poll', async (t) => {
    const { key, key_id } = await create();
    await until('the key is known', async () => verifies(key), 60_000);
    await keys.revokeKey({ key_id, ...AUTHOR });
    const { tookMs } = await until('the key is refused', async () => !verifies(key), 30_000);
    t.ok(tookMs < 30_000, `${Math.round(tookMs)} ms`);
  });

  await t.test('a rotation is without a gap', async (t) => {
    const before = await create({ requests_per_s: 5 });
    await until('the key is known', async () => verifies(before.key), 60_000);
    const after = await keys.rotateKey({ key_id: before.key_id, overlap_s: 2, ...AUTHOR });
    t.match(after, { role: 'search', corpora: ['docs'], requests_per_s: 5, state: 'valid' });
    t.ok(verifies(before.key), 'the old one goes on');
    await until('the new one works', async () => verifies(after.key), 60_000);
    await until('the old one ends', async () => !verifies(before.key), 60_000);
    t.ok(verifies(after.key));
    await t.rejects(
      keys.rotateKey({ key_id: before.key_id, overlap_s: 1, ...AUTHOR }),
      refusal('STATUS_CONFLICT'),
    );
    const listed = await keys.listKeys();
    t.match(
      listed.find(({ key_id }) => key_id === before.key_id),
      { state: 'expired', replaced_by: after.key_id },
    );
  });

  await t.test('polling finds what no notification told', async (t) => {
    const polled = new KeyRing({ ...settings, secret });
    const poller = new KeyFollower({ link, ring: polled, known, pollIntervalMs: 50, log: silentLog });
    await poller.start();
    t.teardown(() => poller.close());
    const { key } = await create();
    await raw.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '% watch'",
    );
    await until(
      'the key is known',
      async () => {
        try {
          return polled.verify(key) !== null;
        } catch {
          return false;
        }
      },
      60_000,
    );
    t.pass();
  });

  await t.test('without the secret the keys are others', async (t) => {
    await rm(settings.hmacSecretFile);
    const other = await loadKeySecret(settings);
    t.not(other.secretId, secret.secretId);
    const given = { ...settings, isHmacSecretGiven: true, hmacSecretFile: path.join(varDir, 'none') };
    await t.rejects(loadKeySecret(given), {
      reason: 'INVALID_CONFIG',
      message: /none cannot be read \(ENOENT\)/,
    });
    await sleep(0);
  });
});
