import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { parse } from 'yaml';
import { createProgram } from '../../src/cli/program.js';
import { REASONS } from '../../src/errors.js';
import { OWN_FAILURES } from '../../src/gateway/requests.js';
import { packageRoot } from '../../src/package-root.js';
import { PROMETHEUS_FOLDER, promtool } from '../fixtures/prometheus.js';

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook: string };
}
interface Scrapes {
  readonly scrape_configs: readonly [
    { readonly job_name: string; readonly kubernetes_sd_configs: unknown; readonly [other: string]: unknown },
  ];
}
interface Case {
  readonly alert_rule_test?: readonly {
    readonly alertname: string;
    readonly exp_alerts: readonly unknown[];
  }[];
}

const read = (...parts: string[]): string => readFileSync(path.join(...parts), 'utf8');
const { groups } = parse(read(PROMETHEUS_FOLDER, 'alerts.rules.yml')) as {
  groups: readonly { readonly rules: readonly Alert[] }[];
};
const alerts = groups.flatMap(({ rules }) => rules);
const operations = read(packageRoot(), 'docs', 'operations.md');

t.test('promtool accepts the rules', async (t) => {
  const said = await promtool('check', 'rules', 'alerts.rules.yml', 'recording.rules.yml');
  t.match(said, new RegExp(`SUCCESS: ${alerts.length} rules found`));
  const isRight = async (file: string) =>
    t.match(await promtool('check', 'config', '--syntax-only', file), /SUCCESS/);
  await isRight('prometheus.yml');
  // Debian's promtool is built without Kubernetes; everything else of that file it can check.
  const { scrape_configs } = parse(
    read(packageRoot(), 'deploy', 'kubernetes', 'prometheus-scrape.yaml'),
  ) as Scrapes;
  const [{ kubernetes_sd_configs, ...scrape }] = scrape_configs;
  t.same(kubernetes_sd_configs, [
    { role: 'pod', selectors: [{ role: 'pod', label: 'app.kubernetes.io/name=switchyard' }] },
  ]);
  t.equal(scrape.job_name, 'switchyard', 'as rules and dashboards ask');
  const file = path.join(t.testdir({}), 'prometheus.yml');
  writeFileSync(
    file,
    JSON.stringify({ scrape_configs: [{ ...scrape, static_configs: [{ targets: ['gateway:8081'] }] }] }),
  );
  await isRight(file);
});

t.test('no rule and no panel names a bucket: Prometheus 2 calls it 1 and Prometheus 3 calls it 1.0', (t) => {
  const deploy = path.join(packageRoot(), 'deploy');
  const files = readdirSync(deploy, { recursive: true, encoding: 'utf8' }).filter(
    (name) => /\.(ya?ml|json)$/.test(name) && !name.includes('tests'),
  );
  const names = /\ble\s*(=~|!~|!=|=)\s*\\*["'`]/;
  t.match('rate(a_bucket{rpc="search", le="1"}[5m])', names);
  t.match(JSON.stringify('rate(a_bucket{le=~"1|5"}[5m])'), names);
  for (const kind of ['prometheus/alerts.rules.yml', 'grafana/dashboards/switchyard-serving.json'])
    t.ok(files.includes(path.normalize(kind)), kind);
  for (const name of files) t.notMatch(read(deploy, name), names, name);
  t.end();
});

t.test('what the recorded ratios of failures count is what a gateway shows at nought', (t) => {
  const rules = read(PROMETHEUS_FOLDER, 'recording.rules.yml');
  const patterns = [...rules.matchAll(/reason=~"([^"]+)"/g)].map(([, pattern]) => pattern as string);
  t.equal(patterns.length, 4, 'above and below the line, of requests and of items');
  for (const pattern of patterns) {
    const counts = new RegExp(`^(${pattern})$`);
    const counted = Object.keys(REASONS).filter((reason) => counts.test(reason));
    t.same(new Set(counted), new Set(OWN_FAILURES), pattern);
  }
  t.end();
});

t.test('every alert fires on what it is for and is quiet on what is near it', async (t) => {
  t.match(await promtool('test', 'rules', path.join('tests', 'alerts.test.yml')), /SUCCESS/);
  const { tests } = parse(read(PROMETHEUS_FOLDER, 'tests', 'alerts.test.yml')) as { tests: readonly Case[] };
  const cases = tests.flatMap((one) => one.alert_rule_test ?? []);
  for (const { alert } of alerts) {
    const fires = cases
      .filter(({ alertname }) => alertname === alert)
      .map((one) => one.exp_alerts.length > 0);
    t.same(new Set(fires), new Set([true, false]), `${alert} is tested both ways`);
  }
});

t.test('every alert has a runbook that names its metric, the likely causes and a command', (t) => {
  const runbooks = new Map(
    operations
      .split(/^#{2,3} /m)
      .filter((part) => part.startsWith('Switchyard'))
      .map((part) => [part.split('\n', 1)[0] as string, part]),
  );
  t.same([...runbooks.keys()].sort(), alerts.map(({ alert }) => alert).sort());
  for (const { alert, expr, labels, annotations } of alerts) {
    const text = runbooks.get(alert) ?? '';
    const names = expr.match(/switchyard[_:][a-z0-9_:]+|\bup\b/g) ?? [];
    t.ok(
      names.some((name) => text.includes(name.replace(/_(bucket|sum|count)$/, ''))),
      `${alert}: the metric`,
    );
    t.match(text, /\*\*Likely causes\.\*\*/, `${alert}: causes`);
    t.match(text, /^```sh\n[a-z]/m, `${alert}: a command`);
    t.match(labels.severity, /^(critical|warning)$/);
    t.equal(annotations.runbook, `docs/operations.md#${alert.toLowerCase()}`);
  }
  t.end();
});

t.test('every command of the docs is one that there is, with its options', async (t) => {
  const lines = [...operations.matchAll(/^```sh\n([\s\S]*?)^```/gm)]
    .flatMap(([, block]) => (block as string).split(/\n|; /))
    .map((line) => line.replace(/\s#.*$/, '').replace(/"[^"]*"/g, 'quoted'))
    .flatMap((line) => {
      const [, rest] = /^(?:[A-Z_]+=\S+ )*switchyard (.*)$/.exec(line) ?? [];
      return rest === undefined ? [] : [rest.trim().split(/\s+/)];
    });
  t.ok(lines.length > 40, `${lines.length} commands`);
  for (const words of lines) {
    const program = await createProgram(words);
    let command = program;
    const options = [...program.options];
    for (const word of words) {
      const next = command.commands.find((known) => known.name() === word);
      if (next === undefined) break;
      command = next;
      options.push(...next.options);
    }
    // `eval` is a command with an action of its own and has others below it.
    options.push(...command.commands.flatMap((below) => below.options));
    t.not(command, program, `switchyard ${words.join(' ')}`);
    for (const word of words.filter((one) => one.startsWith('--')))
      t.ok(
        options.some(({ long }) => long === word.split('=')[0]),
        `switchyard ${words.join(' ')}: ${word}`,
      );
  }
  t.end();
});
