import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t from 'tap';
import { cranfieldAbsence, cranfieldFolder, ndcgAt10, readCranfield } from '../fixtures/cranfield.js';
import { searchClient } from '../fixtures/grpc-client.js';
import { runSwitchyard, serve } from '../fixtures/product.js';

t.setTimeout(600_000);

/** nDCG@10 over the abstracts, exact search, binary gain: v1 is Universal Sentence Encoder lite, v2 MiniLM, int8 as well as fp16. */
const EXPECTED = { v1: 0.178, v2: 0.395 } as const;
const TOLERANCE = 0.01;
const MODELS = { v1: 'universal-sentence-encoder-lite@1-fp16', v2: 'all-minilm-l6-v2@1-int8' } as const;

const absence = cranfieldAbsence();
if (absence !== undefined) t.comment(absence);

interface Report {
  readonly evaluations: readonly {
    readonly version: string;
    readonly means: Record<'recall' | 'mrr' | 'ndcg' | 'map' | 'judged', number>;
  }[];
  readonly comparisons: readonly {
    readonly verdict: string;
    readonly difference: number;
    readonly low: number;
  }[];
  readonly runs: readonly string[];
}

t.test(
  'retrieval quality on Cranfield is what the models are known for',
  { skip: absence ?? false, timeout: 600_000 },
  async (t) => {
    const { documents, queries, relevant } = await readCranfield();
    const varDir = mkdtempSync(path.join(tmpdir(), 'switchyard-cranfield-'));
    t.teardown(() => rmSync(varDir, { recursive: true, force: true }));
    const file = path.join(varDir, 'cranfield.jsonl');
    writeFileSync(file, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
    const run = (...args: string[]) => runSwitchyard(['--var-dir', varDir, '--admin-port', '1', ...args]);
    t.equal((await run('model', 'import', 'use-lite')).code, 0);
    t.equal((await run('model', 'import', 'minilm', '--precision', 'int8')).code, 0);
    for (const version of ['v1', 'v2'] as const) {
      const build = ['corpus', 'build', 'cranfield', file, '--model', MODELS[version]];
      const options = ['--corpus-version', version, '--template', '{text}', '--truncated-share-max', '1'];
      const built = await run(...build, ...options);
      t.equal(built.code, 0, built.stderr);
    }

    const gateway = await serve(varDir);
    t.teardown(() => gateway.stop());
    const admin = ['--var-dir', varDir, '--admin-port', new URL(gateway.admin).port];
    const shadow = ['v1=10000', '--mirror', 'v2=1', '--preload', '--reason', 'evaluate v2'];
    const routed = await runSwitchyard([...admin, 'route', 'set', 'cranfield', ...shadow]);
    t.equal(routed.code, 0, routed.stderr);
    const client = searchClient(gateway.grpc);
    t.teardown(() => client.close());

    const runFile = path.join(varDir, 'run.txt');
    const golden = ['--golden', cranfieldFolder(), '--versions', 'v1,v2', '--gain', 'binary'];
    const out = ['--url', gateway.http, '--run-out', runFile, '--json'];
    const evaluated = await runSwitchyard([...admin, 'eval', 'cranfield', ...golden, ...out]);
    t.equal(evaluated.code, 0, evaluated.stdout + evaluated.stderr);
    const report = JSON.parse(evaluated.stdout) as Report;

    await t.test('by the command, and by search answers alike', async (t) => {
      for (const [at, version] of (['v1', 'v2'] as const).entries()) {
        const { means } = report.evaluations[at] as Report['evaluations'][number];
        const scores = await Promise.all(
          queries.map(async ({ id, text }) => {
            const { hits } = await client.search({
              corpus: 'cranfield',
              corpus_version: version,
              text,
              top_k: 10,
            });
            return ndcgAt10(
              hits.map((hit) => hit.id),
              relevant.get(id) ?? new Set(),
            );
          }),
        );
        t.equal(scores.length, 225);
        const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
        t.ok(
          Math.abs(mean - EXPECTED[version]) <= TOLERANCE,
          `nDCG@10 ${mean.toFixed(4)}, expected ${EXPECTED[version]} ± ${TOLERANCE}`,
        );
        t.ok(Math.abs(means.ndcg - mean) < 1e-9, `the command found ${means.ndcg}`);
        for (const value of Object.values(means)) t.ok(value > 0 && value <= 1);
      }
    });

    await t.test('the upgrade is better, the way back is worse', async (t) => {
      const [upgrade] = report.comparisons;
      t.equal(upgrade?.verdict, 'better');
      t.ok((upgrade?.low ?? 0) > 0.15, `from ${upgrade?.low}`);
      const back = await runSwitchyard([
        ...admin,
        ...['eval', 'cranfield', '--golden', 'cranfield', '--versions', 'v2,v1', '--url', gateway.http],
      ]);
      t.equal(back.code, 0, back.stderr);
      t.match(back.stdout, /v1 against v2: WORSE/);
      t.match(back.stdout, /judged@10/);
    });

    await t.test('the run files have the answers, six columns a line', async (t) => {
      t.same(
        report.runs.map((name) => path.basename(name)),
        ['run.v1.txt', 'run.v2.txt'],
      );
      const lines = readFileSync(path.join(varDir, 'run.v2.txt'), 'utf8').trimEnd().split('\n');
      t.equal(lines.length, 225 * 100);
      t.match(lines[0], /^\S+ Q0 \S+ 1 0\.\d+ cranfield\/v2$/);
      const own = new Map<string, string[]>();
      for (const line of lines) {
        const [query = '', , document = ''] = line.split(' ');
        own.set(query, [...(own.get(query) ?? []), document]);
      }
      const ndcg = queries.map(({ id }) => ndcgAt10(own.get(id) ?? [], relevant.get(id) ?? new Set()));
      const mean = ndcg.reduce((sum, score) => sum + score, 0) / ndcg.length;
      t.ok(Math.abs(mean - EXPECTED.v2) <= TOLERANCE, `nDCG@10 of the run file ${mean.toFixed(4)}`);
    });

    await t.test('golden set and evaluations are kept and audited', async (t) => {
      const sets = await runSwitchyard([...admin, 'eval', 'golden', 'list', '--json']);
      t.match(JSON.parse(sets.stdout), [{ name: 'cranfield', number: 1, queries: 225 }]);
      const kept = await runSwitchyard([...admin, 'eval', 'list', 'cranfield', '--json']);
      t.equal((JSON.parse(kept.stdout) as unknown[]).length, 4);
      const changes = await runSwitchyard([...admin, 'changes', 'list', '--json']);
      t.match(changes.stdout, /golden_set cranfield@1/);
      t.match(changes.stdout, /evaluation cranfield\/v2/);
    });
    t.equal(await gateway.stop(), 0);
  },
);
