import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { processTree } from '../../bench/load/process-cpu.js';
import { startRedis } from '../../bench/rig/redis.js';
import { startGateway } from '../../src/gateway/gateway.js';
import { packageRoot } from '../../src/package-root.js';
import { search, send, urlOf } from '../control/http.js';
import { AUTHOR, CORPUS, makeYard, sleep, until } from '../control/yard.js';
import { silentLog } from '../fixtures/postgres.js';
import { PROMETHEUS_FOLDER, type Sample, startPrometheus } from '../fixtures/prometheus.js';

const DASHBOARDS = path.join(packageRoot(), 'deploy', 'grafana', 'dashboards');
const OPERATIONS = path.join(packageRoot(), 'docs', 'operations.md');
const TLS = path.join(packageRoot(), 'test', 'fixtures', 'tls');

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly id: number;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}
interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly type: string;
      readonly query: string | { readonly query: string };
    }[];
  };
}

const dashboards = readdirSync(DASHBOARDS).map(
  (name) => JSON.parse(readFileSync(path.join(DASHBOARDS, name), 'utf8')) as Dashboard,
);

/** As Grafana fills it in for one job and all corpora. */
const filled = (expression: string): string =>
  expression
    .replaceAll('$job', 'switchyard')
    .replaceAll('$corpus', '.*')
    .replaceAll('$__rate_interval', '1m');

/** Has a value only while a target fails, which then has to be brought about. */
const OF_FAILURES = 'Targets that fail';

const NAME = /\bswitchyard_[a-z0-9_]+/g;
const family = (name: string): string => name.replace(/_(bucket|sum|count)$/, '');

function killEncoders(): void {
  for (const pid of processTree(process.pid)) {
    if (!commandOf(pid).includes('encoder/child-main')) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended while we looked.
    }
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

t.test(
  'every query of every dashboard, and every metric of rules and docs, is there in a live gateway',
  {
    timeout: 300_000,
  },
  async (t) => {
    const yard = await makeYard(t);
    const redis = await startRedis(t);
    // Before the gateway: it looks at deadlines when it starts, and then once a minute.
    await yard.registry.consumers.add(
      {
        serviceName: 'shop',
        corpus: CORPUS,
        version: 'v1',
        teamOwner: 'shop',
        migrationDeadline: new Date(Date.now() + 86_400_000),
      },
      AUTHOR,
    );
    const plain = yard.config();
    const gateway = await startGateway(
      {
        ...plain,
        cache: {
          ...plain.cache,
          redis: { url: redis.url, keyPrefix: 'd:', timeoutMs: 1_000, connectTimeoutMs: 1_000 },
        },
        // One listener with everything that listeners can have, which no query needs.
        listen: {
          ...plain.listen,
          adminGrpc: {
            ...plain.listen.adminGrpc,
            auth: 'keys',
            tls: {
              certFile: path.join(TLS, 'server-one.crt'),
              keyFile: path.join(TLS, 'server-one.key'),
              clientCaFile: null,
            },
          },
        },
        tracing: { enabled: true, sampleBps: 10_000, tracesPerSMax: 1 },
        ejection: {
          ...plain.ejection,
          breaker: { ...plain.ejection.breaker, failuresToOpen: 1, openMsFirst: 5_000 },
        },
      },
      silentLog,
    );
    t.teardown(() => gateway.close());
    const http = urlOf(gateway.addresses.http);
    const prometheus = await startPrometheus(t, [`127.0.0.1:${gateway.addresses.adminHttp.port}`]);

    // Holds the new version as a shadow for longer than this test lasts.
    const begun = await send(`${urlOf(gateway.addresses.adminHttp)}/v1/migrations/${CORPUS}`, 'POST', {
      to_version: 'v2',
      reason: 'a migration to look at',
      plan: JSON.stringify({
        steps: [
          { verify: {} },
          { shadow: { duration_s: 3_600 } },
          { analysis: { shadow: {} } },
          { set_weight: { weight: 10_000 } },
          { complete: {} },
        ],
      }),
    });
    t.equal(begun.status, 200, JSON.stringify(begun.body));

    let isOver = false;
    let round = 0;
    const load = (async () => {
      while (!isOver) {
        round++;
        await search(http, { text: `a striped cat ${round}`, bypass_cache: false });
        await search(http, { text: 'a bird', bypass_cache: false });
        await search(http, { text: 'a bird', corpus_version: 'v1' });
        await search(http, { text: 'a bird', corpus: 'nowhere' });
        const vector = Array.from({ length: 384 }, (_, at) => Math.sin(at + round));
        await search(http, { text: undefined, vector, model: yard.fp16.manifest.fingerprint });
        // Of which one item is beyond a limit.
        const requests = [3, 1_000_000].map((top_k) => ({ corpus: CORPUS, text: 'a bird', top_k }));
        await send(`${http}/v1/search:batch`, 'POST', { requests });
        await send(`${http}/v1/embed`, 'POST', { model: yard.fp16.manifest.fingerprint, text: `${round}` });
        await sleep(20);
      }
    })();

    const isNumber = ({ value }: Sample): boolean => Number.isFinite(Number(value[1]));
    const wanted = new Map<string, string>();
    const ofFailures = new Set<string>();
    for (const { title, panels } of dashboards)
      for (const panel of panels)
        for (const { expr } of panel.targets ?? []) {
          wanted.set(filled(expr), `${title}: ${panel.title}`);
          if (panel.title === OF_FAILURES) ofFailures.add(filled(expr));
        }
    t.ok(wanted.size > 60, `${wanted.size} queries`);
    // What the variables offer is asked for as Grafana does: the values that one label of some series has.
    const offers = new Map<string, string>();
    for (const { title, templating } of dashboards)
      for (const { name, type, query } of templating.list.filter((one) => one.type === 'query')) {
        const asked = typeof query === 'string' ? query : query.query;
        const [, series, label] = /^label_values\((.+), (\w+)\)$/.exec(asked) ?? [];
        if (series === undefined || label === undefined)
          t.fail(`${title}: ${name}, a ${type}, asks ${asked}`);
        else
          offers.set(
            filled(`count by (${label}) (${series.replaceAll(`$${name}`, '.*')}{${label}!=""})`),
            name,
          );
      }
    t.same([...new Set(offers.values())].sort(), ['corpus', 'job']);
    for (const [expression, name] of offers) wanted.set(expression, `the variable ${name}`);
    const empty = new Map(wanted);
    await until(
      'every query has a value',
      async () => {
        for (const expression of empty.keys())
          if ((await prometheus.query(expression)).some(isNumber)) empty.delete(expression);
        // Last, since nothing else works beside it: its encoder dies, again and again.
        if ([...empty.keys()].every((expression) => ofFailures.has(expression))) killEncoders();
        return empty.size === 0;
      },
      120_000,
    ).catch(() => undefined);
    t.same([...empty], [], 'no query of a dashboard stays without a value');

    const text = await (await fetch(`${urlOf(gateway.addresses.adminHttp)}/metrics`)).text();
    isOver = true;
    await load;
    const live = new Set([...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name as string));
    const labels = new Map<string, Set<string>>();
    for (const [, name, inside] of text.matchAll(/^(switchyard_\w+)\{(.*)\} /gm)) {
      const known = labels.get(family(name as string)) ?? new Set(['job', 'instance']);
      for (const [, label] of (inside as string).matchAll(/(\w+)="/g)) known.add(label as string);
      labels.set(family(name as string), known);
    }

    // An increase is seen from nought only.
    for (const series of [
      'switchyard_mispairings_refused_total{kind="embed"} 0',
      'switchyard_cache_errors_total{layer="redis",kind="result",why="invalid_key"} 0',
    ])
      t.ok(text.includes(`${series}\n`), series);

    t.ok(ofFailures.size > 0);

    t.test('rules', async (t) => {
      const loaded = await prometheus.rules();
      for (const file of ['alerts.rules.yml', 'recording.rules.yml']) {
        const { groups } = parse(readFileSync(path.join(PROMETHEUS_FOLDER, file), 'utf8')) as {
          groups: { rules: { expr: string; record?: string; alert?: string }[] }[];
        };
        for (const { expr, record, alert } of groups.flatMap(({ rules }) => rules)) {
          const name = record ?? alert ?? '';
          t.ok(loaded.includes(name), `${name} is loaded`);
          for (const [metric] of expr.matchAll(NAME))
            t.ok(live.has(family(metric)) || live.has(metric), metric);
          for (const [, metric, inside] of expr.matchAll(/(switchyard_[a-z0-9_]+)\{([^}]*)\}/g))
            for (const [, label] of (inside as string).matchAll(/(\w+)\s*[=!]/g))
              t.ok(labels.get(family(metric as string))?.has(label as string), `${metric} has ${label}`);
          await prometheus.query(expr);
        }
      }
    });

    t.test('docs/operations.md names metrics that there are, and all of them', (t) => {
      const documented = new Set<string>();
      for (const [, code] of readFileSync(OPERATIONS, 'utf8').matchAll(/`(switchyard_[^`]+)`/g))
        for (const name of expanded(code as string)) documented.add(name);
      t.same(
        [...documented].filter((name) => !live.has(name) && !live.has(family(name)) && !isFamily(name, live)),
        [],
        'nothing is documented that does not exist',
      );
      const own = [...live].filter((name) => !/^switchyard_(process|nodejs)_/.test(name));
      t.same(
        own.filter(
          (name) => !documented.has(name) && ![...documented].some((given) => isPrefix(given, name)),
        ),
        [],
        'nothing exists that is not documented',
      );
      t.end();
    });

    t.test('labels have few values', (t) => {
      const series = text.split('\n').filter((line) => line.startsWith('switchyard_')).length;
      t.ok(series < 3_000, `${series} series after ${round} rounds of different texts`);
      t.notOk(text.includes('striped'), 'no text is a label');
      t.end();
    });
  },
);

/** `switchyard_a_{b,c}_total{label}` → switchyard_a_b_total, switchyard_a_c_total; `…_*` stays a prefix. */
function expanded(code: string): string[] {
  const bare = code.replace(
    /\{[a-z_]+(?:\s*[=!~]+\s*"[^"]*")?(?:,\s*[a-z_]+(?:\s*[=!~]+\s*"[^"]*")?)*\}$/,
    '',
  );
  const braces = /^(.*?)\{([^}]*)\}(.*)$/.exec(bare);
  if (braces === null) return [bare.split(/[\s{]/)[0] ?? ''];
  const [, before, inside, after] = braces;
  return (inside ?? '').split(',').flatMap((part) => expanded(`${before}${part}${after}`));
}

const isPrefix = (given: string, name: string): boolean =>
  given.endsWith('*') && name.startsWith(given.slice(0, -1));
const isFamily = (given: string, live: ReadonlySet<string>): boolean =>
  [...live].some((name) => isPrefix(given, name));

t.test('dashboards are whole', (t) => {
  t.same(dashboards.map(({ uid }) => uid).sort(), [
    'switchyard-control',
    'switchyard-engines',
    'switchyard-serving',
    'switchyard-shadows',
  ]);
  for (const { title, panels } of dashboards) {
    t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, `${title}: ids`);
    for (const panel of panels)
      if (panel.type !== 'row') t.ok((panel.targets?.length ?? 0) > 0, `${title}: ${panel.title}`);
  }
  t.end();
});
