import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.js';
import { SwitchyardError } from '../../src/errors.js';
import { packageRoot } from '../../src/package-root.js';

const bare = { file: null, env: {}, cwd: '/nowhere', overrides: {} };

function refusal(load: () => unknown): SwitchyardError {
  try {
    load();
  } catch (error) {
    if (error instanceof SwitchyardError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

t.test('the shipped file says the same as the defaults', async (t) => {
  const shipped = loadConfig({ ...bare, file: path.join(packageRoot(), 'config', 'switchyard.yaml') });
  t.same(shipped, loadConfig(bare));
});

t.test('the command line wins over the environment, and the environment over the file', async (t) => {
  const folder = t.testdir({
    'c.yaml': 'listen: { http: { port: 1111 }, grpc: { port: 2222 } }\nsearch: { workers: 3 }\n',
  });
  const config = loadConfig({
    file: path.join(folder, 'c.yaml'),
    cwd: folder,
    env: {
      SWITCHYARD_LISTEN__GRPC__PORT: '3333',
      SWITCHYARD_ENCODER__PROVIDERS: 'cuda:1, cpu',
      SWITCHYARD_ENCODER__ACCELERATOR__BATCH_TEXTS: '1, 24',
      SWITCHYARD_ENCODER__REQUIRE: 'true',
      DATABASE_URL: 'postgresql://db/switchyard',
    },
    overrides: { 'listen.http.port': 4444 },
  });
  t.equal(config.listen.http.port, 4444);
  t.equal(config.listen.grpc.port, 3333);
  t.equal(config.search.workers, 3);
  t.same(config.encoder.providers, ['cuda:1', 'cpu']);
  t.same(config.encoder.accelerator.batchTexts, [1, 24]);
  t.equal(config.encoder.require, true);
  t.equal(config.databaseUrl, 'postgresql://db/switchyard');
});

t.test('no file of the folder of bad ones boots, and each says which setting is wrong', async (t) => {
  const folder = path.join(packageRoot(), 'test', 'config', 'bad');
  const files = readdirSync(folder);
  t.ok(files.length >= 8);
  for (const name of files) {
    const file = path.join(folder, name);
    const expected = /^# expect: (.*)$/m.exec(readFileSync(file, 'utf8'))?.[1];
    t.ok(expected, `${name} says what it expects`);
    const error = refusal(() => loadConfig({ ...bare, file }));
    t.equal(error.reason, 'INVALID_CONFIG', name);
    t.ok(error.message.includes(expected as string), `${name}: ${error.message}`);
  }
});

t.test('an unknown environment setting, a missing file and a prototype key are refused', async (t) => {
  t.match(
    refusal(() => loadConfig({ ...bare, env: { SWITCHYARD_LISTEN__HTPP__PORT: '1' } })).message,
    /listen\.htpp/,
  );
  t.match(refusal(() => loadConfig({ ...bare, file: 'absent.yaml' })).message, /does not exist/);
  refusal(() => loadConfig({ ...bare, overrides: { '__proto__.polluted': 'yes' } }));
  t.notOk('polluted' in {});
});

t.test('a message about the database never repeats its password', async (t) => {
  const folder = t.testdir({});
  const file = path.join(folder, 'c.yaml');
  writeFileSync(file, 'database_url: postgresql://u:hunter2@h/d\nsearch: { workers: -1 }\n');
  t.notMatch(refusal(() => loadConfig({ ...bare, file })).message, /hunter2/);
});

t.test('a message about Redis or the secret never repeats them', async (t) => {
  for (const env of [
    { SWITCHYARD_CACHE__REDIS__URL: 'http://u:hunter2@h' },
    { SWITCHYARD_CACHE__REDIS__URL: 'redis://u:hunter2@h:port' },
    { SWITCHYARD_CACHE__SECRET: 'hunter2' },
  ]) {
    const { reason, message } = refusal(() => loadConfig({ ...bare, env }));
    t.equal(reason, 'INVALID_CONFIG');
    t.match(message, /cache\.(redis\.url must be|secret has 7 characters)/);
    t.notMatch(message, /hunter2/);
  }
  const url = 'rediss://u:p@h:6380/1';
  t.equal(loadConfig({ ...bare, env: { SWITCHYARD_CACHE__REDIS__URL: url } }).cache.redis?.url, url);
});

t.test('every setting of the schema stands in the shipped file', async (t) => {
  const shipped = parse(
    readFileSync(path.join(packageRoot(), 'config', 'switchyard.yaml'), 'utf8'),
  ) as object;
  const { ConfigFileSchema } = await import('../../src/config/schema.js');
  t.same(Object.keys(shipped).sort(), Object.keys(ConfigFileSchema.properties).sort());
});
