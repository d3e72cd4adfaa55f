import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { inspect } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.js';
import { ConfigFileSchema } from '../../src/config/schema.js';
import { SwitchyardError } from '../../src/errors.js';
import { assertGuarded } from '../../src/gateway/bind.js';
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
    /listen\.\(a name that no setting has; did you mean http\?\)/,
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

const SECRET = 'hunter2/0123456789abcdef+0123456789abcdef';

t.test(
  'a file that is not written right never has its secrets told, only where and what is wrong',
  async (t) => {
    const file = path.join(t.testdir({}), 'c.yaml');
    const cases: readonly (readonly [string, RegExp])[] = [
      [`auth: { hmac_secret: "${SECRET}\nlog: { level: info }\n`, /line 3, column 1: a quote.*MISSING_CHAR/],
      [`auth:\n  hmac_secret: '${SECRET}`, /MISSING_CHAR/],
      [
        `database_url: postgresql://u: ${SECRET}@h/d\n`,
        /line 1, column 15: a value that holds a colon and a space/,
      ],
      [`cache:\n  secret: @${SECRET}\n`, /line 2, column 11: .*begins with @/],
      [`cache:\n  secret: !${SECRET}\n`, /line 2, column 11: .*begins with !/],
      [`cache: { secret: !${SECRET} x }\n`, /begins with !/],
      [`cache:\n  secret: *${SECRET}\n`, /begins with \*/],
      [`cache:\n  secret: |${SECRET}\n`, /line 2, column 12: .*UNEXPECTED_TOKEN/],
      [`cache:\n  secret: "a" ${SECRET}\n`, /UNEXPECTED_TOKEN/],
      [`cache:\n  secret: "\\${SECRET}"\n`, /backslash/],
      [`%${SECRET}\n---\nvar_dir: var\n`, /must not begin with %/],
      [`database_url ${SECRET}\nvar_dir: var\n`, /a colon is missing/],
      [`auth: { hmac_secret "${SECRET}" }\n`, /auth\.\(a name that no setting has\): Unexpected/],
      [`${SECRET}: 1\n`, /^\(a name that no setting has\)/],
      [`? { ${SECRET}: 1 }\n: 2\n`, /a name that no setting has/],
      [
        `auth: { hmac_secret: { ${SECRET}: 1 } }\n`,
        /^auth\.hmac_secret: must be one of null, a text of 32 to 1024 characters$/,
      ],
      [
        `cache: { secret: [${SECRET}] }\n`,
        /^cache\.secret: must be one of null, a text of 1 or more characters$/,
      ],
      [`${SECRET}\n`, /must be a mapping of settings/],
      [`auth: &a [ *a, ${SECRET} ]\n`, /refers to nothing, to too much or to itself/],
    ];
    const warnings: unknown[] = [];
    const heard = (warning: unknown): void => void warnings.push(warning);
    process.on('warning', heard);
    t.teardown(() => process.off('warning', heard));
    for (const [text, says] of cases) {
      writeFileSync(file, text);
      const error = refusal(() => loadConfig({ ...bare, file }));
      t.equal(error.reason, 'INVALID_CONFIG', text);
      t.match(error.message, says, text);
      const told = inspect(error, { depth: null });
      for (const part of [SECRET, 'hunter2', '0123456789abcdef']) t.notMatch(told, part, text);
    }
    await new Promise((resolve) => setImmediate(resolve));
    t.same(warnings, [], 'nor does the library warn of anything by itself');
  },
);

const CACHE = ConfigFileSchema.properties.cache.properties;
/** Of every setting and every group of them. */
const NAMES = new Set(
  [...JSON.stringify(ConfigFileSchema).matchAll(/"([a-z0-9_]+)":\{/g)].map(([, name]) => name as string),
);

t.test('a name that no setting has is never told, whatever it is; what it is nearly is', async (t) => {
  const folder = t.testdir({});
  const messageOf = (text: string): string => {
    const file = path.join(folder, 'c.yaml');
    writeFileSync(file, text);
    return refusal(() => loadConfig({ ...bare, file })).message;
  };
  const tail = ': Unexpected property; docs/operations.md lists the settings';
  const unknown = '(a name that no setting has)';
  const like = (name: string): string => `(a name that no setting has; did you mean ${name}?)`;
  for (const [text, place] of [
    ['cache: { hunter2 }\n', `cache.${unknown}`],
    ['cache: { secret: null, hunter2 }\n', `cache.${unknown}`],
    ['cache:\n  redis:\n    hunter2:\n', `cache.redis.${unknown}`],
    ['hunter2:\n', unknown],
    ['encoder: { accelerator: { hunter2: [1] } }\n', `encoder.accelerator.${unknown}`],
    ['cache: { secret_2 }\n', `cache.${like('secret')}`],
    ['shutdown: { drain-ms: 10 }\n', `shutdown.${like('drain_ms')}`],
    ['shutdown: { drainMs: 10 }\n', `shutdown.${like('drain_ms')}`],
    ['listen: { http: { prot: 1 } }\n', `listen.http.${unknown}`],
    ['listen: { http: { ports: 1 } }\n', `listen.http.${like('port')}`],
    ['drain_ms: 10\n', 'drain_ms'],
    ['overload: { constructor: 1 }\n', `overload.${unknown}`],
  ] as const) {
    const message = messageOf(text);
    t.equal(message, `${place}${tail}`, text);
    t.notMatch(message, /hunter2|secret_2/);
  }
  const names = fc.stringMatching(/^[a-z][a-z0-9_]{0,30}$/).filter((name) => !(name in CACHE));
  fc.assert(
    fc.property(names, (name) => {
      const said = messageOf(`cache: { ${JSON.stringify(name)}: 1 }\n`);
      const shown = [unknown, ...Object.keys(CACHE).map(like)].map((part) => `cache.${part}${tail}`);
      return shown.includes(said) || (NAMES.has(name) && said === `cache.${name}${tail}`);
    }),
    { numRuns: 300 },
  );
});

t.test('what one listener has may be said for the next by reference', async (t) => {
  const folder = t.testdir({
    'c.yaml': 'listen:\n  grpc: { port: 0, auth: &auth keys }\n  http: { port: 0, auth: *auth }\n',
  });
  const { listen } = loadConfig({ ...bare, file: path.join(folder, 'c.yaml') });
  t.same([listen.grpc.auth, listen.http.auth, listen.adminHttp.auth], ['keys', 'keys', 'off']);
});

t.test('localhost is 127.0.0.1 for every listener, and no other name is an address', async (t) => {
  for (const host of ['localhost', 'LocalHost', 'localhost.']) {
    const names = ['grpc', 'http', 'admin_http', 'admin_grpc'];
    const overrides = Object.fromEntries(names.map((name) => [`listen.${name}.host`, host]));
    const { listen } = loadConfig({ ...bare, overrides });
    for (const listener of Object.values(listen)) t.equal(listener.host, '127.0.0.1');
  }
  const both = { 'listen.http.host': 'localhost', 'listen.http.port': 7000, 'listen.grpc.port': 7000 };
  t.match(
    refusal(() => loadConfig({ ...bare, overrides: both })).message,
    /listen\.http and listen\.grpc are both 127\.0\.0\.1:7000/,
  );
  const bound = { port: 0, auth: 'off', tls: null, allowPlaintext: false } as const;
  for (const host of ['127.0.0.1', '127.8.9.10', '::1'])
    t.doesNotThrow(() => assertGuarded('http', { ...bound, host }));
  for (const host of [
    'localhost',
    'localhost.example.org',
    '127.0.0.1.example.org',
    '127.1',
    '0.0.0.0',
    '::',
  ])
    t.throws(
      () => assertGuarded('http', { ...bound, host }),
      { message: /can be reached from other machines/ },
      host,
    );
});

t.test('every setting of the schema stands in the shipped file', async (t) => {
  const shipped = parse(
    readFileSync(path.join(packageRoot(), 'config', 'switchyard.yaml'), 'utf8'),
  ) as object;
  const { ConfigFileSchema } = await import('../../src/config/schema.js');
  t.same(Object.keys(shipped).sort(), Object.keys(ConfigFileSchema.properties).sort());
});
