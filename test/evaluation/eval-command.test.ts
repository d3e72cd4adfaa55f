import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import t from 'tap';
import { GatewayClient } from '../../src/cli/gateway-client.js';
import { httpVersionSearch } from '../../src/cli/http-version-search.js';
import { remoteAdmin } from '../../src/cli/remote-admin.js';
import { SwitchyardError } from '../../src/errors.js';
import { evaluateVersion } from '../../src/lifecycle/evaluation/evaluate.js';
import { type VersionSearch, versionSearchOf } from '../../src/lifecycle/evaluation/version-search.js';
import { packageRoot } from '../../src/package-root.js';
import type { SearchCall } from '../../src/router/query.js';
import { startGatewayProcess, switchyardWith } from '../control/processes.js';
import { AUTHOR, CORPUS, makeYard } from '../control/yard.js';

t.setTimeout(600_000);

const refused = (reason: string, message = /./) => ({ name: 'SwitchyardError', reason, message });

/** Each asks for one of the yard's documents d0 … d7 in other words. */
const ASKED = [
  ['striped cat', 'd0'],
  ['hummingbird', 'd1'],
  ['French baguette', 'd2'],
  ['wine', 'd3'],
  ['Jupiter', 'd4'],
  ['bicycle', 'd5'],
  ['cobbler', 'd6'],
  ['snow', 'd7'],
] as const;

t.test('switchyard eval, through a gateway that serves two versions', async (t) => {
  const yard = await makeYard(t);
  const { varDir, registry } = yard;
  await registry.routes.change({
    corpus: CORPUS,
    targets: [
      { version: 'v1', build: null, role: 'active', weightBps: 10_000, tier: 'ssd', mirrorBps: 0 },
      { version: 'v2', build: null, role: 'shadow', weightBps: 0, tier: 'ssd', mirrorBps: 0 },
    ],
    expectedRevision: 1,
    ...AUTHOR,
  });
  const golden = path.join(
    t.testdir({
      'my questions': {
        'queries.jsonl': ASKED.map(([text], at) => `${JSON.stringify({ _id: `q${at}`, text })}\n`).join(''),
        qrels: {
          'test.tsv': `query-id\tcorpus-id\tscore\n${ASKED.map(([, id], at) => `q${at}\t${id}\t1\n`).join('')}`,
        },
      },
    }),
    'my questions',
  );
  const gateway = await startGatewayProcess(t, varDir);
  const run = (...args: string[]) =>
    switchyardWith({}, varDir, ...args, '--admin-port', String(gateway.adminPort), '--actor', 'ana');
  const list = (...args: string[]) =>
    switchyardWith({}, varDir, ...args, '--admin-port', String(gateway.adminPort), '--json');
  const evaluate = (...args: string[]) => run('eval', CORPUS, '--url', gateway.http, ...args);

  await t.test('files become a golden set, versions are scored and compared', async (t) => {
    const runFile = path.join(varDir, 'run.txt');
    const versions = ['--golden', golden, '--versions', 'v1,v2'];
    const done = await evaluate(...versions, '--k', '3', '--run-out', runFile, '--json');
    t.equal(done.code, 0, done.stdout + done.stderr);
    const report = JSON.parse(done.stdout);
    t.match(report, {
      golden_set: { name: 'my-questions', number: 1, queries: 8, judgements: 8 },
      evaluations: [
        { version: 'v1', model: 'all-minilm-l6-v2@1-fp16', k: 3, depth: 100, gain: 'graded', queries: 8 },
        { version: 'v2', model: 'all-minilm-l6-v2@1-int8', means: { recall: Number } },
      ],
      comparisons: [
        {
          baseline_version: 'v1',
          candidate_version: 'v2',
          verdict: 'underpowered',
          queries: 8,
          margin: 0.02,
        },
      ],
      runs: [path.join(varDir, 'run.v1.txt'), path.join(varDir, 'run.v2.txt')],
    });
    const { means } = report.evaluations[0];
    t.ok(means.recall >= 0.75 && means.recall <= 1, `recall@3 ${means.recall}`);
    t.equal(means.judged, 1 / 8, 'all eight documents come back, and one of them was judged');
    const lines = (await readFile(path.join(varDir, 'run.v1.txt'), 'utf8')).trimEnd().split('\n');
    t.equal(lines.length, 64);
    t.match(lines[0], /^q0 Q0 d0 1 0\.\d+ docs\/v1$/);
    // The run file's own answer to the figures: MRR and, with one relevant document each, MAP are the same.
    const ranks = ASKED.map(([, id], at) =>
      Number(lines.find((line) => line.startsWith(`q${at} Q0 ${id} `))?.split(' ')[3]),
    );
    const mrr = ranks.reduce((sum, rank) => sum + 1 / rank, 0) / ranks.length;
    t.ok(Math.abs(means.mrr - mrr) < 1e-12 && Math.abs(means.map - mrr) < 1e-12, `${means.mrr} and ${mrr}`);
  });

  await t.test('by its name, for people, always with judged@10', async (t) => {
    const done = await evaluate('--golden', 'my-questions', '--versions', 'v1,v2', '--gain', 'binary');
    t.equal(done.code, 0, done.stderr);
    t.match(done.stdout, /v2 against v1: UNDERPOWERED/);
    t.match(done.stdout, /judged@10/);
    t.match(done.stdout, /8 queries are too few for any verdict: at least 30/);
    t.match(done.stderr, /evaluating v2: 8\/8 queries/);
    t.match((await list('eval', 'golden', 'list')).stdout, /"my-questions"/);
    t.match((await list('eval', 'golden', 'show', 'my-questions@1')).stdout, /hummingbird/);
    const kept = JSON.parse((await list('eval', 'list', CORPUS)).stdout);
    t.equal(kept.length, 4);
    const [candidate, baseline] = kept;
    const again = await list(
      'eval',
      'compare',
      baseline.evaluation_id,
      candidate.evaluation_id,
      '--metric',
      'mrr',
    );
    t.match(JSON.parse(again.stdout), { metric: 'mrr', verdict: 'underpowered', queries: 8 });
    const mixed = await list('eval', 'compare', kept[3].evaluation_id, candidate.evaluation_id);
    t.match(JSON.parse(mixed.stdout), { error: { reason: 'INVALID_ARGUMENT', message: /another k / } });
    const changes = JSON.parse((await list('changes', 'list')).stdout) as {
      subject: string;
      actor: string;
    }[];
    t.equal(changes.filter(({ subject }) => subject === 'golden_set my-questions@1').length, 1);
    t.match(
      changes.find(({ subject }) => subject === 'evaluation docs/v2'),
      { actor: 'ana' },
    );
  });

  await t.test('what cannot be measured is refused', async (t) => {
    const refusal = async (...args: string[]): Promise<string> =>
      JSON.parse((await evaluate(...args, '--json')).stdout).error.reason;
    t.equal(await refusal('--golden', 'my-questions', '--versions', 'v9'), 'UNKNOWN_CORPUS_VERSION');
    t.equal(await refusal('--golden', 'nothing', '--versions', 'v1'), 'UNKNOWN_GOLDEN_SET');
    t.equal(await refusal('--golden', './nothing', '--versions', 'v1'), 'INVALID_INPUT_FILE');
    const imported = await run(
      'eval',
      'golden',
      'import',
      golden,
      '--name',
      'Bad Name',
      '--reason',
      'x',
      '--json',
    );
    t.match(JSON.parse(imported.stdout), { error: { reason: 'INVALID_ARGUMENT' } });
  });

  await t.test('the same over gRPC', async (t) => {
    const api = remoteAdmin(new GatewayClient(gateway.admin));
    const grpc = await grpcEvaluations(t, gateway.adminGrpc);
    t.same((await grpc('ListGoldenSets', {})).golden_sets, await withTimes(api.listGoldenSets({})));
    const queries = (await grpc('ListGoldenQueries', { golden_set: 'my-questions', after: 'q6', limit: 5 }))
      .queries;
    t.same(queries, await api.listGoldenQueries({ golden_set: 'my-questions', after: 'q6', limit: 5 }));
    t.match(queries, [{ query_id: 'q7', text: 'snow', judgements: [{ document_id: 'd7', grade: 1 }] }]);
    const [candidate, baseline] = await api.listEvaluations({ corpus: CORPUS });
    const ids = { evaluation_id: candidate?.evaluation_id ?? '', baseline: baseline?.evaluation_id ?? '' };
    const compared = await api.compareEvaluations({ ...ids, metric: 'recall', margin: 0.05 });
    t.match(await grpc('CompareEvaluations', { ...ids, metric: 'QUALITY_METRIC_RECALL', margin: 0.05 }), {
      ...compared,
      verdict: `VERDICT_${compared.verdict.toUpperCase()}`,
      metric: 'QUALITY_METRIC_RECALL',
    });
  });

  await t.test('a build that changes under way, or an interruption, ends the evaluation', async (t) => {
    const { goldenSets } = registry;
    const queries = await goldenSets.allQueries((await goldenSets.get('my-questions', null)).goldenSetId);
    const plan = { version: 'v1', queries, k: 10, depth: 10, gain: 'graded' } as const;
    const real = httpVersionSearch(new GatewayClient(gateway.http), CORPUS);
    const signal = new AbortController().signal;
    const whole = await evaluateVersion(plan, { search: real, concurrency: 3, signal });
    t.equal(whole.scores.size, 8);

    let asked = 0;
    const changing: VersionSearch = {
      search: async (text, _version, topK) => real.search(text, asked++ < 4 ? 'v1' : 'v2', topK),
    };
    await t.rejects(
      evaluateVersion(plan, { search: changing, concurrency: 1, signal }),
      refused('STATUS_CONFLICT', /the build of v1 changed/),
    );
    const controller = new AbortController();
    const stopping = evaluateVersion(plan, {
      search: real,
      concurrency: 1,
      signal: controller.signal,
      onQuery: (done) =>
        done === 2 && controller.abort(new SwitchyardError('STATUS_CONFLICT', 'interrupted')),
    });
    await t.rejects(stopping, refused('STATUS_CONFLICT', /interrupted/));

    const pauses: number[] = [];
    let failures = 3;
    const busy: VersionSearch = {
      search: async (...args) => {
        if (failures-- > 0)
          throw new SwitchyardError('QUEUE_FULL', 'full', { retryAfterMs: failures === 2 ? 700 : null });
        return real.search(...args);
      },
    };
    const tried = await evaluateVersion(plan, {
      search: busy,
      concurrency: 1,
      signal,
      sleep: async (ms) => void pauses.push(ms),
    });
    t.same(tried.means, whole.means, 'what said "try again" was tried again');
    t.same(pauses, [700, 200, 400], 'after the hint, and ever longer');
  });

  await t.test('inside a gateway it is a bulk search pinned to the version', async (t) => {
    const calls: SearchCall[] = [];
    const service = {
      search: async (call: SearchCall) => {
        calls.push(call);
        throw new SwitchyardError('UNKNOWN_CORPUS_VERSION', 'not routed');
      },
    };
    const search = versionSearchOf(service, CORPUS, { deadlineMs: 500, nowMs: () => 1_000 });
    await t.rejects(search.search('wine', 'v2', 12), refused('UNKNOWN_CORPUS_VERSION'));
    t.match(calls, [
      {
        corpus: CORPUS,
        corpusVersion: 'v2',
        topK: 12,
        priority: 'bulk',
        deadlineAtMs: 1_500,
        bypassCache: false,
      },
    ]);
  });
});

/** ISO times as the messages of gRPC have them. */
async function withTimes(answer: Promise<readonly { readonly created_at: string }[]>) {
  return (await answer).map((one) => {
    const ms = Date.parse(one.created_at);
    const seconds = Math.floor(ms / 1_000);
    return {
      ...one,
      created_at: { seconds: String(seconds), nanos: Math.round((ms - seconds * 1_000) * 1e6) },
    };
  });
}

async function grpcEvaluations(t: { teardown(end: () => void): void }, address: string) {
  const definition = loadSync(['switchyard/v1/evaluation.proto'], {
    keepCase: true,
    defaults: true,
    enums: String,
    longs: String,
    includeDirs: [path.join(packageRoot(), 'proto')],
  });
  const service = definition['switchyard.v1.EvaluationService'] as unknown as Record<
    string,
    { path: string; requestSerialize(message: object): Buffer; responseDeserialize(bytes: Buffer): object }
  >;
  const client = new Client(address, credentials.createInsecure());
  t.teardown(() => client.close());
  return (name: string, message: object): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      const method = service[name];
      if (method === undefined) throw new Error(`no method ${name}`);
      client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        message,
        (error: ServiceError | null, answer?: object) =>
          error === null ? resolve({ ...answer }) : reject(error),
      );
    });
}
