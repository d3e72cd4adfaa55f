import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { Checker } from '../bench/judge/checker.js';
import { type Surroundings, surroundings } from '../bench/report.js';
import { GatewayClient } from '../src/cli/gateway-client.js';
import { addCommonOptions, type CommonOptions, commandConfig, positiveInteger } from '../src/cli/options.js';
import { reportFailure, table } from '../src/cli/output.js';
import type { Config } from '../src/config/config.js';
import { loadModelFolder } from '../src/encoder/model-folder.js';
import type { MigrationEventView, MigrationView } from '../src/gateway/admin/migration-views.js';
import { findBundleFolder } from '../src/index/bundle-folder.js';
import { readBundle } from '../src/index/read-bundle.js';
import { sourcesFolder } from '../src/lifecycle/source/sources-folder.js';
import { openRegistry, type Registry } from '../src/registry/registry.js';
import { createLogger, type Logger } from '../src/telemetry/log.js';
import { CheckedLoad } from './load.js';
import {
  CORPUS,
  prepareModel,
  prepareTexts,
  prepareVersion,
  SOURCE,
  type Texts,
  VERSIONS,
  type VersionName,
} from './migration-corpus.js';
import { demoPlan } from './migration-plan.js';
import { say } from './say.js';
import { Pulses, runCommand, type ServingGateway, startServing } from './serving.js';

const TOP_K = 5;
const CALLERS = 4;
const REQUESTS_PER_S = 20;
/** So many example sentences are needed to tell equivalence within 0.02 from luck. */
const WHOLE: Choices = {
  files: ['noun.animal', 'noun.artifact', 'noun.cognition', 'noun.food'],
  documentsMax: 3_000,
  only: [],
};
/** A hundred tell a clear loss, in less than a minute: the migration that a gate refuses. */
const SMOKE: Choices = { files: ['noun.animal', 'noun.food'], documentsMax: 300, only: ['2'] };

interface Scenario {
  readonly name: string;
  readonly from: VersionName;
  readonly to: VersionName;
  /** Weight of the new version, basis points, at which its encoder becomes slow. */
  readonly slowAtBps?: number;
  /** How it must end, and what the golden set must say. */
  readonly expected: { readonly outcome: string; readonly quality: string };
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'USE-lite → MiniLM',
    from: 'use',
    to: 'minilm',
    expected: { outcome: 'completed', quality: 'better' },
  },
  {
    name: 'MiniLM → USE-lite',
    from: 'minilm',
    to: 'use',
    expected: { outcome: 'refused', quality: 'worse' },
  },
  {
    name: 'MiniLM fp16 → int8',
    from: 'minilm',
    to: 'int8',
    expected: { outcome: 'completed', quality: 'equivalent' },
  },
  {
    name: 'USE-lite → MiniLM, slow from 50 % on',
    from: 'use',
    to: 'minilm',
    slowAtBps: 5_000,
    expected: { outcome: 'aborted', quality: 'better' },
  },
];

interface Result {
  readonly name: string;
  /** refused: by a gate, before it got any weight. */
  readonly outcome: string;
  /** Verdict of the last look at the golden set; null where there was none. */
  readonly quality: string | null;
  /** The outcome and the quality are those that this migration must have, and no request failed or was mispaired. */
  readonly is_as_expected: boolean;
  readonly failed_requests: number;
  readonly mispaired_responses: number;
  readonly rollback_ms: number | null;
  readonly why: string | null;
  /** Answers by version, all checked. */
  readonly answered: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
  /** The page that shows why. */
  readonly report: string;
  readonly took_s: number;
  /** Where, with what and on what it was measured. */
  readonly run: Run;
}

interface Run extends Surroundings {
  readonly documents: number;
  readonly questions: number;
}

async function demo(config: Config, log: Logger, choices: Choices): Promise<readonly Result[]> {
  const folder = path.join(config.varDir, 'demo');
  const sources = sourcesFolder(config.varDir);
  for (const each of [folder, sources]) mkdirSync(each, { recursive: true });
  const registry = await openRegistry({
    databaseUrl: config.databaseUrl,
    varDir: config.varDir,
    log,
    applicationName: 'switchyard-demo',
  });
  let gateway: ServingGateway | null = null;
  try {
    const { ids, queries, questions, sourceFile } = await prepareTexts(sources, folder, registry, choices);
    const run = { ...surroundings(), documents: ids.length, questions };
    const { only } = choices;
    const scenarios = SCENARIOS.map((scenario, at) => ({ number: at + 1, scenario })).filter(
      ({ number }) => only.length === 0 || only.includes(String(number)),
    );
    for (const name of new Set(scenarios.flatMap(({ scenario: { from, to } }) => [from, to])))
      await prepareModel(name, config, registry);
    // What a migration starts from is there before it, unless a migration before it embeds it.
    const embedded = new Set<VersionName>();
    for (const { from, to } of scenarios.map(({ scenario }) => scenario)) {
      if (!embedded.has(from)) await prepareVersion(from, sourceFile, config, registry, log);
      embedded.add(from).add(to);
    }
    const checker = new Checker(TOP_K);
    const learn = learner({ checker, ids, queries, config, registry });
    gateway = await startServing(config.varDir, {
      // Every request is encoded and searched, so that what is timed is work.
      SWITCHYARD_CACHE__EMBEDDINGS__ENABLED: 'false',
      SWITCHYARD_CACHE__RESULTS__ENABLED: 'false',
      SWITCHYARD_MIGRATION__SAMPLE_INTERVAL_MS: '500',
      SWITCHYARD_LOG__LEVEL: 'info',
    });
    const load = new CheckedLoad({
      ...{ checker, queries, corpus: CORPUS, topK: TOP_K, callers: CALLERS, requestsPerS: REQUESTS_PER_S },
      url: gateway.http,
    });
    try {
      const results: Result[] = [];
      for (const { number, scenario } of scenarios)
        results.push(
          await migrate(number, scenario, { gateway, load, learn, registry, config, folder, run }),
        );
      return results;
    } finally {
      await load.stop();
    }
  } finally {
    await gateway?.stop();
    await registry.close();
  }
}

interface Choices extends Texts {
  /** Numbers of migrations; empty: all. */
  readonly only: readonly string[];
}

interface Stage {
  readonly gateway: ServingGateway;
  readonly load: CheckedLoad;
  readonly learn: (version: VersionName) => Promise<void>;
  readonly registry: Registry;
  readonly config: Config;
  readonly folder: string;
  readonly run: Run;
}

interface History {
  /** Of the last look at the golden set; null where there was none. */
  readonly quality: string | null;
  readonly hadWeight: boolean;
}

async function historyOf({ gateway }: Stage): Promise<History> {
  const { events } = await new GatewayClient(`http://127.0.0.1:${gateway.adminPort}`).request<{
    readonly events: readonly MigrationEventView[];
  }>('GET', `/v1/migrations/${CORPUS}/events`);
  const verdicts = events.flatMap(({ detail }) => {
    const { findings = [] } = detail as {
      readonly findings?: readonly {
        readonly check?: string;
        readonly figures?: { readonly verdict?: string };
      }[];
    };
    if (!Array.isArray(findings)) return [];
    return findings.flatMap(({ check, figures }) => (check === 'golden' ? [figures?.verdict ?? null] : []));
  });
  const hadWeight = events.some(
    ({ detail }) => (detail as { placement?: { kind?: string } }).placement?.kind === 'weighted',
  );
  return { quality: verdicts.at(-1) ?? null, hadWeight };
}

/** One migration, driven by one command. */
async function migrate(number: number, scenario: Scenario, stage: Stage): Promise<Result> {
  const { gateway, load, learn, folder, run } = stage;
  const { name, from, to } = scenario;
  say(`\n${number}. ${name}`);
  await startFrom(from, stage);
  const planFile = path.join(folder, 'plan.json');
  writeFileSync(planFile, JSON.stringify(demoPlan(VERSIONS[to].model, SOURCE), null, 2));
  load.reset();
  const beganAtMs = performance.now();
  const injection = new Injection(scenario, stage);
  const words = ['migrate', 'start', CORPUS, '--to', to, '--plan', planFile, '--reason', name, '--follow'];
  const ended = await runCommand([...words, ...adminWords(stage)], (line) => say(`   ${line}`));
  await injection.end();
  const view = await new GatewayClient(`http://127.0.0.1:${gateway.adminPort}`).request<MigrationView>(
    'GET',
    `/v1/migrations/${CORPUS}`,
  );
  if (ended.code !== 0) throw new Error(`the command ended with ${ended.code}`);
  const report = path.join(folder, `report-${number}.html`);
  await runCommand(['migrate', 'report', CORPUS, '--html', report, ...adminWords(stage)], () => undefined);
  for (const version of [from, to]) await learn(version);
  const { failed, mispaired, answered, failures } = load.counts();
  const { quality, hadWeight } = await historyOf(stage);
  const isRefused = view.state === 'aborted' && !hadWeight && (answered[to] ?? 0) === 0;
  const outcome = isRefused ? 'refused' : view.state;
  // What aborts by itself before there is anything to abort for shows nothing.
  const isForItsReason =
    scenario.slowAtBps === undefined || (injection.hasBegun && view.rollback_ms !== null);
  const { expected } = scenario;
  if (view.finished_at === null)
    await runCommand(
      ['migrate', 'abort', CORPUS, '--reason', 'the demonstration goes on', ...adminWords(stage)],
      say,
    );
  return {
    name,
    outcome,
    quality,
    is_as_expected:
      outcome === expected.outcome &&
      quality === expected.quality &&
      isForItsReason &&
      failed === 0 &&
      mispaired === 0,
    failed_requests: failed,
    mispaired_responses: mispaired,
    rollback_ms: view.rollback_ms,
    why: view.why,
    answered,
    failures,
    report,
    took_s: Math.round((performance.now() - beganAtMs) / 100) / 10,
    run,
  };
}

/** Slows the new version's encoder from a weight on. */
class Injection {
  #pulses: Pulses | null = null;
  #isOver = false;
  readonly #watching: Promise<void>;

  constructor({ to, slowAtBps }: Scenario, { gateway, registry }: Stage) {
    this.#watching =
      slowAtBps === undefined ? Promise.resolve() : this.#watch(to, slowAtBps, gateway, registry);
  }

  get hasBegun(): boolean {
    return this.#pulses !== null;
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#watching;
    this.#pulses?.end();
  }

  async #watch(to: VersionName, slowAtBps: number, gateway: ServingGateway, registry: Registry) {
    while (!this.#isOver && this.#pulses === null) {
      const route = await registry.routes.get(CORPUS);
      const weight = route.targets.find(({ version }) => version === to)?.weightBps ?? 0;
      const pid = gateway.encoderPid(VERSIONS[to].model);
      if (weight >= slowAtBps && pid !== null) {
        say(`   ${to} has ${weight / 100} %: its encoder is stopped and continued from here on`);
        this.#pulses = new Pulses(pid);
      }
      await sleep(50);
    }
  }
}

const adminWords = ({ gateway, config }: Stage): readonly string[] => [
  '--admin-port',
  String(gateway.adminPort),
  '--var-dir',
  config.varDir,
];

async function startFrom(version: VersionName, stage: Stage): Promise<void> {
  // Of a demonstration that was interrupted.
  if ((await stage.registry.migrations.list({ corpus: CORPUS, isUnfinished: true })).length > 0)
    await runCommand(['migrate', 'abort', CORPUS, '--reason', 'begin again', ...adminWords(stage)], (line) =>
      say(`   ${line}`),
    );
  const route = await stage.registry.routes.get(CORPUS);
  const [only] = route.targets;
  if (route.targets.length === 1 && only?.version === version) return;
  const words = ['route', 'set', CORPUS, `${version}=10000`, '--preload', '--wait', '600'];
  const reason = ['--reason', 'where the next migration starts'];
  const { code } = await runCommand([...words, ...reason, ...adminWords(stage)], (line) => say(`   ${line}`));
  if (code !== 0) throw new Error(`the route could not be set to ${version}`);
}

interface Learning {
  readonly checker: Checker;
  readonly ids: readonly string[];
  readonly queries: readonly string[];
  readonly config: Config;
  readonly registry: Registry;
}

/** Has the checker compute a version's right answers, outside any gateway, once. One that has no build yet served nothing. */
function learner({ checker, ids, queries, config, registry }: Learning) {
  const known = new Set<string>();
  return async (version: VersionName): Promise<void> => {
    const builds = await registry.builds.list({ corpus: CORPUS, version });
    for (const { digest, bundleUri, isDefault } of builds) {
      if (!isDefault || known.has(digest)) continue;
      say(`   computing the right answers of ${version} to ${queries.length} queries outside any gateway`);
      const place = { corpus: CORPUS, version, build: digest, bundleUri };
      const bundle = await readBundle(await findBundleFolder(config.bundlesDir, place));
      const model = await loadModelFolder(config.modelsDir, bundle.manifest.model.fingerprint);
      await checker.learn({ bundle, model, ids }, queries);
      known.add(digest);
    }
  };
}

/** What its figures were measured with, for a person. */
const said = ({ commit, machine, cores, versions, documents, questions }: Run): string =>
  `commit ${commit ?? 'unknown'}, ${machine}, ${cores} cores, Node ${versions.node}; ${documents} documents, ${questions} questions`;

const program = addCommonOptions(new Command('demo:migration'))
  .description('four real migrations under constant load, each driven by one command')
  .option('--documents <n>', 'synsets of the corpus', positiveInteger)
  .option('--only <numbers>', 'e.g. 1,3', (text: string) => text.split(','))
  .option('--smoke', 'a small corpus and the second migration alone: less than a minute');
program.parse();
const options = program.opts<
  CommonOptions & { readonly documents?: number; readonly only?: readonly string[]; readonly smoke?: boolean }
>();
const begunAtMs = performance.now();
try {
  const config = commandConfig({ ...options, varDir: options.varDir ?? path.join('var', 'demo-migration') });
  const size = options.smoke === true ? SMOKE : WHOLE;
  const { documents: documentsMax = size.documentsMax, only = size.only } = options;
  const results = await demo(config, createLogger('warn'), { ...size, documentsMax, only });
  const tookS = Math.round((performance.now() - begunAtMs) / 1000);
  for (const { run } of results.slice(0, 1)) say(`\n${said(run)}; ${tookS} s in all`);
  if (options.json === true) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
  else
    process.stdout.write(
      `${table(
        ['migration', 'outcome', 'quality', 'failed', 'mispaired', 'rollback ms', 'why'],
        results.map((result) => [
          result.name,
          result.outcome,
          result.quality ?? '-',
          result.failed_requests,
          result.mispaired_responses,
          result.rollback_ms === null ? '-' : Math.round(result.rollback_ms),
          result.why ?? '',
        ]),
      )}\n\nreports: ${results.map(({ report }) => report).join(' ')}\n`,
    );
  for (const { name } of results.filter(({ is_as_expected }) => !is_as_expected))
    say(`NOT AS EXPECTED: ${name}`);
  if (!results.every(({ is_as_expected }) => is_as_expected)) process.exitCode = 1;
} catch (error) {
  process.exitCode = reportFailure(error, { json: options.json === true });
}
