import { readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { readSecretFile } from '../../src/gateway/wiring/secret-file.js';

t.test('a secret is made once for all who ask at the same time, and nobody else can read it', async (t) => {
  const file = path.join(t.testdir({}), 'cache', 'secret');
  const secrets = await Promise.all(Array.from({ length: 8 }, () => readSecretFile(file)));
  t.equal(new Set(secrets.map((secret) => Buffer.from(secret).toString('hex'))).size, 1);
  const { mode, size } = statSync(file);
  t.same([mode & 0o777, size], [0o600, 32]);
  t.same(readdirSync(path.dirname(file)), ['secret'], 'nothing is left beside it');
  t.same(await readSecretFile(file), secrets[0]);
});

t.test('a file that is no secret is refused by name', async (t) => {
  const file = path.join(t.testdir({}), 'secret');
  writeFileSync(file, 'short');
  await t.rejects(readSecretFile(file), {
    reason: 'INVALID_CONFIG',
    message: /has 5 bytes and is no secret of 32/,
  });
});
